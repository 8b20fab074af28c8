"""Decode time with guesses looked up in the prompt, beside none.

SmolLM2-135M over XQuAD (en) with the gold paragraph, one sequence, greedy, at most 64 new tokens. Two prompts: one
asks for the sentence of the passage, one for a few words. Every question is asked without guesses (`speculate=0`)
and with the default, in turn, in one process; the time is that from the first token to the last. The promise: at
least 1.4 times as fast where it copies, with the same text in f32 and in int8 with `deterministic`.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from harness.report import Table, spread

from engine_parts.harness import fresh, open_engine, verdict, xquad

MODEL, TOKENS = "smollm2-135m", 64
PROMPTS = {
    "quote": "{context}\n\nQuote the sentence of the passage that answers this question, word for word: {question}",
    "short": "{context}\n\nQuestion: {question}\nAnswer with a few words from the text.",
}
FORMS: dict[str, dict[str, Any]] = {
    "f32": {"precision": "f32"},
    "int8": {"precision": "int8"},
    "int8, deterministic": {"precision": "int8", "deterministic": True},
}


def measure(options: argparse.Namespace) -> list[object]:
    questions = 3 if options.quick else 40
    table = Table("weights", "prompt", "ms a token: without", "with", "ratio", "a question: min/median/max",
                  "acceptance", "tokens a step", "same text")  # fmt: skip
    lines = []
    for form, settings in FORMS.items():
        found = fresh("lookup", data=str(options.data), settings=settings, questions=questions)
        for prompt, arms in found.items():
            off, on = arms["off"], arms["on"]
            same = sum(a == b for a, b in zip(off["ids"], on["ids"], strict=True))
            without, with_ = (1e3 * sum(arm["s"]) / sum(arm["tokens"]) for arm in (off, on))
            each = [
                (a / n) / (b / m)
                for a, b, n, m in zip(off["s"], on["s"], off["tokens"], on["tokens"], strict=True)
                if n and m
            ]
            table.row(form, prompt, f"{without:.2f}", f"{with_:.2f}", f"{without / with_:.2f}", spread(each, 2),
                      f"{on['accepted']} of {on['guessed']}", f"{sum(on['tokens']) / max(on['steps'], 1):.2f}",
                      f"{same} of {questions}")  # fmt: skip
            if prompt == "quote":
                lines.append(
                    f"- {form}: {verdict(without / with_, 1.4, most=False)}, {same} of {questions} the same"
                )
    note = (
        f"{questions} questions, each of another paragraph. The ratio is of time a token, over all questions."
    )
    return [note, table, "\n".join(lines)]


def child(data: str, settings: dict[str, Any], questions: int) -> dict:
    from weightwright.engine.runner import Runner
    from weightwright.engine.speculate import Lookup

    counts = {"steps": 0, "guessed": 0, "accepted": 0}
    run, learn = Runner.run, Lookup.learn

    def counted_run(self: Runner, *arguments: Any) -> Any:
        counts["steps"] += 1
        return run(self, *arguments)

    def counted_learn(self: Lookup, guessed: int, accepted: int) -> None:
        counts["guessed"] += guessed
        counts["accepted"] += accepted
        learn(self, guessed, accepted)

    Runner.run, Lookup.learn = counted_run, counted_learn  # type: ignore[method-assign]
    engine = open_engine(MODEL, max_sequences=4, max_context=2048, share_prefixes=False, **settings)
    paragraphs = xquad(Path(data))[:questions]
    found: dict = {}
    ask(engine, PROMPTS["short"], paragraphs[0], None)  # warm up
    for name, prompt in PROMPTS.items():
        arms = {arm: {"s": [], "tokens": [], "ids": [], **dict.fromkeys(counts, 0)} for arm in ("off", "on")}
        for number, paragraph in enumerate(paragraphs):
            for arm in ("off", "on") if number % 2 else ("on", "off"):
                before = dict(counts)
                seconds, ids = ask(engine, prompt, paragraph, 0 if arm == "off" else None)
                kept = arms[arm]
                kept["s"].append(seconds)
                kept["tokens"].append(len(ids) - 1)  # the first comes with the prompt
                kept["ids"].append(ids)
                for key, count in counts.items():
                    kept[key] += count - before[key]
                kept["steps"] -= 1
        found[name] = arms
    engine.close()
    return found


def ask(engine, prompt: str, paragraph: dict, speculate: int | None) -> tuple[float, list[int]]:
    """Seconds from the first token to the end, and the answer's tokens."""
    from weightwright.ports import ChatRequest, Message, SamplingParams

    # a second engine would be a second team of threads, so the one there is changes its mind
    engine._completions._settings = engine.settings.model_copy(update={"speculate": speculate})
    text = prompt.format(context=paragraph["context"], question=paragraph["qas"][0]["question"])
    params = SamplingParams(temperature=0, max_tokens=TOKENS)
    came: list[float] = []
    reply = engine.submit(ChatRequest(messages=(Message(role="user", content=text),), params=params))
    reply.on_piece(lambda _: came.append(time.perf_counter()))
    ids = reply.result().completions[0].token_ids
    return came[-1] - came[0], list(ids)
