"""Rounds of requests through this engine: python ours_load.py JOB.json (see jobs.py).

Options: precision, sequences, step_tokens, context, share_prefixes, adapters ({name: folder}).
"""

import time
from collections.abc import Callable
from pathlib import Path

from jobs import Line, counted, read, say, timed

import weightwright
from weightwright.connect import open_chat
from weightwright.engine.settings import EngineSettings
from weightwright.ports import Chat, ChatRequest, Piece, Reply, SamplingParams


def main() -> None:
    job = read()
    options = job["options"]
    settings = EngineSettings(
        precision=options["precision"],
        max_sequences=options["sequences"],
        step_tokens=options["step_tokens"],
        max_context=options["context"],
        share_prefixes=options["share_prefixes"],
        speculate=0,  # a model with random weights repeats itself: guesses would be right too often
    )
    adapters = {name: Path(folder) for name, folder in options.get("adapters", {}).items()}
    start_s = time.perf_counter()
    chat = open_chat(job["model"], adapters=adapters, settings=settings)
    say(startup_s=time.perf_counter() - start_s, version=f"weightwright {weightwright.__version__}")
    together(chat, {"name": "warm-up", "requests": job["warmup"]})
    for one in job["rounds"]:
        say(**(one_by_one(chat, one) if "arrivals_s" in one else together(chat, one)))
    chat.close()


def together(chat: Chat, one: Line) -> Line:
    """All requests at once, as `LLM.generate` submits them."""
    start_s = time.perf_counter()
    results = [reply.result() for reply in [submit(chat, request) for request in one["requests"]]]
    seconds = time.perf_counter() - start_s
    new = [len(result.completions[0].token_ids) for result in results]
    return counted(one, seconds, new, sum(result.usage.cached_tokens for result in results))


def one_by_one(chat: Chat, one: Line) -> Line:
    """Each request when it is due; tokens are timed where they are handed out."""
    start_s = time.perf_counter()
    times_s: list[list[float]] = []
    replies = []
    for request, arrival_s in zip(one["requests"], one["arrivals_s"], strict=True):
        time.sleep(max(0.0, start_s + arrival_s - time.perf_counter()))
        times_s.append([])
        replies.append(submit(chat, request))
        replies[-1].on_piece(_stamp(times_s[-1]))
    for reply in replies:
        reply.result()
    return timed(one, start_s, times_s)


def submit(chat: Chat, request: Line) -> Reply:
    params = SamplingParams(max_tokens=request["tokens"], ignore_eos=True, temperature=0)
    ids = tuple(request["ids"])
    return chat.submit(ChatRequest(prompt_token_ids=ids, adapter=request.get("adapter"), params=params))


def _stamp(times_s: list[float]) -> Callable[[Piece], None]:
    def note(piece: Piece) -> None:
        times_s.extend([time.perf_counter()] * len(piece.token_ids))

    return note


if __name__ == "__main__":
    main()
