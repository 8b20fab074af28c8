"""The Chat that is no model: answers quote the sentence of the passages that fits the question best."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from weightwright.data.grounded import PromptSettings, no_answer
from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Piece, Reply, Score, Usage
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.asked import knows
from weightwright.rag.names import Name, Written, has_name, names
from weightwright.rag.readable import readable
from weightwright.rag.sentences import sentences

# chosen on the 120 questions of examples/handbook, English and Chinese
_LEAST_FIT = 0.5  # share of the question's weight that a quoted sentence must have
_LEAST_TOGETHER = 0.7  # share that two sentences must hold where none has that
_LEAST_GAINED = 0.3  # share of that weight that a second sentence must bring to be quoted too


class Extract:
    """Reads `ChatRequest.grounding` and quotes; a request without passages fails."""

    def __init__(self, prompt: PromptSettings | None = None) -> None:
        self._prompt = prompt or PromptSettings()

    def submit(self, request: ChatRequest) -> Reply:
        """The whole answer at once, as one piece for each completion."""
        reply = Reply(request.params.n)
        if request.grounding is None:
            reply.fail(
                RequestError(
                    "extract answers from documents only; ask over a knowledge base, or name a model"
                )
            )
            return reply
        if lost := _lost(request):
            reply.fail(
                RequestError(
                    f"extract is no model and takes no {', '.join(lost)}; leave them out, or name a model"
                )
            )
            return reply
        question, passages = request.grounding.question, request.grounding.passages
        text = quote(question, passages, request.grounding.headings) or no_answer(self._prompt, question)
        for index in range(request.params.n):
            reply.push(Piece(index, text, finish_reason="stop"))
        reply.finish(Usage(sum(len(terms(p)) for p in passages), len(terms(text))))
        return reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """Not possible without a model."""
        raise RequestError("extract has no likelihoods; name a model, for example smollm2-135m")

    def close(self) -> None:
        """Nothing to free."""


def _lost(request: ChatRequest) -> list[str]:
    """What is asked for and can only be done by a model."""
    params = request.params
    asked = {
        "adapter": request.adapter is not None,
        "logprobs": params.logprobs is not None,
        "prompt_logprobs": params.prompt_logprobs is not None,
        "structured_outputs": params.structured_outputs is not None,
        "chat_template_kwargs": bool(request.template_options),
    }
    return [name for name, is_asked in asked.items() if is_asked]


def quote(question: str, passages: Sequence[str], headings: Sequence[str] = ()) -> str:
    """The best-supported sentences with their marks, or "" where none fits the question well.

    A passage may begin with its heading and a colon; its words count for the first sentence, but are not quoted.
    """
    candidates = [
        _Candidate(n, text[start:end], frozenset(terms(text[start:end]) + ([] if start else above)), around)
        for n, (passage, heading) in enumerate(zip_longest(passages, headings, fillvalue=""), 1)
        for around, above in [(frozenset(terms(passage)), terms(heading))]
        for text in [passage.removeprefix(f"{heading}: ")]
        for start, end in sentences(text)
    ]
    weights = _weights(query_terms(question), [candidate.held for candidate in candidates])
    total = sum(weights.values())
    best = max(candidates, key=lambda candidate: candidate.fit(weights), default=None)
    if best is None or not best.held & weights.keys() or not knows(passages, question):
        return ""
    left = {term: weight for term, weight in weights.items() if term not in best.held}
    others = _fitting(candidates, best.n, passages, question)
    second = max(others, key=lambda candidate: candidate.gain(left))
    chosen = [best, second] if second.gain(left)[0] >= _LEAST_GAINED * total else [best]
    together = sum(weights.values()) - sum(left.values()) + second.gain(left)[0]
    if best.fit(weights)[0] < _LEAST_FIT * total and together < _LEAST_TOGETHER * total:
        return ""
    return " ".join(_marked(candidate.n, candidate.sentence) for candidate in chosen)


def _fitting(
    candidates: Sequence["_Candidate"], best: int, passages: Sequence[str], question: str
) -> list["_Candidate"]:
    """Those that may be the second half of an answer: what is said of another company is none.

    Their passages have all names of the question, or one that the best's passage has not.
    """
    asked = readable(question)
    named = [name for name in names(asked) if name.word.upper() not in asked.split()]
    if not named:
        return list(candidates)
    spoken = {n: _spoken_of(passage, named) for n, passage in enumerate(passages, 1)}
    return [
        candidate
        for candidate in candidates
        if candidate.n == best or len(spoken[candidate.n]) == len(named) or spoken[candidate.n] - spoken[best]
    ]


def _spoken_of(passage: str, named: Sequence[Name]) -> frozenset[Name]:
    written = Written.of(readable(passage))
    return frozenset(name for name in named if has_name(name, written))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence of passage n, its terms, and the terms of its whole passage."""

    n: int
    sentence: str
    held: frozenset[str]
    around: frozenset[str]

    def fit(self, weights: Mapping[str, float]) -> tuple[float, int]:
        """The weight that it holds, half counting what stands elsewhere in its passage; short ones first."""
        inside = sum(weight for term, weight in weights.items() if term in self.held)
        near = sum(weight for term, weight in weights.items() if term in self.around - self.held)
        return inside + near / 2, -len(self.held)

    def gain(self, weights: Mapping[str, float]) -> tuple[float, int]:
        """The weight that it holds itself; short ones first."""
        return sum(weight for term, weight in weights.items() if term in self.held), -len(self.held)


def _weights(wanted: Sequence[str], held: Sequence[frozenset[str]]) -> dict[str, float]:
    """How much each term of the question says: rare ones most, those that no sentence has as the rarest."""
    counts = Counter(term for terms_of_one in held for term in terms_of_one)
    return {term: math.log(1 + (len(held) + 1) / (counts[term] + 0.5)) for term in wanted}


def _marked(n: int, sentence: str) -> str:
    """The sentence on one line with its mark before its full stop."""
    text = " ".join(sentence.split()).lstrip("#-*|> ").rstrip("| ")
    if text[-1:] in ".!?。！？":
        space = "" if text[-1] > "\u2e80" else " "
        return f"{text[:-1]}{space}[{n}]{text[-1]}"
    return f"{text} [{n}]"
