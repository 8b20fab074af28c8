"""What crosses between this machine and a device: counted on a device without memory (torch's `meta`).

No accelerator is here. The engine runs whole on the meta device, where a value that is asked for does not exist: a
mode in the engine's thread answers what is copied back with ones, and writes down each copy. So this says what
moves, and that no layer waits for the device; not that a card's numbers are right.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.testing.models import tiny_llama
from weightwright.weights.load import load

aten = torch.ops.aten


@dataclasses.dataclass(frozen=True)
class Copy:
    """One copy: `to` the device or `from` it, its bytes, and what asked for it."""

    way: str
    size_bytes: int
    by: str


class Transfers(TorchDispatchMode):
    """Writes down each copy between CPU and meta tensors; what comes back from the device is ones."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[Copy] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if func is aten._local_scalar_dense.default and tensors[0].is_meta:
            self._note("from", tensors[0], func)
            return 1
        if func is aten._to_copy.default and kwargs.get("device") is not None:
            device, source = torch.device(kwargs["device"]), tensors[0]
            if device.type != source.device.type:
                self._note("from" if source.is_meta else "to", source, func)
                dtype = kwargs.get("dtype") or source.dtype
                return torch.ones(source.shape, dtype=dtype, device=device)
        if func is aten.lift_fresh.default and tensors[0].is_meta:  # torch.tensor(numbers, device=…)
            self._note("to", tensors[0], func)
        elif func is aten.copy_.default and tensors[0].device.type != tensors[1].device.type:
            self._note("from" if tensors[1].is_meta else "to", tensors[1], func)
            return tensors[0] if tensors[0].is_meta else tensors[0].fill_(1)
        elif any(one.is_meta for one in tensors):
            for one in tensors:  # an index of the CPU into a tensor of the device
                if not one.is_meta and one.ndim:
                    self._note("to", one, func)
        return func(*args, **kwargs)

    def _note(self, way: str, tensor: torch.Tensor, func: Any) -> None:
        self.copies.append(Copy(way, tensor.numel() * tensor.element_size(), str(func)))


def steps(folder: Path, form: str, params: SamplingParams) -> list[list[Copy]]:
    """The copies of each step of the engine over a model on the meta device that answers one prompt."""
    loaded = load(str(folder), precision="bf16", device="cpu")
    loaded = dataclasses.replace(loaded, model=loaded.model.to("meta"), precision=form)
    settings = EngineSettings(kv_memory="4MB", speculate=0, max_context=128, max_sequences=4)
    transfers, seen = Transfers(), list[list[Copy]]()
    with contextlib.closing(Engine(loaded, settings=settings)) as engine:
        assert engine.parts.device.type == "meta"
        run: Callable[[Any], Any] = engine._runner.run
        entered = threading.Event()

        def counted(batch: Any) -> Any:
            if not entered.is_set():
                transfers.__enter__()  # of this thread, the engine's own, to its end
                entered.set()
            transfers.copies = []
            seen.append(transfers.copies)
            return run(batch)

        engine._runner.run = counted
        reply = engine.submit(ChatRequest(prompt="abcdefgh", params=params))
        assert [len(one.token_ids) for one in reply.result().completions] == [params.max_tokens] * params.n
    return seen


@pytest.mark.parametrize("form", ["bf16", "int8", "int4"])
def test_a_step_moves_ids_and_places_in_and_tokens_out(tmp_path: Path, form: str) -> None:
    """Neither weights nor logits, and as often with eight layers as with two."""
    params = SamplingParams(n=2, temperature=0, max_tokens=6, ignore_eos=True)
    moved = [steps(tiny_llama(tmp_path / str(n), layers=n), form, params) for n in (2, 8)]
    vocabulary = 259
    for model in moved:
        decoding = model[-1]  # of two completions
        assert decoding
        back = [one for one in decoding if one.way == "from"]
        assert [one.size_bytes for one in back] == [2 * 8]  # the argmax of two rows
        # ids, positions, slots, lengths and the rows that are wanted, 8 bytes each, and a block table
        assert sum(one.size_bytes for one in decoding if one.way == "to") <= 2 * (6 * 8 + 2 * 4)
        assert max(one.size_bytes for one in decoding) < vocabulary
    assert [len(step) for step in moved[0]] == [len(step) for step in moved[1]]


def test_log_probabilities_move_alone(tmp_path: Path) -> None:
    """Of each row the chosen token's, the alternatives', and the mass in parts: less than the row of logits."""
    params = SamplingParams(n=2, temperature=0, max_tokens=4, logprobs=2, ignore_eos=True)
    few, many = (steps(tiny_llama(tmp_path / str(n), layers=n), "int8", params)[-1] for n in (2, 8))
    back = [one.size_bytes for one in few if one.way == "from"]
    assert back == [one.size_bytes for one in many if one.way == "from"]
    assert sum(back) < 2 * 4 * 259 / 2
