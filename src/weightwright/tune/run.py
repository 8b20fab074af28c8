"""One training run from settings to result: read, check, train, write."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
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
from weightwright.tune.distributed import joined
from weightwright.tune.examples import Examples
from weightwright.tune.expected import expected_note
from weightwright.tune.fused import int8_products, whole_layers
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.memory import check_rows, decide_checkpointing
from weightwright.tune.objectives import OBJECTIVES, Likelihood
from weightwright.tune.optimizer import optimizer_of
from weightwright.tune.ownership import claim_folder, first_day, identity_of, require_same
from weightwright.tune.ranks import ProcessGroup, SingleProcess
from weightwright.tune.result import FILE as RESULT_FILE
from weightwright.tune.result import TuneResult, read_result, result_of
from weightwright.tune.rollout import Reward, Rollout, Sampler, Sampling, room
from weightwright.tune.settings import TuneSettings
from weightwright.tune.shard import ShardedLoss, shard
from weightwright.tune.state import Run, RunPlan
from weightwright.weights.rope import chosen_for_each_row, steady_tokens

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded

_logger = logging.getLogger(__name__)
_told = logging.getLogger("weightwright.progress")


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
        int8_products(loaded.model, wanted=settings.int8_forward),
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
            return result_of(run, adapter=None, model=None)
        return _finish(run, ready.whole, loaded)


def _start_clock(run: Run, clock: Callable[[], float]) -> None:
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
    settings: TuneSettings, plan: RunPlan, loaded: "Loaded", sampling: Sampling | None
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
) -> RunPlan:
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
    return RunPlan(
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


def prepare(plan: RunPlan, ready: Adapted, folder: Path, ranks: SingleProcess, progress: Progress) -> Run:
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
    run = Run(
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


def _finish(run: Run, whole: Any, loaded: "Loaded") -> TuneResult:
    adapter, model = _save(run, whole, loaded)
    result = result_of(run, adapter=adapter, model=model)
    if run.ranks.is_first and (written := adapter or model):
        settings, rows = run.plan.settings, len(run.plan.examples)
        (written / "README.md").write_text(card(settings, result, loaded, rows), encoding="utf-8")
        write_whole(run.folder / RESULT_FILE, json.dumps(result.to_json(), indent=2).encode())
    return result


def _save(run: Run, whole: Any, loaded: "Loaded") -> tuple[Path | None, Path | None]:
    """The folders of the adapter or the model, written by the first process."""
    full, tokenizer = run.plan.settings.method == "full", loaded.tokenizer
    target = run.folder / ("model" if full else "adapter")
    weights = run.ranks.gather(run.model.state_dict(keep_vars=True) if full else run.trainable)
    if full and run.ranks.is_first:
        save.save_model(run.model, tokenizer, target, weights)
    elif run.ranks.is_first:
        save.save_adapter(whole, tokenizer, target, base_fingerprint=loaded.fingerprint, weights=weights)
    return (None, target) if full else (target, None)
