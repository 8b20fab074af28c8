"""weightwright: from an open language model's weights to a served, measured assistant on your own data."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightwright.engine.outputs import LoRARequest as LoRARequest
    from weightwright.llm import LLM as LLM
    from weightwright.ports.sampling import SamplingParams as SamplingParams
    from weightwright.ports.sampling import StructuredOutputsParams as StructuredOutputsParams

# How long a thread spins for another before it sleeps, read when torch is imported. OpenMP's own default is some
# milliseconds, in which it holds the core that the other may be waiting for: with one busy process beside it a model
# of 0.5B on two cores decoded 1.5 tokens/s instead of 42.
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "1000"

if "WEIGHTWRIGHT_CPU" in os.environ:  # read by the libraries when they are imported
    from weightwright.machine import cpu

    cpu.act_as(os.environ)

__version__ = "0.1.0"
__all__ = ["LLM", "LoRARequest", "SamplingParams", "StructuredOutputsParams", "__version__"]

_HOMES = {
    "LLM": "weightwright.llm",
    "LoRARequest": "weightwright.engine.outputs",
    "SamplingParams": "weightwright.ports.sampling",
    "StructuredOutputsParams": "weightwright.ports.sampling",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'weightwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
