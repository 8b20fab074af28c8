"""Rounds of requests that arrive one by one, through vLLM's CPU build as its server drives it.

python vllm_stream.py JOB.json (see jobs.py); options as for vllm_load.py.
"""

import asyncio
import os
import time

from jobs import Line, read, say, timed, vllm_options

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "0-1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


async def main() -> None:
    import vllm
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.sampling_params import RequestOutputKind
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    job = read()
    start_s = time.perf_counter()
    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            **vllm_options(job),
        ),
        usage_context=UsageContext.OPENAI_API_SERVER,  # its defaults are the server's
    )
    say(startup_s=time.perf_counter() - start_s, version=f"vLLM {vllm.__version__}")

    async def ask(number: str, request: Line, due_s: float) -> list[float]:
        """When each token came."""
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        params = SamplingParams(
            max_tokens=request["tokens"],
            ignore_eos=True,
            temperature=0,
            output_kind=RequestOutputKind.DELTA,
        )
        times_s: list[float] = []
        async for output in engine.generate({"prompt_token_ids": request["ids"]}, params, number):
            times_s += [time.perf_counter()] * len(output.outputs[0].token_ids)
        return times_s

    async def play(one: Line) -> Line:
        start_s = time.perf_counter()
        asked = zip(one["requests"], one["arrivals_s"], strict=True)
        tasks = [
            ask(f"{one['name']}-{n}", request, start_s + at_s) for n, (request, at_s) in enumerate(asked)
        ]
        return timed(one, start_s, await asyncio.gather(*tasks))

    await play({"name": "warm-up", "requests": job["warmup"], "arrivals_s": [0.0] * len(job["warmup"])})
    for one in job["rounds"]:
        say(**await play(one))
    engine.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
