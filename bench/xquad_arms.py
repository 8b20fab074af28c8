"""Six arms on XQuAD-en in one run of `compare`: what retrieval and tuning each bring on real questions.

240 paragraphs are the documents, the questions are those of the last 10 articles, the adapter is tuned
on 800 questions of the other articles (a fifth of them without their paragraph).

    python bench/xquad_arms.py --data FOLDER/qa/xquad.en.json --out runs/xquad
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from harness.report import Table, machine, versions

HELD_OUT_ARTICLES = 10
ROWS = 800
INSTRUCTION = "Answer with a few words from the text."
SETTINGS = f"""\
model: smollm2-135m
embedder: minilm
questions: questions.jsonl
documents: [corpus.jsonl]
arms: [base, rag, lora, lora+rag, gold, lora+gold]
primary: f1
metrics: [f1, exact_match, contains]
difference: 0.05
chunks: {{chunk_tokens: 250, overlap_tokens: 0}}
answer:
  k: 1
  max_tokens: 40
  prompt: {{instruction: "{INSTRUCTION}", plain_instruction: "Answer with a few words."}}
  cite: {{add: false}}
tune:
  data: rows.jsonl
  rank: 16
  alpha: 32
  learning_rate: 5.0e-4
  epochs: 1
  batch: 16
  max_length: 1024
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/qa/xquad.en.json"))
    parser.add_argument("--out", type=Path, default=Path("runs/xquad"))
    parser.add_argument("--limit", type=int, help="only so many questions, to try the script")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prepare(json.loads(options.data.read_text(encoding="utf-8"))["data"], options.out)
    command = [sys.executable, "-m", "weightwright", "compare", "--config", str(options.out / "compare.yaml")]
    command += ["--out", str(options.out), "--json"]
    command += ["--limit", str(options.limit)] if options.limit else []
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    if options.limit is None:
        write(result)
    print(json.dumps(result, indent=2, ensure_ascii=False))


def prepare(articles: list[dict], out: Path) -> None:
    """Write corpus.jsonl, questions.jsonl, rows.jsonl and compare.yaml."""
    corpus, questions, rows = [], [], []
    for number, article in enumerate(articles):
        held_out = number >= len(articles) - HELD_OUT_ARTICLES
        for position, paragraph in enumerate(article["paragraphs"]):
            document = f"{number:02}-{position}"
            corpus.append({"_id": document, "title": "", "text": paragraph["context"]})
            for qa in paragraph["qas"]:
                answers = [answer["text"] for answer in qa["answers"]]
                if held_out:
                    question = {"id": qa["id"], "question": qa["question"], "reference": answers[0]}
                    questions.append(question | {"answers": answers[1:], "documents": [document]})
                else:
                    row = {"question": qa["question"], "passages": [paragraph["context"]]}
                    rows.append(row | {"answer": answers[0]})
    random.Random(0).shuffle(rows)
    rows = [row | {"passages": []} if i % 5 == 4 else row for i, row in enumerate(rows[:ROWS])]
    for name, lines in (("corpus", corpus), ("questions", questions), ("rows", rows)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (out / "compare.yaml").write_text(SETTINGS, encoding="utf-8")


def write(result: dict) -> None:
    """bench/results/xquad_arms.md"""
    arms = {arm["name"]: arm for arm in result["arms"]}
    table = Table("arm", "F1", "95% interval", "exact", "contains", "s a question")
    for name, arm in arms.items():
        f1, exact, contains = (arm["scores"][m] for m in ("f1", "exact_match", "contains"))
        interval = f"{f1['low']:.3f} to {f1['high']:.3f}"
        table.row(
            name, f1["mean"], interval, exact["mean"], contains["mean"], arm["cost"]["seconds_per_question"]
        )
    f1 = {name: arm["scores"]["f1"]["mean"] for name, arm in arms.items()}
    lines = [
        "# Six arms on XQuAD-en",
        "",
        f"`python bench/xquad_arms.py`, {arms['base']['scores']['f1']['n']} questions, {machine()}.",
        "",
        str(table),
        "",
        f"Tuning the adapter took {arms['lora']['cost']['tuning_s']:.0f} s.",
        "",
        f"- rag / gold: {f1['rag'] / f1['gold']:.2f}",
        f"- lora+rag / lora+gold: {f1['lora+rag'] / f1['lora+gold']:.2f}",
        "- pairs (difference of F1, 95% interval, p after Holm's correction):",
        *(
            f"  - {p['a']} - {p['b']}: {p['difference']:+.3f} ({p['low']:+.3f} to {p['high']:+.3f}), "
            f"p = {p['p']:.4f}"
            for p in result["pairs"]
        ),
        f"- verdict: {result['why']}",
        "",
        versions(),
    ]
    Path(__file__).with_name("results").joinpath("xquad_arms.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
