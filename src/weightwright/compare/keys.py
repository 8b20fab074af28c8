"""What makes an answer the same answer: hashes of model, adapter, knowledge base, arm and question."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import weightwright
from weightwright.compare.arms import Arm
from weightwright.compare.questions import Question
from weightwright.compare.settings import CompareSettings
from weightwright.data.grounded import messages

_WHOLE_BYTES = 64 << 20
_SAMPLE_BYTES = 1 << 16
_SAMPLES = 64


def digest(value: Any) -> str:
    """A short hash of anything JSON can write."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def of_files(files: Iterable[Path]) -> str:
    """A hash of files by name, size and content; large ones (weights) by 64 samples spread over them."""
    return digest([(file.name, file.stat().st_size, _content(file)) for file in sorted(files)])


def of_folder(folder: Path) -> str:
    """`of_files` of everything in a folder (or of one file)."""
    if folder.is_file():
        return of_files([folder])
    return of_files(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def of_arm(
    arm: Arm, settings: CompareSettings, *, model: str, adapter: str | None, knowledge_base: str | None
) -> str:
    """A hash of everything about an arm that may change its answers, the questions aside."""
    grounded = arm.context != "none"
    return digest(
        {
            "weightwright": weightwright.__version__,
            "model": model,
            "adapter": adapter if arm.adapter else None,
            "context": arm.context,
            "kb": knowledge_base if grounded else None,
            "search": (settings.k, settings.mode) if grounded else None,
            # the words themselves, in both languages, so that a change of a standing instruction counts
            "prompt": [
                [m.content for m in messages(q, ("passage",) if grounded else (), settings.prompt)]
                for q in ("question", "问题")
            ],
            "max_tokens": settings.max_tokens,
        }
    )


def of_answer(arm_key: str, arm: Arm, question: Question) -> str:
    """The key of one question in one arm. References are not part of it: changing them only rescores."""
    documents = sorted(question.documents) if arm.context == "gold" else None
    return digest([arm_key, question.question, documents])


def _content(file: Path) -> str:
    size = file.stat().st_size
    hashed = hashlib.sha256()
    with file.open("rb") as stream:
        if size <= _WHOLE_BYTES:
            for block in iter(lambda: stream.read(1 << 20), b""):
                hashed.update(block)
        else:
            for start in _spread(size):
                stream.seek(start)
                hashed.update(stream.read(_SAMPLE_BYTES))
    return hashed.hexdigest()


def _spread(size: int) -> Iterator[int]:
    for i in range(_SAMPLES):
        yield (size - _SAMPLE_BYTES) * i // (_SAMPLES - 1)
