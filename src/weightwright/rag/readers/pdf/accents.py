"""Accents that are drawn as glyphs of their own over or under a letter, as TeX's older fonts do: `Fern´andez`."""

import unicodedata

import numpy as np

from weightwright.rag.readers.pdf.characters import Bools, Floats, Ints

_OVER = 0.5  # of the narrower of the two: how far they share their place
_NEAR = 8  # glyphs: an accent is drawn beside its letter or behind the word
_OFF_LINE = 0.5  # of the size: an accent over a capital is raised
_MARKS = "\u0300\u0301\u0308\u0302\u0302\u0303\u0303\u0327\u030a\u0306\u030c\u0304\u0307\u030b\u0328"
_COMBINING = {ord(accent): mark for accent, mark in zip("`´¨ˆ^˜~¸˚˘ˇ¯˙˝˛", _MARKS, strict=True)}
_DOTLESS = {"ı": "i", "ȷ": "j"}


def composed(
    code: Ints, u0: Floats, u1: Floats, v: Floats, size: Floats, before: Ints
) -> tuple[Ints, Ints, Bools]:
    """The glyphs' codes [n] with accented letters in one, what stands before them [n], and which glyphs stay [n]."""
    accents = np.flatnonzero(np.isin(code, list(_COMBINING)))
    kept = np.ones(len(code), np.bool_)
    if not len(accents):
        return code, before, kept
    code, before = code.copy(), before.copy()
    for i in accents.tolist():
        around = sorted(
            range(max(0, i - _NEAR), min(len(code), i + _NEAR + 1)), key=lambda j: (abs(j - i), j < i)
        )
        near = [j for j in around[1:] if kept[j] and _shares(i, j, u0, u1, v, size)]
        letter = next(
            (each for each in ((j, _letter(int(code[j]), int(code[i]))) for j in near) if each[1]), None
        )
        if letter is None:
            continue
        j, made = letter
        code[j], kept[i] = made, False
        if j > i:
            before[j] = before[i]
    return code, before, kept


def _shares(i: int, j: int, u0: Floats, u1: Floats, v: Floats, size: Floats) -> bool:
    """Whether two glyphs stand over each other."""
    narrower = min(u1[i] - u0[i], u1[j] - u0[j])
    shared = min(u1[i], u1[j]) - max(u0[i], u0[j])
    return bool(shared > _OVER * narrower and abs(v[i] - v[j]) < _OFF_LINE * size[j])


def _letter(letter: int, accent: int) -> int:
    """The letter with the accent; 0 where Unicode has none of the kind."""
    base = _DOTLESS.get(chr(letter), chr(letter))
    made = unicodedata.normalize("NFC", base + _COMBINING[accent])
    return ord(made) if base.isalpha() and len(made) == 1 else 0
