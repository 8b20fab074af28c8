"""What the parts share: fresh processes, engines, and the times of the engine's steps."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.process import fresh_python, last_json

if TYPE_CHECKING:
    import numpy as np

    from weightwright.engine.engine import Engine
    from weightwright.engine.schedule import Batch


def fresh(part: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> dict:
    """What `child(**arguments)` of a part gives in a process of its own."""
    script = Path(__file__).resolve().parent.parent / "engine.py"
    found: dict = last_json(
        fresh_python(script, "--child", part, json.dumps(arguments), environment=environment)
    )
    print(part, arguments, file=sys.stderr, flush=True)
    return found


def verdict(value: float, limit: float, *, most: bool) -> str:
    """Whether a value is within what was promised."""
    met = value <= limit if most else value >= limit
    return f"{value:.2f} ({'at most' if most else 'at least'} {limit:g} is promised: {'met' if met else 'MISSED'})"


def open_engine(
    model: str, precision: str, adapters: Mapping[str, Path] | None = None, **settings: Any
) -> "Engine":
    """An engine over a model; settings are those of EngineSettings."""
    from weightwright.engine.engine import Engine
    from weightwright.engine.settings import EngineSettings
    from weightwright.weights.load import load

    return Engine(load(model, precision=precision), adapters=adapters, settings=EngineSettings(**settings))


def random_ids(rng: "np.random.Generator", tokens: int) -> tuple[int, ...]:
    """A prompt without meaning."""
    return tuple(rng.integers(100, 40_000, tokens).tolist())


def generate(
    engine: "Engine",
    prompts: Sequence[tuple[int, ...]],
    tokens: int,
    adapters: Sequence[str | None] = (None,),
) -> list[tuple[int, ...]]:
    """Continue prompts together and greedily by exactly so many tokens; the adapters take turns."""
    from weightwright.ports import ChatRequest, SamplingParams

    params = SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0)
    replies = [
        engine.submit(ChatRequest(prompt_token_ids=ids, params=params, adapter=adapters[i % len(adapters)]))
        for i, ids in enumerate(prompts)
    ]
    return [reply.result().completions[0].token_ids for reply in replies]


class Steps:
    """Notes when each step of any engine begins, with its sequences and tokens, from the making on."""

    def __init__(self) -> None:
        from weightwright.engine.runner import Runner

        self.noted: list[tuple[float, int, int]] = []  # start, sequences, tokens
        run = Runner.run

        def noting(runner: Runner, batch: "Batch") -> Any:
            self.begin(batch)
            return run(runner, batch)

        Runner.run = noting  # type: ignore[method-assign]

    def begin(self, batch: "Batch") -> None:
        """A step begins."""
        tokens = sum(len(work.tokens) for work in batch.works)
        self.noted.append((time.perf_counter(), len(batch.works), tokens))

    def clear(self) -> None:
        """Forget the steps so far."""
        self.noted.clear()

    def decode_s(self, sequences: int) -> list[float]:
        """From the start of each step to the next one's, of those in which so many sequences decode a token each."""
        return [
            after[0] - before[0]
            for before, after in zip(self.noted, self.noted[1:], strict=False)
            if before[1:] == after[1:] == (sequences, sequences)
        ]


def decode_steps(
    engine: "Engine", steps: Steps, prompts: Sequence[tuple[int, ...]], tokens: int,
    adapters: Sequence[str | None] = (None,),
) -> list[float]:  # fmt: skip
    """Seconds of the steps in which all prompts decode together."""
    steps.clear()
    generate(engine, prompts, tokens, adapters)
    return steps.decode_s(len(prompts))


def read_rate(rounds: int = 5, size_bytes: int = 1 << 30) -> list[float]:
    """Bytes a second of a plain read of so much memory, with torch's threads, several times."""
    import torch

    data = torch.ones(size_bytes // 4)
    data.sum()
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        data.sum()
        rates.append(data.nbytes / (time.perf_counter() - start))
    return rates


def in_engine(engine: "Engine", work: Any) -> Any:
    """Run something in the engine's thread, whose OpenMP workers are the only ones awake."""
    return engine._done(work)


def xquad(folder: Path) -> list[dict]:
    """The paragraphs of XQuAD in English, each with its questions."""
    articles = json.loads((folder / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    return [paragraph for article in articles for paragraph in article["paragraphs"]]
