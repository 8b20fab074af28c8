"""The training loop, and what it calls, in that order."""

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from weightwright.data.pack import rows_of_step
from weightwright.errors import TuneError
from weightwright.tune import checkpoint, held_out
from weightwright.tune.batch import Example
from weightwright.tune.diagnose import diverged, spiked
from weightwright.tune.interrupt import Interruption
from weightwright.tune.log import Log
from weightwright.tune.objectives import Objective
from weightwright.tune.settings import Schedule
from weightwright.tune.state import Notes, Run

_logger = logging.getLogger(__name__)
_EVAL_EXAMPLES = 64  # held-out examples laid into passes together


def train(run: Run, share: float = 1.0) -> None:
    """Take all steps that remain, or those up to a share of all; saves, evaluates and logs on the way.

    Raises TuneError when the loss is no longer a number (the last good checkpoint stays), and
    KeyboardInterrupt after a checkpoint when the user interrupts.
    """
    settings = run.plan.settings
    with Interruption() as interruption, Log(run.folder, run.done, settings, on=run.ranks.is_first) as log:
        if not run.notes.evals:
            _evaluate_and_note(run, log)
        if not run.done:
            _ask_general_questions(run)
        while run.done < (end := math.ceil(share * run.plan.steps)):
            started_s = run.clock()
            run.ranks.reseed(settings.seed, run.done)
            random = checkpoint.random_state(run.device)
            examples, sampled = step_examples(run)
            loss, tokens = accumulate_gradients(run, examples, interruption)
            if run.ranks.any_rank(interruption.asked):
                save(run, random)
                raise KeyboardInterrupt(
                    f"interrupted after {run.done} of {run.plan.steps} steps; the same command goes on from there"
                )
            check_loss(run, loss)
            rate, norm = update_weights(run, loss)
            _note_step(run, loss, tokens, sampled, run.clock() - started_s)
            log.write({**_line(run, rate, norm), **sampled, **run.objective.measures})
            if run.done % run.plan.eval_every == 0 or run.done == end:
                _evaluate_and_note(run, log)
            if run.done % run.plan.save_every == 0 or run.done == end:
                save(run, checkpoint.random_state(run.device))
            run.say(_note(run))
            _fit_into_time(run)
        if run.done == run.plan.steps and len(run.notes.general) == 1:
            _ask_general_questions(run)


def step_examples(run: Run) -> tuple[Sequence[Example], Mapping[str, float]]:
    """What the next step learns from, and what the log says of it where it was sampled."""
    plan, settings, rollout = run.plan, run.plan.settings, run.rollout
    reading = run.done if rollout is None else rollout.number(run.done)
    numbers = rows_of_step(
        reading, rows=len(plan.examples), epochs=settings.epochs, batch=plan.batch, seed=settings.seed
    )
    examples = [plan.examples[n] for n in numbers]
    if rollout is None:
        return examples, {}
    with run.computing():
        sampled = rollout.of(run.done, examples)
    return sampled.examples, sampled.line


def accumulate_gradients(
    run: Run, examples: Sequence[Example], interruption: Interruption
) -> tuple[float, int]:
    """Gradients of the mean loss of a step's examples; that loss, and the real tokens read."""
    with run.computing():
        run.objective.begin(examples, run.layout)
    total = 0.0
    learnt = examples if run.rollout is None else run.rollout.learnt(examples)
    for batch in run.layout(learnt, lambda: interruption.asked):
        with run.computing():
            loss = run.objective.loss(batch)
        loss.backward()
        total += loss.item()
    return run.ranks.all_sum(total), sum(example.tokens for example in examples)


def check_loss(run: Run, loss: float) -> None:
    """Raise TuneError where the loss spiked or diverged: the step is not taken, the last checkpoint stays."""
    if run.rollout is not None:  # around 0 by its making: what rises is the reward
        return
    losses = [*run.notes.losses, loss]
    if spiked(losses) or diverged(losses, times=3.0, rise=1.0):  # noise is left to the diagnosis
        what = "has jumped to" if spiked(losses) else "has risen to"
        raise TuneError(_astray(run, f"the loss {what} {loss:.3f} (before: {run.notes.losses[-1]:.3f})"))


def update_weights(run: Run, loss: float) -> tuple[float, float]:
    """Clip, step and clear gradients; the learning rate used and the gradient's norm before clipping."""
    settings = run.plan.settings
    norm = run.ranks.scalar(nn.utils.clip_grad_norm_(run.trainable.values(), settings.max_grad_norm))
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise TuneError(_astray(run, f"the loss is {loss}, the gradient's norm {norm}"))
    rate = settings.peak_learning_rate * rate_share(
        run.done, run.plan.steps, run.plan.warmup, settings.schedule
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
    """Mean loss over the held-out examples, per labelled token or per pair; needs no more memory than training.

    Each one's loss goes into the run's folder (see `held_out`).
    """
    examples = run.plan.eval_examples
    losses, rewards = losses_of(run, run.objective, examples, "held-out rows")
    if rewards:
        run.notes.preferred = sum(chosen > rejected for chosen, rejected in rewards), len(rewards)
    sizes = [run.objective.size(example) for example in examples]
    if run.ranks.is_first:
        held_out.write(run.folder, examples, sizes, losses, run.done)
    return sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / sum(sizes)


def losses_of(
    run: Run, objective: Objective, examples: Sequence[Example], what: str
) -> tuple[list[float], list[tuple[float, float]]]:
    """An objective's loss of each example, in their order, and the rewards of all pairs, without gradients.

    `what` they are is said on the way.
    """
    losses: list[tuple[int, float]] = []
    rewards: list[tuple[float, float]] = []
    run.model.eval()
    with torch.no_grad(), run.computing():
        for start in range(0, len(examples), _EVAL_EXAMPLES):
            part, read = [*examples[start : start + _EVAL_EXAMPLES]], []
            numbers = {id(example): start + n for n, example in enumerate(part)}
            objective.begin(part, run.layout)
            for batch in run.layout(part):
                objective.loss(batch)
                read += [numbers[id(example)] for example in batch.examples]
            losses += zip(read, objective.losses, strict=True)
            rewards += objective.rewards
            run.say(f"{start + len(part):,} of {len(examples):,} {what} read")
    run.model.train()
    return [loss for _, loss in sorted(run.ranks.all_gather(losses))], run.ranks.all_gather(rewards)


def save(run: Run, random: dict[str, Tensor]) -> None:
    """Write a checkpoint of the steps done."""
    notes = {
        "losses": run.notes.losses,
        "evals": run.notes.evals,
        "tokens": run.notes.tokens,
        "train_s": run.notes.train_s,
        "preferred": run.notes.preferred,
        "general": run.notes.general,
        "rewards": run.notes.rewards,
        "rollout": run.rollout.state(run.done) if run.rollout else None,
    }
    tensors = run.ranks.gather(checkpoint.state_of(run.trainable, run.optimizer, random))
    if run.ranks.is_first:
        checkpoint.save(run.folder / "checkpoints", run.done, tensors, notes, run.plan.settings.keep)
    run.ranks.barrier()  # none goes on, or ends, before it is written


def resume(run: Run) -> None:
    """Go back to the last checkpoint of the run's folder, if there is one."""
    checkpointed = checkpoint.restore(run.folder / "checkpoints", run.trainable, run.optimizer, run.ranks)
    if checkpointed is None:
        return
    restored, random = checkpointed
    checkpoint.set_random_state(random, run.device)
    run.done = restored.step
    notes = restored.notes
    evals = [(int(step), float(loss)) for step, loss in notes["evals"]]
    preferred = notes.get("preferred")
    run.notes = Notes(
        losses=notes["losses"],
        evals=evals,
        rewards=notes.get("rewards", []),
        preferred=tuple(preferred) if preferred else None,
        tokens=int(notes["tokens"]),
        train_s=float(notes["train_s"]),
        general=notes.get("general", []),
    )
    if run.rollout is not None:
        run.rollout.go_on(notes["rollout"])


def _evaluate_and_note(run: Run, log: Log) -> None:
    if run.plan.eval_examples:
        with run.timed("evaluation"):
            _note_evaluation(run, log)


def _note_evaluation(run: Run, log: Log) -> None:
    if run.rollout is not None:
        reward = run.rollout.mean_reward(run.done, run.plan.eval_examples)
        run.notes.evals.append((run.done, reward))
        log.write({"step": run.done, "eval_reward": reward})
        return
    loss = evaluate(run)
    run.notes.evals.append((run.done, loss))
    line = {"step": run.done, "eval_loss": loss}
    if run.notes.preferred:
        right, pairs = run.notes.preferred
        line["eval_preference_accuracy"] = right / pairs
    log.write(line)


def _ask_general_questions(run: Run) -> None:
    if run.plan.general:
        with run.timed("general"):
            losses, _ = losses_of(run, run.likelihood, run.plan.general, "general questions")
        run.notes.general.append(losses)


def _fit_into_time(run: Run) -> None:
    """Decide the number of steps by the run's budget, once their rate is known."""
    budget, group = run.budget, run.plan.settings.grpo.iterations if run.rollout else 1
    if budget is None or not run.ranks.broadcast(lambda: budget.is_measured(run.done, group)):
        return
    with budget.timed("checkpoint"):
        save(run, checkpoint.random_state(run.device))
    run.plan = budget.fitted(run.plan, run.ranks.broadcast(lambda: budget.decide(run.plan, run.done, group)))
    _logger.warning(run.plan.notes[-1])


def _note_step(run: Run, loss: float, tokens: int, sampled: Mapping[str, float], seconds: float) -> None:
    run.done += 1
    if "reward" in sampled:
        run.notes.rewards.append(sampled["reward"])
    run.notes.losses.append(loss)
    run.notes.tokens += tokens
    run.notes.train_s += seconds
    if run.budget and not run.budget.decided:
        usual = tokens if run.rollout else run.plan.batch * run.plan.mean_tokens
        run.budget.steps_s.append(seconds * usual / tokens)


def _line(run: Run, rate: float, norm: float) -> dict[str, float]:
    return {
        "step": run.done,
        "loss": run.notes.losses[-1],
        "learning_rate": rate,
        "grad_norm": norm,
        "tokens": run.notes.tokens,
        "tokens_per_s": round(run.notes.tokens_per_s, 1),
    }


def _note(run: Run) -> str:
    left_s = run.notes.train_s / len(run.notes.losses) * (run.plan.steps - run.done)
    left = f"{left_s / 60:.0f} min left" if left_s >= 90 else f"{left_s:.0f} s left"
    how = f"loss {run.notes.losses[-1]:.3f}"
    if run.rollout:
        how = f"reward {run.notes.rewards[-1]:.3f}" if run.notes.rewards else "no answer judged"
    return f"{how}, {run.notes.tokens_per_s:,.0f} tokens/s, {left}"


def _astray(run: Run, what: str) -> str:
    saved = checkpoint.checkpoints(run.folder / "checkpoints")
    kept = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint had been written yet"
    return (
        f"step {run.done + 1}: {what}; {kept}; lower "
        f"--learning-rate (now {run.plan.settings.peak_learning_rate:g}) or use --precision f32, "
        "with another --out"
    )
