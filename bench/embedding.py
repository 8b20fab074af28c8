"""Passages to vectors a second, beside sentence-transformers and OpenVINO GenAI, in turn, in one process tree.

    python bench/embedding.py --model FOLDER [--openvino-python PY] [--data ../shared/data/qa] [--rounds 3]

The passages are the chunks that `kb add` makes of XQuAD's English paragraphs and of this guide. Vectors are
compared with those of sentence-transformers in f32. Peers that are not given are left out. Writes
bench/results/embedding.md.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness.process import fresh, last_json
from harness.report import Table, machine, spread, versions, write_results

from weightwright.connect import open_embedder
from weightwright.ports import Document
from weightwright.rag.chunk import chunk_document, indexed_text
from weightwright.rag.settings import ChunkSettings

EMBEDDERS, GUIDE = Path(__file__).parent / "embedders", Path(__file__).parent.parent / "docs"
PASSES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a sentence-transformers model")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/qa"))
    parser.add_argument(
        "--openvino-python", help="a Python with openvino-genai, openvino-tokenizers, transformers"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passages", type=int, default=400)
    args = parser.parse_args()
    arms = {
        "ours": (sys.executable, "ours.py", ()),
        "sentence-transformers f32": (sys.executable, "sbert.py", ("f32",)),
        "sentence-transformers bf16": (sys.executable, "sbert.py", ("bf16",)),
    }
    if args.openvino_python:
        arms["OpenVINO GenAI"] = (args.openvino_python, "ov.py", ())
    with tempfile.TemporaryDirectory() as folder:
        passages, tokens = chunks_of(args.model, args.data, args.passages)
        Path(folder, "passages.json").write_text(json.dumps(passages), encoding="utf-8")
        found: dict[str, list[dict]] = {name: [] for name in arms}
        for _ in range(args.rounds):
            for name, (python, script, more) in arms.items():
                vectors = Path(folder, f"{name}.npy")
                command = [
                    python,
                    EMBEDDERS / script,
                    args.model,
                    Path(folder, "passages.json"),
                    vectors,
                    PASSES,
                ]
                found[name].append(last_json(fresh([*command, *more])))
        vectors = {name: np.load(Path(folder, f"{name}.npy")) for name in arms}
    exact = vectors["sentence-transformers f32"]
    table = Table(
        "embedder", "passages/s: min/median/max", "start-up s", "peak MB", "least cosine", "ours is"
    )
    rates = {
        name: [len(passages) / s for run in runs for s in run["passes_s"]] for name, runs in found.items()
    }
    ours = statistics.median(rates["ours"])
    for name, runs in found.items():
        cosine = (vectors[name] * exact).sum(axis=1).min()
        table.row(
            name, spread(rates[name]), f"{statistics.median(run['startup_s'] for run in runs):.1f}",
            f"{max(run['peak_mb'] for run in runs):.0f}", f"{cosine:.5f}",
            f"{ours / statistics.median(rates[name]):.2f} x",
        )  # fmt: skip
    mean = f"{tokens / len(passages):.0f} tokens"
    said = f"{len(passages)} passages of {mean}, {args.rounds} processes, {PASSES} passes each."
    write_results("embedding", f"# Embedding: {args.model.name}", machine(), versions(), said, table)


def chunks_of(model: Path, data: Path, count: int) -> tuple[list[str], int]:
    """Texts as they are embedded, and their tokens in all."""
    embedder = open_embedder(str(model))
    squad = json.loads((data / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    texts = [p["context"] for article in squad for p in article["paragraphs"]]
    texts += [file.read_text(encoding="utf-8") for file in sorted(GUIDE.glob("*.md"))]
    passages: list[str] = []
    for number, text in enumerate(texts):
        document = Document(f"d{number}", text)
        chunks = chunk_document(document, ChunkSettings(), embedder.count_tokens, embedder.max_tokens)
        passages += [indexed_text(chunk) for chunk in chunks]
    passages = passages[:count]
    return passages, sum(embedder.count_tokens(passages))


if __name__ == "__main__":
    main()
