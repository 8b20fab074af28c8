"""Passes that were recorded beside the same passes launched kernel by kernel."""

from typing import Any

import pytest
import torch

from weightwright.executor.fuse import FusedDecoder
from weightwright.executor.linear import pack
from weightwright.executor.recorded import Inputs, RecordedPasses
from weightwright.kernels import elementwise, pool, skinny
from weightwright.kernels.cache import BLOCK_TOKENS, LayerShape, PagedCache
from weightwright.kernels.elementwise import Rows, Stored
from weightwright.kernels.int8 import int8_kernel
from weightwright.kernels.step import Step
from weightwright.weights.families import model_class

from .families import tiny_config

BLOCKS = 4  # of a sequence
WRONG = torch.full((2, 8), 9.0)


def decoder(family: str, form: str) -> FusedDecoder:
    torch.manual_seed(0)
    model = model_class(tiny_config(family)).from_config(tiny_config(family)).float().eval()
    packer = lambda _, weight, bias: pack(weight, bias, form)
    return FusedDecoder(model, packer, experts=packer)


def step(cache: PagedCache, rows: int, position: int) -> tuple[Any, ...]:
    """One token of each of `rows` sequences, behind `position` others."""
    tables = torch.arange(rows * BLOCKS, dtype=torch.int32).view(rows, BLOCKS)[
        :, : position // BLOCK_TOKENS + 1
    ]
    positions = torch.full((rows,), position)
    slots = tables[:, -1].long() * BLOCK_TOKENS + position % BLOCK_TOKENS
    where = Step(cache, slots, rows, tables.contiguous(), positions + 1, native=True)
    ids = torch.randint(60, (rows,), generator=torch.Generator().manual_seed(position * 10 + rows))
    return ids, positions, where, torch.arange(rows)


@pytest.mark.skipif(
    not skinny.supported(), reason="this CPU lacks AVX512-VNNI, or oneDNN packs in another way"
)
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mixtral", "qwen3_moe"])
def test_recorded_passes_give_the_same(family: str, form: str) -> None:
    recorded, plain = decoder(family, form), decoder(family, form)
    plain._passes._most = 0
    caches = [PagedCache(recorded.shapes, 8 * BLOCKS, torch.bfloat16) for _ in range(2)]
    for position in range(BLOCKS * BLOCK_TOKENS):
        for rows in {1, 2 + position % 6}:
            got, expected = (one.forward(*step(cache, rows, position))[0].clone()
                             for one, cache in zip((recorded, plain), caches, strict=True))  # fmt: skip
            if (
                "moe" in family or family == "mixtral"
            ):  # sums of experts in another order, then rounded to 8 bits
                assert (got - expected).norm() < 0.05 * expected.norm(), (position, rows)
            else:
                assert torch.equal(got, expected), (position, rows)
    held = [rows for rows, _, _ in recorded._passes._passes]
    signed = form == "int8" and int8_kernel().offset == 0
    assert sorted(held) == ([] if signed else list(range(1, 8)))


@pytest.mark.usefixtures("two_threads")
def test_what_kernels_alone_do_not_give_is_computed_as_ever() -> None:
    plain, other = decoder("llama", "f32"), decoder("qwen2_moe", "f32")  # torch's products; a shared expert
    for one in (plain, other):
        cache = PagedCache(one.shapes, 8 * BLOCKS, torch.float32)
        first = one.forward(*step(cache, 3, 0))[0]
        assert torch.equal(one.forward(*step(cache, 3, 0))[0], first)
        assert not one._passes._passes
        assert one._passes._most == 2
        one.forward(*step(cache, 1, 0))
        assert one._passes._most == 0


@pytest.mark.skipif(not pool.available(), reason="kernels need torch's OpenMP pool")
def test_kernels_that_give_something_else_are_not_run_again() -> None:
    def body(inputs: Inputs, turn: Any) -> tuple[Rows, None]:
        y = elementwise.put(inputs.stream, Stored(torch.float32)).data
        return Rows(y if turn is None else elementwise.put(WRONG, Stored(torch.float32)).data), None

    passes = RecordedPasses(body)
    stream = torch.randn(2, 8)
    cache = PagedCache([LayerShape(1, 16, 16)], 4, torch.float32)
    where = Step(
        cache, torch.zeros(2, dtype=torch.long), 2, torch.zeros(2, 1, dtype=torch.int32), torch.ones(2).long()
    )
    for _ in range(2):
        _, y, _ = passes(Inputs(stream, torch.ones(2, 4), torch.ones(2, 4), where))
        assert torch.equal(y.data, stream)
    assert not passes._passes
