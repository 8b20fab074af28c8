"""The native kernels, each against f64, on one thread and on two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from weightwright.executor.attention import attend_segment, attend_singles
from weightwright.kernels import attend, elementwise, pool, segments
from weightwright.kernels.cache import BLOCK_TOKENS, LayerShape, PagedCache
from weightwright.kernels.elementwise import Rows, Stored
from weightwright.kernels.step import Rules, Segment, Step
from weightwright.weights.quantize import quantize_rows

pytestmark = [
    pytest.mark.skipif(not pool.available(), reason="no kernels for this machine"),
    pytest.mark.usefixtures("two_threads"),
]

WIDTH = 48


def close(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert float((got.double() - expected).abs().max()) <= tolerance * float(expected.abs().max())


def dense(x: Rows) -> torch.Tensor:
    if x.scales is None:
        return x.data.double()
    offset = 128 if x.data.dtype == torch.uint8 else 0
    return (x.data.double() - offset) * x.scales.double()[:, None]


TARGETS = [(torch.float32, 1e-6), (torch.bfloat16, 5e-3), (torch.int8, 5e-3), (torch.uint8, 5e-3)]


@pytest.mark.parametrize("n", [1, 2, 7, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), TARGETS)
def test_add_norm(n: int, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(n)
    hidden, y, scales = torch.randn(n, WIDTH), torch.randn(n, WIDTH), torch.rand(n)
    bias, weight = torch.randn(WIDTH), torch.rand(WIDTH) + 0.5
    summed = hidden.double() + y.double() * scales[:, None] + bias
    expected = F.rms_norm(summed, (WIDTH,), weight.double(), 1e-5)
    stream, copy = hidden.clone(), torch.empty(n, WIDTH, dtype=torch.bfloat16)
    out = elementwise.add_norm(stream, Rows(y, scales), bias, weight, 1e-5, Stored(dtype), copy)
    close(stream, summed, 1e-6)
    close(dense(out), expected, tolerance)
    close(copy, expected, 5e-3)
    plain = elementwise.add_norm(hidden.clone(), None, None, weight, 1e-5, Stored(dtype))
    close(dense(plain), F.rms_norm(hidden.double(), (WIDTH,), weight.double(), 1e-5), tolerance)


@pytest.mark.parametrize("source", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("activation", "reference"), [
    ("silu", F.silu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
])  # fmt: skip
@pytest.mark.parametrize(("dtype", "tolerance"), TARGETS)
def test_gate(source, activation, reference, dtype, tolerance) -> None:
    torch.manual_seed(0)
    x = (torch.randn(9, 2 * WIDTH) * 8).to(source)
    x[3] = 0  # a row of zeros has a scale and no NaN
    x[4, 0], x[4, 1] = 200.0, -200.0  # beyond what exp holds
    bias = torch.zeros(2 * WIDTH)
    bias[WIDTH:] = torch.randn(WIDTH)
    full = x.double() + bias
    expected = reference(full[:, :WIDTH]) * full[:, WIDTH:]
    out = dense(elementwise.gate(Rows(x), bias, elementwise.ACTIVATIONS[activation], Stored(dtype)))
    for got, wanted in zip(out, expected, strict=True):
        close(got, wanted, max(tolerance, 2e-6)) if wanted.any() else None
    assert not out[3].any()


def test_put_rounds_to_the_nearest() -> None:
    x = torch.tensor([[127.0, -127.0, 0.5, 1.5, 2.4, -2.6, 0.0, 1.0]])
    assert elementwise.put(x, Stored(torch.int8)).data.tolist() == [[127, -127, 0, 2, 2, -3, 0, 1]]
    assert elementwise.put(x, Stored(torch.uint8)).data.tolist() == [[255, 1, 128, 130, 130, 125, 128, 129]]
    torch.manual_seed(1)
    wide = torch.randn(5, 64) * 3
    assert torch.equal(elementwise.put(wide, Stored(torch.bfloat16)).data, wide.bfloat16())


@pytest.mark.parametrize("block", [16, 32, 64])
@pytest.mark.parametrize("offset", [0, 128])
def test_neighbours_are_rotated_before_they_are_rounded(block: int, offset: int) -> None:
    torch.manual_seed(block)
    x = torch.randn(5, 192)
    x[:, 7] *= 40  # what rotation is for
    expected, scale = quantize_rows(x, offset, block)
    plain = torch.empty(5, 192)
    got = elementwise.put(x.clone(), Stored(torch.uint8 if offset else torch.int8, block), plain)
    torch.testing.assert_close(got.scales, scale[:, 0], rtol=1e-5, atol=0)
    assert int((got.data.int() - expected.int()).abs().max()) <= 1
    assert torch.equal(got.data, expected) or float((got.data != expected).float().mean()) < 0.01
    assert torch.equal(plain, x)  # adapters see the rows as they were


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_rope_rotates_norms_scales_and_keeps(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    n, heads, kv_heads, width, rotary = 6, 4, 2, 32, 16
    x = torch.randn(n, (heads + 2 * kv_heads) * width)
    angles = torch.rand(n, rotary // 2).repeat(1, 2) * 6
    cos, sin = angles.cos(), angles.sin()
    norms = torch.rand(width) + 0.5, torch.rand(width) + 0.5
    cache = PagedCache([LayerShape(kv_heads, width, width)], 3, dtype)
    slots = torch.tensor([0, 5, 17, 31, 32, 47])
    fresh = torch.empty(n, kv_heads, width), torch.empty(n, kv_heads, width)
    scales = (cache.key_scales[0], cache.value_scales[0]) if cache.scaled else (None, None)
    queries = elementwise.rope(
        Rows(x), None, cos, sin, heads, kv_heads, width, norms=norms, eps=1e-6, scale=0.5, slots=slots,
        pages=(cache.keys[0], cache.values[0], *scales), fresh=fresh,
    )  # fmt: skip
    q, k, v = x.double().split([heads * width, kv_heads * width, kv_heads * width], dim=1)

    def rotated(part: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        part = F.rms_norm(part.view(n, -1, width), (width,), weight.double(), 1e-6)
        turned, rest = part[..., :rotary], part[..., rotary:]
        halves = torch.cat([-turned[..., rotary // 2 :], turned[..., : rotary // 2]], dim=-1)
        return torch.cat([turned * cos.double()[:, None] + halves * sin.double()[:, None], rest], dim=-1)

    close(queries, rotated(q, norms[0]) * 0.5, 1e-6)
    keys, values = rotated(k, norms[1]), v.view(n, kv_heads, width)
    close(fresh[0], keys, 1e-6)
    close(fresh[1], values, 1e-6)
    kept = cache.read(0, torch.tensor([[0, 1, 2]]), torch.float32)
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 5e-3, torch.int8: 1e-2}[dtype]
    close(kept[0][0][:, slots].transpose(0, 1), keys, tolerance)
    close(kept[1][0][:, slots].transpose(0, 1), values, tolerance)


@pytest.mark.parametrize("heads", [2, 6, 14, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_attend_over_blocks(heads: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(heads)
    kv_heads, width, blocks = 2, 32, 40
    cache = PagedCache([LayerShape(kv_heads, width, 48)], blocks, dtype)
    cache.write(0, torch.randn(640, kv_heads, width), torch.randn(640, kv_heads, 48), torch.arange(640))
    lengths = torch.tensor([1, 16, 17, 100, 130])
    order = torch.randperm(blocks)
    tables = torch.zeros(5, 9, dtype=torch.int32)
    for row, length in enumerate(lengths.tolist()):
        used = -(-length // BLOCK_TOKENS)
        tables[row, :used] = order[row * 8 : row * 8 + used].int() if used <= 8 else order[:used].int()
    queries = torch.randn(5, heads, width)

    def check(tolerance: float) -> None:
        for rules in (
            Rules(0.2),
            Rules(0.2, window=20),
            Rules(0.5, cap=3.0),
            Rules(0.2, sinks=torch.randn(heads)),
        ):
            got = attend_singles(Step(cache, lengths, 5, tables, lengths, native=True), 0, queries, rules)
            keys, values = cache.read(0, tables.long(), torch.float64)
            expected = _reference(queries.double(), keys, values, lengths, rules)
            close(got, expected, tolerance)

    if dtype == torch.int8:
        check(1e-2 if "avx512_vnni" in attend.features() else 1e-5)  # queries and weights in int8, too
        monkeypatch.setattr(attend, "features", frozenset[str])  # a CPU without such instructions
        attend.attend_kernel.cache_clear()
        check(1e-5)
        attend.attend_kernel.cache_clear()
    else:
        check(1e-5)


def _reference(queries, keys, values, lengths, rules: Rules) -> torch.Tensor:
    group = queries.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    scores = torch.einsum("rhw,rhlw->rhl", queries, keys) * rules.scale
    if rules.cap:
        scores = rules.cap * torch.tanh(scores / rules.cap)
    places = torch.arange(keys.shape[2])[None]
    seen = places < lengths[:, None]
    if rules.window:
        seen &= places >= lengths[:, None] - rules.window
    scores = scores.masked_fill(~seen[:, None], -torch.inf)
    if rules.sinks is not None:
        sinks = rules.sinks.double()[None, :, None].expand(len(queries), -1, 1)
        weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return torch.einsum("rhl,rhlw->rhw", weights, values)


SEGMENTS = [
    (torch.float32, 14, 64, 64), (torch.bfloat16, 14, 64, 64), (torch.int8, 14, 64, 64), (torch.float32, 2, 34, 16),
    (torch.bfloat16, 4, 16, 96), (torch.int8, 40, 32, 48),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "heads", "width", "value_width"), SEGMENTS)
def test_segments_over_blocks(
    dtype: torch.dtype, heads: int, width: int, value_width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several tokens of several sequences against f64, by the kernel and by torch's attention."""
    torch.manual_seed(heads)
    cache = PagedCache([LayerShape(2, width, value_width)], 60, dtype)
    cache.keys[0].copy_(torch.randint(0, 99, cache.keys[0].shape))  # what an earlier sequence has left
    cache.values[0].copy_(torch.randint(-99, 99, cache.values[0].shape))
    found, order, start, made = [], torch.randperm(60), 3, []
    for count, before in ((9, 3), (33, 70), (1, 63), (150, 0), (64, 130)):
        length = count + before
        used, order = order[: -(-length // BLOCK_TOKENS)], order[-(-length // BLOCK_TOKENS) :]
        places = torch.arange(length)
        slots = used[places // BLOCK_TOKENS] * BLOCK_TOKENS + places % BLOCK_TOKENS
        keys, values = torch.randn(length, 2, width), torch.randn(length, 2, value_width)
        cache.write(0, keys, values, slots)
        found.append(Segment(start, count, length, used))
        made.append((keys[before:], values[before:]))
        start += count
    queries = torch.randn(start, heads, width)
    step = Step(cache, torch.zeros(0), 3, torch.zeros(3, 1), torch.zeros(3), found, native=True)
    kind = torch.float32 if dtype == torch.float32 else torch.bfloat16

    def check(rules: Rules, tolerance: float) -> None:
        got = segments.attend(step, 0, queries * rules.scale, rules)
        for segment, (keys, values) in zip(found, made, strict=True):
            expected = _reference_segment(cache, segment, queries, rules)
            mine = slice(segment.start, segment.start + segment.count)
            close(got[mine], expected, tolerance)
            parts = queries[mine].to(kind), keys.to(kind), values.to(kind)
            close(
                attend_segment(step, 0, segment, *parts, rules),
                expected,
                1e-5 if kind == torch.float32 else 4e-2,
            )

    several = [Rules(width**-0.5, window) for window in (0, 20, 100)]
    for rules in several:
        check(rules, 1e-5 if dtype == torch.float32 else 2e-2)
    if dtype != torch.float32:
        monkeypatch.setattr(segments, "features", frozenset[str])  # a CPU without bf16 instructions
        segments._kernel.cache_clear()
        for rules in several:
            check(rules, 1e-5)
        segments._kernel.cache_clear()


def test_layers_with_other_heads_plan_for_themselves() -> None:
    segment = Segment(0, 40, 40, torch.arange(3))
    empty = torch.zeros(0)
    step = Step(PagedCache([], 1, torch.float32), empty, 0, empty, empty, [segment], native=True)
    assert [step.plan(16)[0][:, 1].tolist(), step.plan(30)[0][:, 1].tolist()] == [[32, 16, 0], [30, 0]]


def _reference_segment(
    cache: PagedCache, segment: Segment, queries: torch.Tensor, rules: Rules
) -> torch.Tensor:
    keys, values = cache.read(0, segment.table[None].expand(segment.count, -1), torch.float64)
    lengths = torch.arange(segment.length - segment.count, segment.length) + 1
    mine = queries[segment.start : segment.start + segment.count].double()
    return _reference(mine, keys, values, lengths, rules)


def test_a_second_process_finds_what_the_first_has_compiled(tmp_path: Path) -> None:
    script = (
        "from weightwright.kernels import attend, elementwise, lora, segments\n"
        "attend.attend_kernel(2, 32, 32, 'f32'), segments._kernel(2, 32, 32, 'f32')\n"
        "lora._kernel(lora._form(1)), elementwise._kernel('put')\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    script = f"from weightwright.cli.logs import configure\nconfigure(None)\n{script}"
    kept, said = [], []
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
        )
        said.append(run.stderr)
        kept.append(sorted(path.name for path in tmp_path.rglob("*.nbc")))
    assert kept[0] == kept[1]
    assert said[0].count(f"compiling kernels for this CPU (once; kept in {tmp_path}") == 1
    assert said[1] == ""  # all was found
    assert len({name.split(".")[0] for name in kept[0]}) == 4


def test_another_openmp_library_in_the_process_does_no_harm() -> None:
    script = (
        "import sklearn, sentence_transformers\n"  # they bring a libgomp of their own
        "import torch, transformers\n"
        "from weightwright.executor import fits\n"
        "config = transformers.Qwen2Config(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2,"
        " num_attention_heads=4, num_key_value_heads=2)\n"
        "model = transformers.AutoModelForCausalLM.from_config(config)\n"
        "print({fits.fits(model, 'f32') for _ in range(20)})\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert shown.stdout == "{''}\n", shown.stderr


def test_workers_of_a_thread_that_has_computed_can_be_let_go() -> None:
    script = (
        "import os, torch\n"
        "from weightwright.kernels.pool import release_threads\n"
        "torch.set_num_threads(2)\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count()\n"
        "x = torch.randn(512, 512)\n"
        "first, busy = x @ x, count()\n"
        "release_threads()\n"
        "print(busy - before, count() - before, torch.equal(x @ x, first))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert shown.stdout == "1 0 True\n", shown.stderr
