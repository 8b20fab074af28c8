"""Text of an image, by RapidOCR: Chinese and English, its models in the package. Needs the ocr extra."""

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwright.extras import require

_LEAST_SCORE = 0.5  # what is less likely than this is not read


@dataclass(frozen=True, slots=True)
class Recognised:
    """A line of text and its box in pixels from the top left: left, top, right, bottom."""

    text: str
    box: tuple[float, float, float, float]


def recognise(image: NDArray[np.uint8]) -> list[Recognised]:
    """The lines of an image [height, width, 3] (blue, green, red). Raises MissingExtraError without the extra."""
    result = _engine()(image)
    if result.boxes is None or result.txts is None:
        return []
    return [
        Recognised(text, _around(corners))
        for text, corners, score in zip(result.txts, result.boxes, result.scores, strict=True)
        if text.strip() and score >= _LEAST_SCORE
    ]


def _around(corners: Any) -> tuple[float, float, float, float]:
    x, y = np.asarray(corners, np.float64).T
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


@cache
def _engine() -> Any:
    """Loaded once, with the first image."""
    require("onnxruntime", extra="ocr")
    rapidocr = require("rapidocr", extra="ocr")
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return rapidocr.RapidOCR(params={"Global.log_level": "error"})
