"""The training loop, and what it calls, in that order."""

import json
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightwright.data.pack import micro_batches, rows_of_step
from weightwright.data.template import Encoded
from weightwright.errors import TuneError
from weightwright.files import write_whole
from weightwright.ports import Progress
from weightwright.tune import checkpoint
from weightwright.tune.interrupt import Interruption
from weightwright.tune.loss import Batch, VocabularyLoss
from weightwright.tune.settings import Schedule, TuneSettings


@dataclass(frozen=True, slots=True)
class Course:
    """What a run will do, decided before it starts."""

    rows: tuple[Encoded, ...]
    eval_rows: tuple[Encoded, ...]
    steps: int
    batch: int
    warmup: int
    eval_every: int
    pass_tokens: int
    settings: TuneSettings
    notes: tuple[str, ...] = ()  # what the user should know before it starts


@dataclass
class Notes:
    """What a run has seen so far; saved with each checkpoint."""

    losses: list[float] = field(default_factory=list)  # one a step, per labelled token
    evals: list[tuple[int, float]] = field(default_factory=list)  # (steps done, loss per labelled token)
    tokens: int = 0
    train_s: float = 0.0

    @property
    def tokens_per_s(self) -> float:
        """Real tokens a second over all steps so far, padding and evaluation not counted."""
        return self.tokens / self.train_s if self.train_s else 0.0


@dataclass
class Run:
    """A run under way: the model, its optimizer, and how far it has come."""

    course: Course
    model: Any
    trainable: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    loss: VocabularyLoss
    folder: Path
    autocast: bool = False  # f32 weights computed in bf16 (full tuning)
    done: int = 0
    notes: Notes = field(default_factory=Notes)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    def computing(self) -> AbstractContextManager[object]:
        """The precision that forward passes run in."""
        half: AbstractContextManager[object] = torch.autocast(self.device.type, dtype=torch.bfloat16)
        return half if self.autocast else nullcontext()


def train(run: Run, progress: Progress) -> None:
    """Take all steps that remain; saves, evaluates and logs on the way.

    Raises TuneError when the loss is no longer a number (the last good checkpoint stays), and
    KeyboardInterrupt after a checkpoint when the user interrupts.
    """
    course, settings = run.course, run.course.settings
    with Interruption() as interruption, _Log(run) as log:
        if not run.notes.evals:
            _evaluate_and_note(run, log)
        while run.done < course.steps:
            started_s = time.perf_counter()
            random = checkpoint.random_state(run.device)
            loss, tokens = accumulate_gradients(run, interruption)
            if interruption.asked:
                save(run, random)
                raise KeyboardInterrupt
            rate, norm = update_weights(run, loss)
            _note_step(run, loss, tokens, time.perf_counter() - started_s)
            log.step(run, rate, norm)
            if run.done % course.eval_every == 0 or run.done == course.steps:
                _evaluate_and_note(run, log)
            if run.done % settings.save_every == 0 or run.done == course.steps:
                save(run, checkpoint.random_state(run.device))
            progress(run.done, course.steps, _note(run))


def accumulate_gradients(run: Run, interruption: Interruption) -> tuple[float, int]:
    """Gradients of one step's mean loss per labelled token; that loss, and the real tokens read."""
    course, settings = run.course, run.course.settings
    numbers = rows_of_step(
        run.done, rows=len(course.rows), epochs=settings.epochs, batch=course.batch, seed=settings.seed
    )
    batches = to_batches(
        [course.rows[n] for n in numbers], settings.micro_batch, course.pass_tokens, run.device
    )
    labelled = sum(int((batch.labels[:, 1:] != -100).sum()) for batch in batches)
    total = 0.0
    for batch in batches:
        with run.computing():
            loss = run.loss(batch) / labelled
        loss.backward()
        total += loss.item()
        if interruption.asked:
            break
    return total, sum(batch.tokens for batch in batches)


def update_weights(run: Run, loss: float) -> tuple[float, float]:
    """Clip, step and clear gradients; the learning rate used and the gradient's norm before clipping."""
    settings = run.course.settings
    norm = float(nn.utils.clip_grad_norm_(run.trainable.values(), settings.max_grad_norm))
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise TuneError(_not_a_number(run, loss, norm))
    rate = settings.peak_learning_rate * rate_share(
        run.done, run.course.steps, run.course.warmup, settings.schedule
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return rate, norm


def rate_share(step: int, steps: int, warmup: int, schedule: Schedule) -> float:
    """The learning rate of step `step` (from 0) as a share of its peak: linear warm-up, then the schedule."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    gone = (step - warmup) / max(1, steps - warmup)
    return 1.0 - gone if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * gone))


def evaluate(run: Run) -> float:
    """Mean loss per labelled token over the held-out rows; needs no more memory than training."""
    rows, total, labelled = run.course.eval_rows, 0.0, 0
    run.model.eval()
    with torch.no_grad(), run.computing():
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            for batch in to_batches(
                part, run.course.settings.micro_batch, run.course.pass_tokens, run.device
            ):
                total += run.loss(batch).item()
                labelled += int((batch.labels[:, 1:] != -100).sum())
    run.model.train()
    return total / labelled


def to_batches(
    rows: Sequence[Encoded], max_rows: int | None, max_tokens: int, device: torch.device
) -> list[Batch]:
    """Rows as passes padded on the right. Causal attention never looks right, so no mask is needed."""
    passes = micro_batches([len(row) for row in rows], max_rows=max_rows, max_tokens=max_tokens)
    return [_pad([rows[i] for i in numbers], device) for numbers in passes]


def save(run: Run, random: dict[str, Tensor]) -> None:
    """Write a checkpoint of the steps done."""
    notes = {
        "losses": run.notes.losses,
        "evals": run.notes.evals,
        "tokens": run.notes.tokens,
        "train_s": run.notes.train_s,
    }
    folder, keep = run.folder / "checkpoints", run.course.settings.keep
    checkpoint.save(folder, run.done, run.trainable, run.optimizer, random, notes, keep)


def resume(run: Run) -> None:
    """Go back to the last checkpoint of the run's folder, if there is one."""
    found = checkpoint.restore(run.folder / "checkpoints", run.trainable, run.optimizer)
    if found is None:
        return
    restored, random = found
    checkpoint.set_random_state(random, run.device)
    run.done = restored.step
    notes = restored.notes
    evals = [(int(step), float(loss)) for step, loss in notes["evals"]]
    run.notes = Notes(notes["losses"], evals, int(notes["tokens"]), float(notes["train_s"]))


def _pad(rows: Sequence[Encoded], device: torch.device) -> Batch:
    width = max(map(len, rows))
    token_ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full((len(rows), width), -100, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids = torch.tensor(row.token_ids)
        token_ids[i, : len(row)] = ids
        labels[i, : len(row)] = torch.where(torch.tensor(row.labelled), ids, -100)
    return Batch(token_ids.to(device), labels.to(device), sum(map(len, rows)))


def _evaluate_and_note(run: Run, log: "_Log") -> None:
    if not run.course.eval_rows:
        return
    loss = evaluate(run)
    run.notes.evals.append((run.done, loss))
    log.write({"step": run.done, "eval_loss": loss})


def _note_step(run: Run, loss: float, tokens: int, seconds: float) -> None:
    run.done += 1
    run.notes.losses.append(loss)
    run.notes.tokens += tokens
    run.notes.train_s += seconds


def _note(run: Run) -> str:
    left_s = run.notes.train_s / len(run.notes.losses) * (run.course.steps - run.done)
    left = f"{left_s / 60:.0f} min left" if left_s >= 90 else f"{left_s:.0f} s left"
    return f"loss {run.notes.losses[-1]:.3f}, {run.notes.tokens_per_s:,.0f} tokens/s, {left}"


def _not_a_number(run: Run, loss: float, norm: float) -> str:
    saved = checkpoint.checkpoints(run.folder / "checkpoints")
    kept = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint had been written yet"
    return (
        f"step {run.done + 1}: the loss is {loss}, the gradient's norm {norm}; {kept}; lower "
        f"--learning-rate (now {run.course.settings.peak_learning_rate:g}) or use --precision f32, "
        "with another --out"
    )


class _Log:
    """log.jsonl: one line a step and one an evaluation; lines after the resumed step are taken out."""

    def __init__(self, run: Run) -> None:
        self._path = run.folder / "log.jsonl"
        kept = []
        if self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= run.done]
        if run.done == 0:
            kept = []
        write_whole(self._path, "".join(kept).encode())

    def __enter__(self) -> "_Log":
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def write(self, line: dict[str, float]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def step(self, run: Run, rate: float, norm: float) -> None:
        self.write(
            {
                "step": run.done,
                "loss": run.notes.losses[-1],
                "learning_rate": rate,
                "grad_norm": norm,
                "tokens": run.notes.tokens,
                "tokens_per_s": round(run.notes.tokens_per_s, 1),
            }
        )
