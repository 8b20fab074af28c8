"""Attention over segments against softmax in f64, and its gradients against autograd's."""

import math
import os
import subprocess
import sys

import pytest
import torch

from weightwright.kernels import tree
from weightwright.kernels.tree import Tree

TREES = {
    "rows of their own": Tree((0, 37, 100, 101, 230)),
    "one beginning": Tree((0, 30, 100, 130, 200), ((), (0,), (0,), (0,))),
    "beginnings of beginnings": Tree((0, 20, 23, 90, 140, 145), ((), (0,), (0, 1), (0, 1), ())),
    "more than a stretch": Tree((0, 300, 420), ((), (0,))),
}
# relative error: f32 sums of some hundred products; bf16 rounds inputs, weights and results, each by 2^-9 at most
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 8e-3}


def seen_by(places: Tree, window: int) -> torch.Tensor:
    """Which token sees which, from the segments' own description."""
    tokens = places.bounds[-1]
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for number in range(len(places.bounds) - 1):
        line = [
            t
            for n in (*places.seen(number), number)
            for t in range(*places.range(number if n == number else n))
        ]
        for at, token in enumerate(line):
            if token >= places.range(number)[0] and token < places.range(number)[1]:
                first = max(0, at + 1 - window) if window else 0
                seen[token, line[first : at + 1]] = True
    return seen


def exact(query, key, value, places, scale, window):
    group = query.shape[0] // key.shape[0]
    key, value = (x.repeat_interleave(group, 0) for x in (key, value))
    scores = (query @ key.transpose(1, 2) * scale).masked_fill(~seen_by(places, window), -math.inf)
    return (scores.softmax(-1) @ value).transpose(0, 1)


def far(found, wanted):
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("dtype", list(LIMITS))
@pytest.mark.parametrize("window", [0, 25])
@pytest.mark.parametrize("name", list(TREES))
@pytest.mark.parametrize(("heads", "kv_heads", "width", "value_width"), [(6, 2, 32, 32), (3, 3, 80, 48)])
def test_attention_and_its_gradients(name, window, heads, kv_heads, width, value_width, dtype):
    places, scale = TREES[name], 0.2
    make = torch.Generator().manual_seed(0)
    q, k, v, outer = (
        torch.randn(places.bounds[-1], n, wide, generator=make).to(dtype).transpose(0, 1)
        for n, wide in ((heads, width), (kv_heads, width), (kv_heads, value_width), (heads, value_width))
    )
    assert tree.runs_on(q[None], k[None], v[None])
    inputs = [x.double().requires_grad_() for x in (q, k, v)]
    wanted = exact(*inputs, places, scale, window)
    wanted.backward(outer.transpose(0, 1).double())
    assert far(tree.attend(q, k, v, places, scale, window), wanted.detach()) < LIMITS[dtype]
    for found, one in zip(tree.gradients(q, k, v, outer, places, scale, window), inputs, strict=True):
        assert far(found, one.grad.transpose(0, 1)) < LIMITS[dtype]


def test_heads_may_lie_anywhere():
    places = Tree((0, 40))
    whole = torch.randn(
        40, 3, 4, 16, generator=torch.Generator().manual_seed(0)
    )  # q, k and v of a token together
    q, k, v = (whole[:, n].transpose(0, 1) for n in range(3))
    wanted = exact(q.double(), k.double(), v.double(), places, 0.25, 0)
    assert far(tree.attend(q, k, v, places, 0.25, 0), wanted) < LIMITS[torch.float32]


def test_numbers_of_a_head_may_lie_apart():
    """As a model may lay them out, and as autograd gives the gradient of a sum."""
    places = Tree((0, 40))
    q, k, v = torch.randn(3, 2, 16, 40, generator=torch.Generator().manual_seed(0)).transpose(2, 3)
    inputs = [x.double().requires_grad_() for x in (q, k, v)]
    wanted = exact(*inputs, places, 0.25, 0)
    wanted.sum().backward()
    assert far(tree.attend(q, k, v, places, 0.25, 0), wanted.detach()) < LIMITS[torch.float32]
    outer = torch.ones(()).expand(2, 40, 16)
    for found, one in zip(tree.gradients(q, k, v, outer, places, 0.25, 0), inputs, strict=True):
        assert far(found, one.grad.transpose(0, 1)) < LIMITS[torch.float32]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("which", range(3))
def test_what_is_no_number_is_not_lost(which, bad):
    """A run whose weights diverge is stopped by its loss."""
    inputs = [torch.randn(n, 20, 16, generator=torch.Generator().manual_seed(n)) for n in (4, 2, 2)]
    inputs[which][0, 5, 3] = bad
    assert not tree.attend(*inputs, Tree((0, 20)), 0.25, 0).isfinite().all()


@pytest.mark.parametrize("rows", [1, 50, 61])
def test_gradients_of_what_is_shared_wait_in_bounded_memory(monkeypatch, rows):
    """As many segments at a time as there is room for: the sums are the same."""
    q, k, v, outer = torch.randn(4, 145, 2, 16, generator=torch.Generator().manual_seed(0)).transpose(1, 2)

    def found():
        places = Tree((0, 20, 23, 90, 140, 145), ((), (0,), (0, 1), (0, 1), ()))
        return places, tree.gradients(q, k, v, outer, places, 0.3, 0)

    _, wanted = found()
    monkeypatch.setattr(tree, "_SCRATCH_ROWS", rows)
    places, got = found()
    assert len(places.laid.stretches) > 1
    assert max(len(held) for _, held in places.laid.stretches) <= max(rows, 23)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_heads_of_odd_widths_are_refused():
    q = torch.randn(1, 2, 5, 24)
    assert not tree.runs_on(q, q, q)
    assert not tree.runs_on(q[..., :16].half(), q[..., :16].half(), q[..., :16].half())


def test_what_comes_from_disk_rounds_as_what_was_just_compiled(tmp_path):
    """The first process compiles, the second loads: a run that goes on ends with the same bits."""
    code = (
        "import torch\nfrom weightwright.kernels import tree\n"
        "make = torch.Generator().manual_seed(0)\n"
        "q, k, v, g = (torch.randn(100, n, 16, generator=make).transpose(0, 1) for n in (4, 2, 2, 4))\n"
        "places = tree.Tree((0, 37, 100))\n"
        "found = tree.attend(q, k, v, places, 0.3, 0), *tree.gradients(q, k, v, g, places, 0.3, 0)\n"
        "print(hash(b''.join(x.numpy().tobytes() for x in found)))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert said[0].stdout == said[1].stdout != ""
