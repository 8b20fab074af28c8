"""A kernel's entry, compiled for some constants and found again on disk by them."""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.sigutils import normalize_signature

_SIGNATURE = types.void(types.voidptr)


def entry(*constants: object, **options: Any) -> Callable[[Callable[[Any], None]], Any]:
    """Numba's `cfunc` of `void f(void*)` for a function made anew for each set of `constants`.

    numba names what it keeps by all that such a function closes over; where other compiled functions are among
    that, their names differ in each process, and nothing would ever be found again.
    """

    def compiled(function: Callable[[Any], None]) -> Any:
        made: Any = CFunc(
            function, normalize_signature(_SIGNATURE), locals={}, options={"nopython": True, **options}
        )
        made._cache = _Kept(function, repr(constants))
        made.compile()
        return made

    return compiled


class _Kept(FunctionCache):  # type: ignore[misc]
    def __init__(self, function: Callable[[Any], None], constants: str) -> None:
        super().__init__(function)
        self._constants = constants

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), self._constants
