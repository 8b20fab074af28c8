"""One training run from settings to result: read, check, train, write."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from weightwright.data.chat_templates import chosen_template
from weightwright.data.checks import words_of
from weightwright.data.pack import step_count
from weightwright.data.render import on_day, writes_date
from weightwright.data.turn_end import turn_ends
from weightwright.errors import TuneError
from weightwright.files import write_whole
from weightwright.machine import peak
from weightwright.machine.device import pick_device
from weightwright.machine.heap import give_back
from weightwright.plan import advice
from weightwright.plan.measured import PASS_TOKENS, PROMPTS_A_STEP
from weightwright.ports import Progress, silent
from weightwright.tune import dataset, events, general, loop, reference, save
from weightwright.tune.adapt import Adapted, adapted
from weightwright.tune.attention import packs_rightly, row_attention
from weightwright.tune.budget import Budget
from weightwright.tune.card import card
from weightwright.tune.curve import draw
from weightwright.tune.diagnose import diagnose, diagnose_rewards, seen_before
from weightwright.tune.distributed import joined
from weightwright.tune.examples import Examples
from weightwright.tune.expected import expected_note
from weightwright.tune.fused import whole_layers
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.memory import check_rows, decide_checkpointing
from weightwright.tune.objectives import OBJECTIVES, Likelihood
from weightwright.tune.optimizer import optimizer_of
from weightwright.tune.ownership import claim_folder, first_day, identity_of, require_same
from weightwright.tune.ranks import ProcessGroup, SingleProcess
from weightwright.tune.rollout import Reward, Rollout, Sampler, Sampling, room
from weightwright.tune.settings import TuneSettings
from weightwright.tune.shard import ShardedLoss, shard
from weightwright.weights.rope import chosen_for_each_row, steady_tokens

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded

_logger = logging.getLogger(__name__)
_told = logging.getLogger("weightwright.progress")
_RESULT_FILE = "result.json"


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What a run ended with; losses are per labelled token (per pair where answers are compared).

    `preferred` has the share of held-out pairs whose chosen answer is preferred, with its 95% interval and their
    number, `reward` the mean reward `first` and `last` in training, and `held_out_first` and `held_out_last`;
    `peak_bytes` is of the process or the GPU.
    """

    adapter: Path | None
    model: Path | None
    steps: int
    train_loss: float
    eval_loss: float | None
    tokens_per_s: float
    peak_bytes: int
    diagnosis: tuple[str, ...]
    preferred: dict[str, float] | None = None
    reward: dict[str, float] | None = None
    notes: tuple[str, ...] = ()  # rows dropped or cut, settings that were bounded
    finished_before: bool = False
    train_s: float = 0.0  # of its steps, without loading and evaluation
    general: dict[str, float] | None = None  # see `general.General`

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TuneResult":
        """The result of a run that has ended, as `to_json` gave it."""
        folders = {name: Path(values[name]) if values[name] else None for name in ("adapter", "model")}
        texts = {name: tuple(values[name]) for name in ("diagnosis", "notes")}
        return cls(**{**values, **folders, **texts}, finished_before=True)

    def to_json(self) -> dict[str, Any]:
        """The result as the command line prints it."""
        return {
            "adapter": str(self.adapter) if self.adapter else None,
            "model": str(self.model) if self.model else None,
            "steps": self.steps,
            "train_loss": self.train_loss,
            "eval_loss": self.eval_loss,
            "tokens_per_s": self.tokens_per_s,
            "peak_bytes": self.peak_bytes,
            "diagnosis": list(self.diagnosis),
            "preferred": self.preferred,
            "reward": self.reward,
            "notes": list(self.notes),
            "train_s": self.train_s,
            "general": self.general,
        }


def tune(
    settings: TuneSettings,
    *,
    loaded: "Loaded | None" = None,
    share: float = 1.0,
    sampling: Sampling | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> TuneResult:
    """Train as `settings` say, or go on where an earlier run of the same settings stopped.

    `loaded` is the base model where it is already in memory; LoRA layers are taken out of it again. With a `share`
    below 1 the run pauses after that share of its steps: neither adapter nor model is written, and it can go on.
    `sampling` is what objective=grpo samples and judges with; `clock` tells seconds.

    Under torchrun, with `fsdp`, every process calls it and gets the same result. Raises DataError for rows, TuneError
    where a run cannot start or go on, MissingExtraError, KeyboardInterrupt after a checkpoint when interrupted.
    """
    if settings.tensorboard:
        events.require_package()
    with joined(settings) as ranks:
        return _tune(settings, loaded, share, sampling, ranks, progress, clock)


def _tune(
    settings: TuneSettings,
    loaded: "Loaded | None",
    share: float,
    sampling: Sampling | None,
    ranks: SingleProcess,
    progress: Progress,
    clock: Callable[[], float],
) -> TuneResult:
    reward = _reward(settings, sampling)
    samples, mixed = dataset.to_learn(settings)
    apart = dataset.held_out(settings)
    held_out = None if apart is None else dataset.Rows(settings, apart)
    if loaded is None or settings.method == "qlora" or settings.fsdp:  # held in 4 bits, or divided
        loaded = base_model(settings, ranks)
        give_back()  # what matrices took on their way
    if settings.template is not None:
        loaded = replace(loaded, tokenizer=chosen_template(settings.template, loaded.tokenizer))
    day = ranks.broadcast(lambda: first_day(settings.out)) if writes_date(loaded.tokenizer) else None
    dated = loaded if day is None else replace(loaded, tokenizer=on_day(loaded.tokenizer, day))
    plan = plan_run(settings, samples, held_out, dated)
    longest = int(plan.examples.lengths.max())
    if reward is not None:
        longest += settings.grpo.max_completion
    check_rows(loaded.path, settings, longest, ranks)
    decided, notes = decide_checkpointing(loaded.path, settings, longest, ranks)
    asked = general.examples(dated, map(words_of, samples)) if settings.general else ()
    plan = replace(plan, settings=decided, notes=(*mixed, *plan.notes, *notes), general=asked)
    identity = ranks.broadcast(lambda: identity_of(settings, plan, loaded, day))
    require_same(identity, identity_of(settings, plan, loaded, day))
    finished = ranks.broadcast(lambda: _claimed(settings, identity))
    if finished is not None:
        return finished
    for note in plan.notes:
        _logger.warning(note)
    alone = not isinstance(ranks, ProcessGroup)
    told = alone and settings.time_s is None  # else it is as long as was asked for
    expected = expected_note(loaded.path, plan, loaded.model.device.type) if told else ""
    torch.manual_seed(settings.seed)
    with (
        _sampler(settings, plan, loaded, sampling) as sampler,
        adapted(loaded.model, settings, loaded.name) as ready,
        row_attention(loaded.model),
        whole_layers(loaded.model, decided.gradient_checkpointing),
        chosen_for_each_row(loaded.model),
    ):
        run = prepare(plan, ready, settings.out, ranks, progress)
        if sampler is not None and reward is not None:
            run.rollout = Rollout(
                sampler, reward, settings, ready.whole, VocabularyLoss(ready.model), run.layout,
                stops=turn_ends(dated.tokenizer).texts,
            )  # fmt: skip
        loop.resume(run)
        _start_clock(run, clock)
        if run.done and ranks.is_first:
            _told.info("goes on after step %d of %d", run.done, run.plan.steps)
        if expected and not run.done:
            run.say(expected)
        try:
            loop.train(run, share)
        finally:
            if ranks.is_first:
                draw(run.notes, settings.out)
            ready.model.eval()
            if decided.gradient_checkpointing:
                ready.model.activation_checkpointing_disable()
        if run.done < run.plan.steps:
            return _result(run, adapter=None, model=None)
        return _finish(run, ready.whole, loaded)


def _start_clock(run: loop.Run, clock: Callable[[], float]) -> None:
    run.clock, seconds = clock, run.plan.settings.time_s
    if seconds is not None:
        run.budget = Budget(seconds, clock, run.folder)
        run.plan = run.budget.begin(run.plan, run.done)


def _reward(settings: TuneSettings, sampling: Sampling | None) -> Reward | None:
    """The reward of a run that samples. Raises SettingsError where it cannot be opened."""
    if not OBJECTIVES[settings.objective].samples:
        return None
    if sampling is None:
        raise TuneError(
            f"objective={settings.objective} samples answers, which only `weightwright tune` does"
        )
    return sampling.open_rewards(settings.reward)


@contextmanager
def _sampler(
    settings: TuneSettings, plan: loop.RunPlan, loaded: "Loaded", sampling: Sampling | None
) -> Iterator[Sampler | None]:
    """What samples answers, over the model's own weights; None for an objective that learns from rows."""
    if sampling is None or not OBJECTIVES[settings.objective].samples:
        yield None
        return
    longest = max(int(part.lengths.max()) for part in (plan.examples, plan.eval_examples) if part)
    sequences, context = room(settings, max(plan.batch, len(plan.eval_examples)), longest)
    with closing(sampling.open_sampler(loaded, sequences=sequences, context_tokens=context)) as sampler:
        yield sampler


def _may_share(settings: TuneSettings, model: Any) -> bool:
    """Whether what rows have in common at their beginnings is the same in each: by its tokens alone, all unlearnt."""
    same = not settings.dropout and steady_tokens(model.config) == sys.maxsize
    return same and not OBJECTIVES[settings.objective].learns_prompts and model.device.type == "cpu"


def _claimed(settings: TuneSettings, identity: dict[str, Any]) -> TuneResult | None:
    claim_folder(settings, identity)
    return read_result(settings.out)


def base_model(settings: TuneSettings, ranks: SingleProcess | None = None) -> "Loaded":
    """Load the base as the run holds it. Raises ModelError, and TuneError where it does not fit into memory."""
    from weightwright.address.models import parse_model
    from weightwright.hub.pull import pull
    from weightwright.hub.store import locate
    from weightwright.machine.device import default_precision
    from weightwright.tune.memory import check_before_loading
    from weightwright.weights.load import load

    ranks = ranks or SingleProcess()
    address = parse_model(settings.model)
    with ranks.local_first():
        path = locate(address) or (pull(address) if address.hub_id else None)
    if path is not None:
        check_before_loading(path, settings, ranks)
    if settings.method == "qlora":
        from weightwright.tune.nf4 import load_nf4

        return load_nf4(settings.model, settings.precision, settings.device)
    precision = "f32" if settings.method == "full" else settings.precision
    if settings.fsdp:  # whole in main memory first: a GPU need not have the room
        placed = pick_device(settings.device)
        chosen = ranks.broadcast(lambda: default_precision(placed) if precision == "auto" else precision)
        return load(settings.model, precision=chosen, device="cpu")
    return load(settings.model, precision=precision, device=settings.device)


def plan_run(
    settings: TuneSettings, samples: dataset.Rows, held_out: dataset.Rows | None, loaded: "Loaded"
) -> loop.RunPlan:
    """Encode the rows and decide batch, steps and warm-up. Raises DataError and TuneError."""
    examples, notes = dataset.to_examples(samples, loaded, settings, dataset.learnt(settings))
    eval_examples = Examples()
    if held_out is not None and (apart := dataset.held_out(settings)) is not None:
        eval_examples, more = dataset.to_examples(held_out, loaded, settings, apart)
        notes += more
    sampled = OBJECTIVES[settings.objective].samples
    batch = settings.batch or (
        min(PROMPTS_A_STEP, len(examples)) if sampled else advice.batch_rows(len(examples), settings.epochs)
    )
    steps = step_count(len(examples), settings.epochs, batch) * (settings.grpo.iterations if sampled else 1)
    steps = min(steps, settings.max_steps or steps)
    warmup = advice.warmup_steps(steps, asked=settings.warmup_steps, share=settings.warmup_ratio)
    if warmup > (usual := advice.warmup_steps(steps)) and warmup > 1:
        notes += (f"warm-up is {warmup} of {steps} steps, as asked; at most a tenth ({usual}) is usual",)
    kind = pick_device(settings.device) if settings.fsdp else loaded.model.device.type
    return loop.RunPlan(
        examples=examples,
        eval_examples=eval_examples,
        steps=steps,
        batch=batch,
        warmup=warmup,
        eval_every=settings.steps_between(settings.eval_every or 0.25, steps),
        save_every=settings.steps_between(settings.save_every, steps),
        pass_tokens=PASS_TOKENS["cpu" if kind == "cpu" else "gpu"],
        settings=settings,
        packed=settings.packing,
        notes=notes,
    )


def prepare(
    plan: loop.RunPlan, ready: Adapted, folder: Path, ranks: SingleProcess, progress: Progress
) -> loop.Run:
    """The run before its first step: weights divided over several processes, optimizer, loss, precision."""
    settings, model = plan.settings, ready.model
    half = settings.method == "full" and settings.precision == "bf16"
    root = shard(model, ranks, half=half) if isinstance(ranks, ProcessGroup) else None
    # others where they are divided; a pass leaves those outside the layers whole in the model
    trainable = {name: ready.whole.get_parameter(name) for name in ready.trainable}
    model.train()
    if settings.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if model.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = settings.tf32
    if plan.packed and not (root(lambda: packs_rightly(model)) if root else packs_rightly(model)):
        note = "rows are padded, not packed: this model would let them see each other"
        _logger.warning(note)
        plan = replace(plan, packed=False, notes=(*plan.notes, note))
    if plan.packed and not root and _may_share(settings, model):
        plan = replace(plan, shared=packs_rightly(model, shared=True))
    loss = ShardedLoss(root, model) if root else VocabularyLoss(model)
    run = loop.Run(
        plan=plan,
        model=model,
        trainable=trainable,
        optimizer=optimizer_of(settings, trainable.values(), model.device),
        objective=OBJECTIVES[settings.objective].make(loss, settings, ranks.all_gather),
        likelihood=Likelihood(loss),
        folder=folder,
        autocast=half and root is None,
        ranks=ranks,
        progress=progress if ranks.is_first else silent,
    )
    if isinstance(loss, ShardedLoss):
        run.idle = partial(loss.idle, run.device)
    if OBJECTIVES[settings.objective].needs_reference:
        model.eval()
        with run.computing():
            examples, eval_examples = reference.with_reference(
                (plan.examples, plan.eval_examples), loss, run.layout, folder, ranks, run.say
            )
        model.train()
        run.plan = replace(plan, examples=examples, eval_examples=eval_examples)
    return run


def read_result(folder: Path) -> TuneResult | None:
    """The result of a run that has ended, None while it has not."""
    file = folder / _RESULT_FILE
    if not file.is_file():
        return None
    return TuneResult.from_json(json.loads(file.read_text(encoding="utf-8")))


def _finish(run: loop.Run, whole: Any, loaded: "Loaded") -> TuneResult:
    adapter, model = _save(run, whole, loaded)
    result = _result(run, adapter=adapter, model=model)
    if run.ranks.is_first and (written := adapter or model):
        settings, rows = run.plan.settings, len(run.plan.examples)
        (written / "README.md").write_text(card(settings, result, loaded, rows), encoding="utf-8")
        write_whole(run.folder / _RESULT_FILE, json.dumps(result.to_json(), indent=2).encode())
    return result


def _result(run: loop.Run, *, adapter: Path | None, model: Path | None) -> TuneResult:
    notes, samples = run.notes, run.rollout is not None
    last = notes.losses[-max(1, len(notes.losses) // 10) :]
    told = (diagnose_rewards if samples else diagnose)(
        notes.rewards if samples else notes.losses,
        notes.evals,
        seen_before=seen_before(run.plan.examples, run.plan.eval_examples),
        held_out=len(run.plan.eval_examples),
    )
    asked = general.compared(run.plan.general, *notes.general) if len(notes.general) == 2 else None
    return TuneResult(
        adapter=adapter,
        model=model,
        steps=run.done,
        train_loss=sum(last) / len(last),
        eval_loss=notes.evals[-1][1] if notes.evals and not samples else None,
        tokens_per_s=round(run.notes.tokens_per_s, 1),
        peak_bytes=max(run.ranks.all_gather([peak_bytes(run.device)])),
        diagnosis=(*told, *(asked.sentences if asked else ())),
        preferred=_preferred(notes.preferred),
        reward=_rewards(notes) if samples else None,
        notes=run.plan.notes,
        train_s=round(run.notes.train_s, 3),
        general=asked.data() if asked else None,
    )


def _save(run: loop.Run, whole: Any, loaded: "Loaded") -> tuple[Path | None, Path | None]:
    """The folders of the adapter or the model, written by the first process."""
    full, tokenizer = run.plan.settings.method == "full", loaded.tokenizer
    target = run.folder / ("model" if full else "adapter")
    weights = run.ranks.gather(run.model.state_dict(keep_vars=True) if full else run.trainable)
    if full and run.ranks.is_first:
        save.save_model(run.model, tokenizer, target, weights)
    elif run.ranks.is_first:
        save.save_adapter(whole, tokenizer, target, base_fingerprint=loaded.fingerprint, weights=weights)
    return (None, target) if full else (target, None)


def _rewards(notes: loop.Notes) -> dict[str, float]:
    """The mean reward of the first and the last tenth of the steps, and held out before and after."""
    tenth = max(1, len(notes.rewards) // 10)
    parts = {"first": notes.rewards[:tenth], "last": notes.rewards[-tenth:]}
    found = {name: sum(values) / len(values) for name, values in parts.items() if values}
    if notes.evals:
        found |= {"held_out_first": notes.evals[0][1], "held_out_last": notes.evals[-1][1]}
    return found


def _preferred(counts: tuple[int, int] | None) -> dict[str, float] | None:
    """The share of pairs with Wilson's interval."""
    if counts is None:
        return None
    from weightwright.stats.intervals import wilson

    right, pairs = counts
    low, high = wilson(right, pairs)
    return {"share": right / pairs, "low": low, "high": high, "pairs": pairs}


def peak_bytes(device: torch.device) -> int:
    """The most memory held so far: of the GPU's allocator, or of this process (since `reset_peak`, on Linux)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if (since_reset := peak.peak_bytes()) is not None:
        return since_reset
    try:
        import resource
    except ImportError:  # Windows, whose own count psutil reads
        import psutil

        return int(getattr(psutil.Process().memory_info(), "peak_wset", 0))
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
