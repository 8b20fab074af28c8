"""The Chat that is no model: answers quote the sentence of the passages that fits the question best."""

import math
from collections import Counter
from collections.abc import Sequence

from weightwright.data.grounded import PromptSettings, no_answer
from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Piece, Reply, Score, Usage
from weightwright.rag.analyze import query_terms, terms
from weightwright.rag.sentences import sentences

_LEAST_COVERED = 0.45  # share of the question's weight that the answer must hold
_LEAST_GAINED = 0.25  # share of that weight that a second sentence must bring to be quoted too
_MOST_SENTENCES = 2


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
        question, passages = request.grounding.question, request.grounding.passages
        text = quote(question, passages) or no_answer(self._prompt, question)
        for index in range(request.params.n):
            reply.push(Piece(index, text, finish_reason="stop"))
        reply.finish(Usage(sum(len(terms(p)) for p in passages), len(terms(text))))
        return reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """Not possible without a model."""
        raise RequestError("extract has no likelihoods; name a model, for example smollm2-135m")

    def close(self) -> None:
        """Nothing to free."""


def quote(question: str, passages: Sequence[str]) -> str:
    """The best-supported sentences with their marks, or "" where none fits the question well."""
    candidates = [
        (n, passage[start:end], frozenset(terms(passage[start:end])))
        for n, passage in enumerate(passages, 1)
        for start, end in sentences(passage)
    ]
    weights = _weights(query_terms(question), [held for _, _, held in candidates])
    total = sum(weights.values())
    chosen: list[tuple[int, str]] = []
    covered: set[str] = set()
    while candidates and len(chosen) < _MOST_SENTENCES:
        gains = [
            sum(w for t, w in weights.items() if t in held and t not in covered) for *_, held in candidates
        ]
        best = max(range(len(candidates)), key=lambda i: (gains[i], -len(candidates[i][2]), -i))
        if gains[best] < _LEAST_GAINED * total or not gains[best]:
            break
        n, sentence, held = candidates.pop(best)
        chosen.append((n, sentence))
        covered |= held
    if sum(w for term, w in weights.items() if term in covered) < _LEAST_COVERED * total or not chosen:
        return ""
    return " ".join(_marked(n, sentence) for n, sentence in sorted(chosen, key=lambda item: item[0]))


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
