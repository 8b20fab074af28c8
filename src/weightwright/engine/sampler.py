"""Sampling from a model in training: the trainer's own weights, and its adapter as it is at each step."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.kernels.pool import release_threads
from weightwright.ports import ChatRequest, ChatResult

if TYPE_CHECKING:
    from weightwright.weights.adapter import Adapter
    from weightwright.weights.load import Loaded

_MULTIPLIED_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class Sampler:
    """An engine over the weights of a model that somebody else trains an adapter of; see `tune.rollout.Sampler`.

    The same requests after the same adapter give the same answers, in whatever process: nothing is guessed, no
    sequence is put off for another, and all begin in one step.
    """

    def __init__(self, loaded: "Loaded", *, sequences: int, context_tokens: int) -> None:
        """Open it before adapters are put into the model. Raises ModelError, SettingsError as the engine does."""
        settings = EngineSettings(
            device=loaded.model.device.type,
            max_sequences=sequences,
            max_context=context_tokens,
            kv_memory=f"{1 << 60}",  # what is of use: sequences x context
            step_tokens=max(EngineSettings().step_tokens, sequences),
            speculate=0,
        )
        self._calls = 0
        self._engine = Engine(_once_more(loaded), settings=settings, shared=True)

    def sample(self, adapter: "Adapter", requests: Sequence[ChatRequest]) -> list[ChatResult]:
        """See `tune.rollout.Sampler`."""
        self._calls += 1  # as the digest: no prefix is shared with what an earlier call has read
        self._engine.set_adapter(replace(adapter, digest=self._calls.to_bytes(32, "little")))
        release_threads()  # the trainer's thread waits while the engine's computes
        replies = self._engine.submit_together(requests)
        try:
            return [reply.result() for reply in replies]
        finally:
            for reply in replies:
                reply.cancel()
            self._engine.release_threads()

    def close(self) -> None:
        """Stop the engine; the weights stay where they are."""
        self._engine.close()


def _once_more(loaded: "Loaded") -> "Loaded":
    """The model in other modules over the same tensors; those that are multiplied at once stand together."""
    from torch import nn

    from weightwright.weights.source import lay_together

    for module in loaded.model.modules():
        for names in _MULTIPLIED_TOGETHER:
            parts = [getattr(module, name, None) for name in names]
            if all(type(part) is nn.Linear for part in parts):
                lay_together(parts)
    tensors = (*loaded.model.parameters(), *loaded.model.buffers())
    return replace(loaded, model=copy.deepcopy(loaded.model, {id(tensor): tensor for tensor in tensors}))
