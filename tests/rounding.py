"""Tolerances from error bounds, for results that another CPU, kernel or team of threads adds up in another order."""

import torch

WAY = 1000  # the terms on a token's way through the tiny model: its sums, one after the other


def assert_same_sums(
    found: torch.Tensor, expected: torch.Tensor, terms: int = WAY, msg: str | None = None
) -> None:
    """The same sums of so many terms, added up in any order: within terms · u of the largest of them.

    A sum is within (terms - 1) · u times the sum of its terms' sizes, whatever the order (Higham, Accuracy and
    Stability of Numerical Algorithms, §4.2); the largest result stands for those sizes. Roundings go both ways, so
    that what is measured is a fifth of it at most; a term too many or too few is far more.
    """
    allowed = terms * torch.finfo(expected.dtype).eps / 2 * float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=allowed, msg=msg)
