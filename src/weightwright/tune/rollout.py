"""What GRPO learns from: the model's own answers to prompts, and how much better each was than others to the same.

The sampler and the reward are handed in. The sampler works on the trainer's weights, so there is never a second copy
of the base model.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from weightwright.data.sample import Prompt
from weightwright.data.template import Encoded
from weightwright.errors import Place, TuneError
from weightwright.plan.measured import SAMPLED_AT_ONCE
from weightwright.ports import ChatRequest, ChatResult, Completion, SamplingParams
from weightwright.tune.batch import Batch, Example
from weightwright.tune.grpo import advantages
from weightwright.tune.loss import VocabularyLoss
from weightwright.tune.settings import TuneSettings
from weightwright.weights.adapter import Adapter, adapter_of

if TYPE_CHECKING:
    from weightwright.weights.load import Loaded

_NAME = "in-training"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reward judges: a prompt with its row's fields, and a sampled text (without special tokens).

    `token_ids` are all tokens sampled, the one that ended the text too.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...] = ()


Reward = Callable[[Sequence[Answer]], Sequence[float | None]]  # None: this answer cannot be judged


class Sampler(Protocol):
    """Answers prompts with a model whose adapter is in training."""

    def sample(self, adapter: Adapter, requests: Sequence[ChatRequest]) -> list[ChatResult]:
        """Answers of the model with this adapter, which requests name; the same each time for the same seeds."""
        ...

    def close(self) -> None:
        """End it; the model stays."""
        ...


class OpenSampler(Protocol):
    """Opens a sampler over a model's own weights, before an adapter is put into it."""

    def __call__(self, loaded: "Loaded", *, sequences: int, context_tokens: int) -> Sampler:
        """For so many sequences at once, each of at most so many tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a run with objective=grpo is handed: how a sampler is opened, and rewards by name."""

    open_sampler: OpenSampler
    open_rewards: Callable[[Sequence[str]], Reward]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was sampled for the steps with one number (`Rollout.of`), and what the log says of it."""

    number: int
    examples: tuple[Example, ...]
    line: Mapping[str, float]


class Rollout:
    """Samples answers for a step, judges them, and keeps them while `iterations` steps learn from them."""

    def __init__(
        self,
        sampler: Sampler,
        reward: Reward,
        settings: TuneSettings,
        whole: Any,
        model: VocabularyLoss,
        layout: Callable[[Sequence[Example]], Iterator[Batch]],
        stops: tuple[str, ...] = (),
    ) -> None:
        """`whole` is the peft model, `model` computes its log-probabilities, `layout` lays examples into passes.

        `stops` end an answer where the chat template ends turns with text that is no token.
        """
        self._sampler, self._reward, self._settings = sampler, reward, settings
        self._whole, self._model, self._layout, self._stops = whole, model, layout, stops
        self._weights: dict[str, Any] = {}
        self.kept: Sampled | None = None

    def number(self, step: int) -> int:
        """Which samples step `step` (from 0) learns from."""
        return step // self._settings.grpo.iterations

    def of(self, step: int, prompts: Sequence[Example]) -> Sampled:
        """The judged answers to a step's prompts, sampled now where no earlier step has them."""
        number = self.number(step)
        if self.kept is None or self.kept.number != number:
            self.kept = self._sampled(number, prompts)
        return self.kept

    def learnt(self, examples: Sequence[Example]) -> list[Example]:
        """Those with a gradient: without a KL term an answer as good as the mean of its group has none."""
        return [one for one in examples if one.advantage or self._settings.pair_beta]

    def mean_reward(self, step: int, prompts: Sequence[Example]) -> float:
        """The mean reward of one answer to each of these held-out prompts. Raises TuneError where none has one."""
        results = self._results(prompts, (step, 1), n=1)
        known = [value for group in self._judged(prompts, results) for value in group if value is not None]
        if not known:
            raise TuneError("the reward judges no answer to the held-out prompts (None for each)")
        return statistics.fmean(known)

    def _sampled(self, number: int, prompts: Sequence[Example]) -> Sampled:
        settings = self._settings.grpo
        began_s = time.perf_counter()
        results = self._results(prompts, (number, 0), n=settings.group_size)
        sampled_s = time.perf_counter() - began_s
        rewards = self._judged(prompts, results)
        better = advantages(rewards, settings.scale_rewards)
        examples = [
            Example((self._row(prompt, completion),), advantage=advantage, prompt=prompt.prompt)
            for prompt, result, group in zip(prompts, results, better, strict=True)
            for completion, advantage in zip(result.completions, group, strict=True)
        ]
        known = [reward for group in rewards for reward in group if reward is not None]
        answers = [completion for result in results for completion in result.completions]
        line = {
            **({"reward": statistics.fmean(known)} if known else {}),
            "reward_std": statistics.stdev(known) if len(known) > 1 else 0.0,
            "unjudged": 1 - len(known) / len(answers),
            "equal_groups": sum(not any(group) for group in better) / len(better),
            "answer_tokens": statistics.fmean(len(one.token_ids) for one in answers),
            "cut_answers": sum(one.finish_reason == "length" for one in answers) / len(answers),
            "samples_per_s": round(len(answers) / sampled_s, 2),
        }
        return Sampled(number, tuple(self._with_logprobs(examples)), line)

    def _results(self, prompts: Sequence[Example], seeds: tuple[int, int], n: int) -> list[ChatResult]:
        """`n` answers to each prompt; `seeds` tells this call from all others of the run."""
        settings = self._settings
        mixed = np.random.SeedSequence([settings.seed, *seeds]).generate_state(len(prompts), np.uint64)
        requests = [
            ChatRequest(
                prompt_token_ids=prompt.rows[0].token_ids,
                adapter=_NAME,
                params=SamplingParams(
                    n=n,
                    temperature=settings.grpo.temperature,
                    max_tokens=settings.grpo.max_completion,
                    seed=int(seed >> np.uint64(1)),
                    stop=self._stops,
                ),
            )
            for prompt, seed in zip(prompts, mixed, strict=True)
        ]
        if not self._weights:
            self._weights = _weights_of(self._whole)
        return self._sampler.sample(_adapter(self._whole, self._weights), requests)

    def _judged(self, prompts: Sequence[Example], results: Sequence[ChatResult]) -> list[list[float | None]]:
        answers = [
            Answer(prompt.prompt, completion.text, tuple(completion.token_ids))
            for prompt, result in zip(prompts, results, strict=True)
            for completion in result.completions
            if prompt.prompt is not None
        ]
        values = iter(self._reward(answers))
        return [[next(values) for _ in result.completions] for result in results]

    def _row(self, prompt: Example, completion: Completion) -> Encoded:
        """Prompt and answer, whose tokens carry loss: the end token too, where there is one."""
        before = prompt.rows[0]
        learnt = completion.finish_reason != "length" or not self._settings.grpo.mask_truncated
        labelled = (False,) * len(before) + (learnt,) * len(completion.token_ids)
        return Encoded((*before.token_ids, *completion.token_ids), labelled, before.place)

    def _with_logprobs(self, examples: Sequence[Example]) -> list[Example]:
        """With what the objective compares with: the policy that sampled, the base model (adapters off)."""
        found = list(examples)
        if self._settings.grpo.iterations > 1:
            known = {id(one): values for one, values in self._logprobs(self.learnt(found))}
            found = [replace(one, sampled=known.get(id(one), ())) for one in found]
        if self._settings.pair_beta:
            with _adapters_off(self._whole):
                found = [replace(one, base=values) for one, values in self._logprobs(found)]
        return found

    def _logprobs(self, examples: Sequence[Example]) -> Iterator[tuple[Example, tuple[float, ...]]]:
        """Each example with the log-probabilities of its labelled tokens under the model as it is now."""
        known: dict[int, tuple[float, ...]] = {}
        with torch.no_grad(), _evaluating(self._whole):
            for batch in self._layout(examples):
                values = self._model.logprobs(batch, batch.labelled, self._settings.grpo.temperature).tolist()
                for example in batch.examples:
                    count = example.rows[0].labelled_tokens
                    known[id(example)], values = tuple(values[:count]), values[count:]
        return ((example, known[id(example)]) for example in examples)

    # -- what a resumed run needs --------------------------------------------------------------------

    def state(self, step: int) -> dict[str, Any] | None:
        """The samples that step `step` has begun to learn from, as JSON; None where there are none."""
        if self.kept is None or self.kept.number != self.number(step):
            return None
        rows = [
            {"token_ids": one.rows[0].token_ids, "labelled": one.rows[0].labelled, "advantage": one.advantage,
             "sampled": one.sampled, "base": one.base} for one in self.kept.examples
        ]  # fmt: skip
        return {"number": self.kept.number, "rows": rows, "line": dict(self.kept.line)}

    def go_on(self, state: dict[str, Any] | None) -> None:
        """Take up what `state` gave."""
        if state is None:
            return
        examples = [
            Example((Encoded(tuple(row["token_ids"]), tuple(row["labelled"]), Place()),), advantage=row["advantage"],
                    sampled=tuple(row["sampled"]), base=tuple(row["base"])) for row in state["rows"]
        ]  # fmt: skip
        self.kept = Sampled(state["number"], tuple(examples), state["line"])


def room(settings: TuneSettings, prompts: int, longest_prompt: int) -> tuple[int, int]:
    """How many sequences are sampled at once, and how long one can be, in tokens."""
    sequences = min(prompts * settings.grpo.group_size, SAMPLED_AT_ONCE)
    return sequences, longest_prompt + settings.grpo.max_completion


def _weights_of(whole: Any) -> Any:
    """The adapter's tensors of a peft model by name: the weights themselves, in the memory that steps write to."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(whole, save_embedding_layers=False)


def _adapter(whole: Any, weights: Any) -> Adapter:
    """The adapter of a peft model as it is now."""
    return adapter_of(_NAME, Path(_NAME), weights, asdict(whole.peft_config["default"]))


def _adapters_off(whole: Any) -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = whole.disable_adapter()
    return context


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
