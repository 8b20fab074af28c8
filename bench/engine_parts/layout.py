"""Attention of a decode step over four arrangements of keys and values.

One layer of the 0.5B shape (14 heads, 2 key/value heads, width 64), bf16, 24 layers' caches in turn with the CPU's
caches flushed before each pass, as in a step: milliseconds a layer. The kernel walks block tables; gathering copies a
sequence's blocks together and gives them to torch's `scaled_dot_product_attention`, with the query heads of a group
as its query tokens, so that no key is repeated.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from harness.report import Table

from engine_parts.harness import fresh

HEADS, KV_HEADS, WIDTH, LAYERS, BLOCK = 14, 2, 64, 24, 16
ARMS = ("kernel, scattered blocks", "kernel, blocks together", "gathered, then torch", "contiguous, torch")
FLUSH_BYTES = 96 << 20


def measure(options: argparse.Namespace) -> list[object]:
    lengths = (64, 512) if options.quick else (64, 512, 2000)
    found = fresh("layout", lengths=lengths, passes=5 if options.quick else max(15, 5 * options.rounds))
    table = Table(
        "sequences", "tokens", *(f"{arm}: min / median ms" for arm in ARMS), "best", "scattered / together"
    )
    for case in found["cases"]:
        times = case["ms"]
        medians = [statistics.median(times[arm]) for arm in ARMS]
        table.row(case["rows"], case["tokens"],
                  *(f"{min(times[arm]):.3f} / {m:.3f}" for arm, m in zip(ARMS, medians, strict=True)),
                  ARMS[medians.index(min(medians))], f"{medians[0] / medians[1]:.2f}")  # fmt: skip
    error = max(case["error"] for case in found["cases"])
    return [
        table,
        f"Largest difference between the arms' results, relative to the largest number: {error:.1e}.",
    ]


def child(lengths: list[int], passes: int) -> dict:
    import torch

    flush = torch.zeros(FLUSH_BYTES // 4)
    cases = []
    with torch.inference_mode():
        caches = Caches(16, max(lengths))
        for rows in (1, 8, 16):
            for tokens in lengths:
                arms = caches.arms(rows, tokens)
                outputs = {name: arm(0) for name, arm in arms.items()}
                largest = float(outputs[ARMS[3]].abs().max())
                pairs = ((ARMS[0], ARMS[2]), (ARMS[1], ARMS[3]))
                error = max(float((outputs[a] - outputs[b]).abs().max()) for a, b in pairs) / largest
                ms: dict[str, list[float]] = {name: [] for name in arms}
                for _ in range(passes):
                    for name, arm in arms.items():
                        flush.sum()
                        start = time.perf_counter()
                        for layer in range(LAYERS):
                            arm(layer)
                        ms[name].append(1e3 * (time.perf_counter() - start) / LAYERS)
                cases.append({"rows": rows, "tokens": tokens, "ms": ms, "error": error})
    return {"cases": cases}


class Caches:
    """The same random keys and values in three layouts, of `rows` sequences of `tokens` tokens."""

    def __init__(self, rows: int, tokens: int) -> None:
        import torch

        from weightwright.kernels.cache import LayerShape, PagedCache

        torch.manual_seed(0)
        self.width = -(-tokens // BLOCK)
        blocks = rows * self.width
        self.paged = PagedCache([LayerShape(KV_HEADS, WIDTH, WIDTH)] * LAYERS, blocks, torch.bfloat16)
        for tensor in (*self.paged.keys, *self.paged.values):
            tensor.normal_()
        # [blocks, 16, heads, width]: gathering gives tokens in order, without a second copy
        self.plain = [
            (k.permute(0, 3, 1, 2).contiguous(), v.transpose(1, 2).contiguous())
            for k, v in zip(self.paged.keys, self.paged.values, strict=True)
        ]
        self.together = torch.arange(blocks).view(rows, self.width)
        self.scattered = torch.randperm(blocks).view(rows, self.width)
        self.whole = [self.paged.read(layer, self.together, torch.bfloat16) for layer in range(LAYERS)]
        self.queries = torch.randn(rows, HEADS, WIDTH)

    def arms(self, rows: int, tokens: int) -> dict[str, Callable[[int], Any]]:
        """What is compared: layer -> [rows, heads, width]."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        from weightwright.kernels.attend import attend
        from weightwright.kernels.step import Rules, Step

        used, queries = -(-tokens // BLOCK), self.queries[:rows]
        places, lengths = torch.arange(rows), torch.full((rows,), tokens)
        rules = Rules(WIDTH**-0.5)
        grouped = queries.bfloat16().view(rows, KV_HEADS, HEADS // KV_HEADS, WIDTH)

        def kernel(tables: Any) -> Callable[[int], Any]:
            own = tables[:rows, :used].int().contiguous()
            step = Step(self.paged, places, rows, own, lengths, native=True)
            return lambda layer: attend(step, layer, queries, rules)

        def over(keys: Any, values: Any) -> Any:
            out = scaled_dot_product_attention(grouped, keys[:, :, :tokens], values[:, :, :tokens])
            return out.reshape(rows, HEADS, WIDTH)

        index = self.scattered[:rows, :used].reshape(-1)

        def gathered(layer: int) -> Any:
            keys, values = (
                x.index_select(0, index).view(rows, -1, KV_HEADS, WIDTH).transpose(1, 2)
                for x in self.plain[layer]
            )
            return over(keys, values)

        def contiguous(layer: int) -> Any:
            return over(*(x[:rows] for x in self.whole[layer]))

        return dict(
            zip(ARMS, (kernel(self.scattered), kernel(self.together), gathered, contiguous), strict=True)
        )
