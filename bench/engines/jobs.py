"""What the load benchmarks and their engines share; of the standard library alone, for every environment to import.

A job is a JSON file: `{"model": …, "options": {…}, "warmup": [request, …], "rounds": [round, …]}`, where a round is
`{"name": …, "requests": [request, …]}`, with `"arrivals_s": [seconds, …]` where requests come one by one and
`"batch": n` where an engine knows fixed batches only, and a request is `{"ids": prompt, "tokens": new tokens}`, with
`"adapter": name` where one answers. An engine reads it from the file named by its argument and prints a JSON line for
its start-up and one for each round.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

Line = dict[str, Any]


# --- for the parent ---------------------------------------------------------------------------------


def run(engine: str, python: str, script: str, job: Line) -> list[Line]:
    """Run one engine in a process of its own, show its lines as they come, and return them."""
    # ended from outside, too, the parent must come by `finally`: vLLM's workers outlive their parent
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "job.json"), Path(folder, "log")
        file.write_text(json.dumps(job), encoding="utf-8")
        command = [python, str(Path(__file__).with_name(script)), str(file)]
        with log.open("w") as errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
            try:
                lines = _read(engine, process)
                status = process.wait()
            finally:
                _end(process.pid)
        missing = {one["name"] for one in job["rounds"]} - {line.get("round") for line in lines}
        if status != 0 or missing:
            raise SystemExit(f"{' '.join(command)} ended with {status}:\n{log.read_text()[-4000:]}")
    return lines


def named(lines: Sequence[Line], name: str) -> list[Line]:
    """The lines of the rounds of this name."""
    return [line for line in lines if line.get("round") == name]


def startup(lines: Sequence[Line]) -> Line:
    """The line of the start-up."""
    return next(line for line in lines if "startup_s" in line)


def _read(engine: str, process: "subprocess.Popen[str]") -> list[Line]:
    assert process.stdout is not None
    lines = []
    for text in process.stdout:
        if text.startswith("{"):
            lines.append({"engine": engine, **json.loads(text)})
            print(json.dumps(lines[-1]), flush=True)
    return lines


def _leave(signum: int, _: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def _end(group: int) -> None:
    """End what an engine may have left behind: it began a process group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


# --- for the engines --------------------------------------------------------------------------------


def read() -> Line:
    """The job."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def say(**line: Any) -> None:
    """Print a line."""
    print(json.dumps(line), flush=True)


def counted(one: Line, seconds: float, new: Sequence[int], cached_tokens: int = 0) -> Line:
    """The line of a round whose requests gave `new` tokens each. Raises ValueError where an engine gave fewer."""
    wanted = [request["tokens"] for request in one["requests"]]
    if list(new) != wanted:
        raise ValueError(f"{one['name']}: asked for {sum(wanted)} new tokens, got {sum(new)}")
    prompt_tokens = sum(len(request["ids"]) for request in one["requests"])
    return {
        "round": one["name"],
        "seconds": seconds,
        "requests": len(wanted),
        "prompt_tokens": prompt_tokens,
        "cached_tokens": cached_tokens,
        "new_tokens": sum(wanted),
    }


def timed(one: Line, start_s: float, times_s: Sequence[Sequence[float]]) -> Line:
    """The line of a round with arrivals: `times_s` has for each request when each of its tokens came.

    The time to the first token counts from when the request was due, so that a late start is not forgiven;
    tokens that come together have no time between them.
    """
    due_s = [start_s + arrival for arrival in one["arrivals_s"]]
    first = [times[0] - due for times, due in zip(times_s, due_s, strict=True)]
    gaps = [b - a for times in times_s for a, b in pairwise(times)]
    seconds = max(times[-1] for times in times_s) - start_s
    line = counted(one, seconds, [len(times) for times in times_s])
    return line | {"first_ms": _percentiles(first), "between_ms": _percentiles(gaps)}


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    hundredths = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": hundredths[49] * 1000, "p99": hundredths[98] * 1000}


def vllm_options(job: Line) -> Line:
    """How vLLM is opened for a job, offline and for streams alike."""
    options = job["options"]
    return {
        "model": job["model"],
        "dtype": "bfloat16",
        "max_model_len": options["context"],
        "max_num_seqs": options["sequences"],
        "max_num_batched_tokens": options["step_tokens"],
        "enable_prefix_caching": options["share_prefixes"],
    }
