"""The code of `record.Program`."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic

from weightwright.kernels.vector import after_counters, i64s, ticket

_BYTE = ir.IntType(8)


@intrinsic
def call(_context: Any, function: Any, argument: Any) -> Any:
    """Call the function `void f(void*)` at an address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer()])
        function, argument = arguments
        builder.call(
            builder.inttoptr(function, kind.as_pointer()), [builder.inttoptr(argument, _BYTE.as_pointer())]
        )
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@cfunc(types.void(types.voidptr), cache=True, nopython=True, error_model="numpy")
def chain(data: Any) -> None:
    """Each thread takes its part of each kernel, and waits for the others at `barrier` before the next.

    A kernel for one thread is the first thread's; it also sets the counters of what has run back to 0.
    """
    head = carray(after_counters(data), (2,), np.int64)
    barrier, count = head[0], head[1]
    calls = i64s(head.ctypes.data + 16, 3 * count)
    me = ticket(data, 0)
    for at in range(count):
        function, arguments, threads = calls[3 * at], calls[3 * at + 1], calls[3 * at + 2]
        if threads > 1 or me == 0:
            call(function, arguments)
        call(barrier, 0)
        if me == 0:
            counters = i64s(arguments, 2)
            counters[0] = counters[1] = 0
