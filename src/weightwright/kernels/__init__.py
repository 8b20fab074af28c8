"""Native kernels for the CPU, compiled by numba's LLVM: no compiler is needed on the user's machine.

They run on torch's own OpenMP threads (`pool`). Where numba or that pool is missing `available()` is False
and the callers go through torch's operators.
"""

__all__ = [
    "attend",
    "cache",
    "elementwise",
    "encode",
    "int4",
    "int8",
    "lora",
    "pool",
    "quantize",
    "record",
    "route",
    "seen",
    "segments",
    "skinny",
    "step",
    "train",
    "tree",
]
