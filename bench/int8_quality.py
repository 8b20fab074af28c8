"""What a model loses in bf16, int8 and int4: perplexity and divergence from f32, and where int8 loses it.

    python bench/int8_quality.py --data FOLDER_WITH_xquad.en.json [--tiny TinyStories-656K] [--write]

Every linear layer, the output head included, is replaced by the packed layer of one form; the text is the first
paragraphs of XQuAD in English, each by itself. Divergence is the mean over tokens of KL(f32 || form), which
tells forms apart where perplexity, which can fall by luck, does not. `plain` int8 quantises the inputs as they
come, `smoothed` scales them by a calibrated factor an input (SmoothQuant, arXiv 2211.10438, §4, with root mean
squares over 250 tokens), `rotated` is what the package does.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from harness import report

from weightwright.executor.linear import pack
from weightwright.weights.load import load

RESULTS = Path(__file__).parent / "results" / "int8_quality.md"
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")
SHARING = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # layers with the same input
CALIBRATION = (
    "The river had risen overnight, and by morning the lower road was gone. In 1987 the town built a second "
    "bridge, which cost $4.2 million; nobody remembers who paid for it.\n\nQ: How many minutes are in a day?\n"
    "A: 24 x 60 = 1,440.\n\ndef area(radius):\n    return 3.14159 * radius ** 2  # of a circle\n\n"
    '"Are you coming?" she asked. The committee will publish its report on Thursday, said a spokesperson.',
    "昨天晚上下了一场大雨，今天早上空气很新鲜。请问从北京到上海坐高铁需要多长时间？大约四个半小时。"
    "人工智能模型可以回答问题、翻译文章，也可以写代码。",
)

Layer = Callable[[str, torch.nn.Linear], torch.nn.Module]


class Smoothed(torch.nn.Module):
    """int8 with inputs divided and weights multiplied by `factor` [in]."""

    def __init__(self, linear: torch.nn.Linear, factor: torch.Tensor) -> None:
        super().__init__()
        self.packed, self.inverse = pack(linear.weight * factor, linear.bias, "int8"), 1 / factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs x [..., in] -> [..., out]."""
        return self.packed(x * self.inverse)


class Measured:
    """A model in f32, its text, and what f32 says to it."""

    def __init__(self, address: str, paragraphs: list[str]) -> None:
        loaded = load(address, precision="f32", device="cpu")
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.linears = {n: m for n, m in self.model.named_modules() if isinstance(m, torch.nn.Linear)}
        self.read([torch.tensor(loaded.tokenizer(text).input_ids) for text in paragraphs])

    def read(self, texts: list[torch.Tensor]) -> None:
        """Take texts [tokens] to be measured on."""
        self.texts = texts
        self.exact = [self._log_probabilities(text).half() for text in texts]
        losses = [self._loss(text, exact.float()) for text, exact in zip(texts, self.exact, strict=True)]
        self.tokens = sum(len(text) - 1 for text in texts)
        self.perplexity = math.exp(sum(losses) / self.tokens)

    def stories(self, count: int = 64, tokens: int = 250) -> list[torch.Tensor]:
        """Texts that the f32 model itself writes, sampled at temperature 1."""
        torch.manual_seed(0)
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        start = torch.full((count, 1), begin)
        with torch.inference_mode():
            written = self.model.generate(
                start, attention_mask=torch.ones_like(start), pad_token_id=end, do_sample=True, top_k=0,
                temperature=1.0, max_new_tokens=tokens, min_new_tokens=100,
            )  # fmt: skip
        lengths = [int(((text == end).nonzero()[:1] + 1).sum()) or len(text) for text in written]
        return [text[:length] for text, length in zip(written, lengths, strict=True)]

    def run(self, layer: Layer) -> tuple[float, float]:
        """Perplexity and divergence with every linear layer replaced by layer(name, linear)."""
        for name, linear in self.linears.items():
            self.model.set_submodule(name, layer(name, linear))
        loss = divergence = 0.0
        for text, exact in zip(self.texts, self.exact, strict=True):
            found, exact = self._log_probabilities(text), exact.float()  # noqa: PLW2901
            loss += self._loss(text, found)
            divergence += float((exact.exp() * (exact - found)).sum())
        for name, linear in self.linears.items():
            self.model.set_submodule(name, linear)
        return math.exp(loss / self.tokens), divergence / self.tokens

    def factors(self) -> dict[str, torch.Tensor]:
        """Smoothing factors [in] of each layer: the root of inputs' over weights' root mean squares."""
        squares: dict[str, torch.Tensor] = {}
        hooks = [
            linear.register_forward_pre_hook(
                lambda _, args, name=name: squares.update(
                    {name: squares.get(name, 0) + args[0].square().sum((0, 1))}
                )
            )
            for name, linear in self.linears.items()
        ]
        for text in CALIBRATION:
            self._log_probabilities(torch.tensor(self.tokenizer(text).input_ids))
        for hook in hooks:
            hook.remove()
        found = {}
        for name in self.linears:
            path, _, own = name.rpartition(".")
            together = next((names for names in SHARING if own in names), (own,))
            weights = [self.linears[f"{path}.{n}".lstrip(".")].weight.detach() for n in together]
            weight = sum(w.square().mean(0) / w.square().mean() for w in weights).sqrt()
            inputs = squares[name].sqrt()
            found[name] = (inputs.clamp_min(0.03 * inputs.mean()) / weight.clamp_min(1e-9)).sqrt()
        return found

    @torch.inference_mode()
    def _log_probabilities(self, text: torch.Tensor) -> torch.Tensor:
        return self.model(text[None]).logits[0, :-1].float().log_softmax(-1)

    def _loss(self, text: torch.Tensor, found: torch.Tensor) -> float:
        return -float(found.gather(1, text[1:, None]).double().sum())


def in_form(form: str, *, rotated: bool = False, head: str | None = None) -> Layer:
    def layer(name: str, linear: torch.nn.Linear) -> torch.nn.Module:
        chosen = head if head and name == "lm_head" else form
        return pack(linear.weight, linear.bias, chosen, rotated=rotated)

    return layer


def only(kind: str, layer: Layer) -> Layer:
    return lambda name, linear: layer(name, linear) if name.endswith(kind) else linear


def forms(measured: Measured) -> str:
    factors = measured.factors()
    layers: dict[str, Layer] = {
        "bf16": in_form("bf16"),
        "int8, rotated": in_form("int8", rotated=True),
        "int8, plain": in_form("int8"),
        "int8, smoothed": lambda name, linear: Smoothed(linear, factors[name]),
        "int4, head int8 rotated": in_form("int4", rotated=True, head="int8"),
        "int4, head too": in_form("int4"),
    }
    table = report.Table("form", "perplexity", "over f32 (%)", "divergence (1e-3)", "s")
    table.row("f32", measured.perplexity, 0.0, 0.0, "")
    for name, layer in layers.items():
        start = time.perf_counter()
        perplexity, divergence = measured.run(layer)
        over = 100 * (perplexity / measured.perplexity - 1)
        table.row(name, perplexity, over, 1e3 * divergence, round(time.perf_counter() - start))
        print(name, perplexity, over, 1e3 * divergence, flush=True)
    return str(table)


def kinds(measured: Measured) -> str:
    table = report.Table("only these in int8", "plain: over f32 (%)", "divergence (1e-3)", "rotated: over f32 (%)",
                         "divergence (1e-3)")  # fmt: skip
    for kind in KINDS:
        row: list[float] = []
        for rotated in (False, True):
            perplexity, divergence = measured.run(only(kind, in_form("int8", rotated=rotated)))
            row += [100 * (perplexity / measured.perplexity - 1), 1e3 * divergence]
        table.row(kind, *row)
        print(kind, row, flush=True)
    return str(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tiny", help="the folder of TinyStories-656K")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--paragraphs", type=int, default=40)
    parser.add_argument("--kind-paragraphs", type=int, default=8)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    articles = json.loads((options.data / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [part["context"] for article in articles for part in article["paragraphs"]]
    lines = ["# What bf16, int8 and int4 lose", "", report.machine(), "", report.versions(), ""]
    for address in (options.model, *([options.tiny] if options.tiny else [])):
        measured = Measured(address, paragraphs[: options.paragraphs])
        name = Path(address).name
        lines += [f"## {name}, the first {options.paragraphs} paragraphs of XQuAD (en), {measured.tokens} tokens",
                  "", forms(measured), ""]  # fmt: skip
        if address == options.tiny:
            measured.read(measured.stories())
            lines += [f"## {name}, stories that it wrote itself in f32 (seed 0), {measured.tokens} tokens",
                      "", forms(measured), ""]  # fmt: skip
        del measured
    measured = Measured(options.model, paragraphs[: options.kind_paragraphs])
    lines += [f"## Where int8 loses it ({options.kind_paragraphs} paragraphs)", "", kinds(measured), ""]
    lines += [
        "SmolLM2-135M's file holds most layers in 4 bits already, so int4 finds their grid again; only the head,",
        "which the file holds in more, can lose. TinyStories-656K's file is bf16. XQuAD is no text of its kind",
        "(perplexity 442), so its own stories say more about int4.",
        "",
    ]
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
