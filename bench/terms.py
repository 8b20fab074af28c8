"""BM25's k1 and b, and what repeated terms are worth: XQuAD's questions against its paragraphs, terms alone.

    python bench/terms.py --data ../shared/data/qa [--write]

Scores go through the SQLite store, as `kb search --mode terms` asks it.
"""

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import retrieval

from weightwright.address.stores import StoreAddress
from weightwright.rag import evaluate, index
from weightwright.rag.settings import RetrieveSettings
from weightwright.rag.stores.opening import open_store
from weightwright.rag.stores.sqlite import terms as ranking
from weightwright.testing.embedder import HashEmbedder

RESULTS = Path(__file__).parent / "results" / "terms.md"
K1, B = (0.6, 0.9, 1.2, 1.5), (0.3, 0.4, 0.5, 0.75)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with xquad.en.json and xquad.zh.json"
    )
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = parser.parse_args()
    lines = [
        "| language | k1 | b | recall@1 | recall@5 | nDCG@10 | ms a question |",
        "|---|---|---|---|---|---|---|",
    ]
    chosen = (ranking.K1, ranking.B)
    with tempfile.TemporaryDirectory() as folder:
        for language in ("en", "zh"):
            documents, queries, qrels = retrieval.read(given.data / f"xquad.{language}.json")
            address = StoreAddress("sqlite", Path(folder) / f"{language}.db")
            embedder = HashEmbedder()
            index.add_documents(open_store(address, embedder=embedder, create=True), embedder, documents)
            for ranking.K1, ranking.B in product(K1, B):
                store = open_store(address)
                started_s = time.perf_counter()
                values = evaluate.evaluate(
                    store, None, queries, qrels, retrieval.METRICS, RetrieveSettings(mode="terms")
                )
                took_ms = (time.perf_counter() - started_s) / len(queries) * 1e3
                store.close()
                shown = " | ".join(f"{values[metric]:.4f}" for metric in retrieval.METRICS)
                mark = "**" if chosen == (ranking.K1, ranking.B) else ""
                lines.append(
                    f"| {language} | {mark}{ranking.K1}{mark} | {mark}{ranking.B}{mark} | {shown} | {took_ms:.1f} |"
                )
                print(lines[-1], flush=True)
    if given.write:
        head = [
            "# Terms",
            "",
            "XQuAD, 240 paragraphs, 1,190 questions, `--mode terms`; bold is what the store uses.",
        ]
        head += ["`python bench/terms.py --data DIR --write` makes this page.", ""]
        tail = ["", f"Machine: {retrieval.machine()}."]
        RESULTS.write_text("\n".join([*head, *lines, *tail]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
