"""What makes an answer the same answer: hashes of model, adapter, knowledge base, arm and question."""

from pathlib import Path
from typing import Any

import weightwright
from weightwright.asking.answers import digest
from weightwright.compare.arms import Arm
from weightwright.compare.questions import Question
from weightwright.compare.settings import CompareSettings
from weightwright.data.grounded import messages
from weightwright.hub.weight_files import sha256_of


def of_folder(folder: Path) -> str:
    """A hash of all files in a folder (an adapter), by name and content."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    return digest([(file.relative_to(folder).as_posix(), sha256_of(file)) for file in files])


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
            "answer": _answering(settings, grounded),
            # the words themselves, in both languages, so that a change of a standing instruction counts
            "prompt": [
                [m.content for m in messages(q, ("passage",) if grounded else (), settings.answer.prompt)]
                for q in ("question", "问题")
            ],
        }
    )


def of_answer(arm_key: str, arm: Arm, question: Question) -> str:
    """The key of one question in one arm. References are not part of it: changing them only rescores."""
    documents = sorted(question.documents) if arm.context == "gold" else None
    return digest([arm_key, question.question, documents])


def _answering(settings: CompareSettings, grounded: bool) -> Any:
    """The answer settings that matter: without passages, only how long and how warm."""
    values = settings.answer.model_dump(mode="json", exclude={"prompt"})
    if grounded:  # what says "nothing is said" gets no citations
        return values | {"no_answer": settings.answer.prompt.no_answer}
    return {name: values[name] for name in ("max_tokens", "temperature")}
