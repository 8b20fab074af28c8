"""Questions answered from a knowledge base, with checked citations.

An answer comes sentence by sentence: a sentence is held back until its marks are checked, so what is
streamed is what stands in the end, and no wrong mark is ever shown.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile
from typing import Any

from weightwright.data import grounded
from weightwright.errors import RequestError
from weightwright.ports import (
    Chat,
    ChatRequest,
    Citation,
    Completion,
    Embedder,
    Grounding,
    Hit,
    Message,
    Piece,
    Reply,
    SamplingParams,
    Score,
    Usage,
    joined,
    place_at,
)
from weightwright.rag.cite import Beside, Checker
from weightwright.rag.context import Passage, passages_of, with_pages
from weightwright.rag.retrieve import check_fields, retrieve
from weightwright.rag.settings import AnswerSettings, Mode
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.filters import Filter

_SEARCHES_AT_ONCE = 4


class KnowledgeBase:
    """A store and the embedder it was made with, to search and to answer from."""

    def __init__(
        self, store: Store, embedder: Embedder | None, settings: AnswerSettings | None = None
    ) -> None:
        self.store = store
        self.embedder = embedder
        self.settings = settings or AnswerSettings()

    def search(
        self, question: str, k: int = 10, *, mode: Mode | None = None, where: Filter | None = None
    ) -> list[Hit]:
        """The k best chunks, best first."""
        check_fields(self.store, where)
        settings = self.settings.retrieve
        if mode is not None:
            settings = settings.model_copy(update={"mode": mode})
        return retrieve(self.store, self.embedder, question, k, settings, where)

    def passages(self, question: str, where: Filter | None = None) -> list[Passage]:
        """What a model is shown for a question, best first; number n is what the mark [n] means."""
        hits = self.search(question, self.settings.k, where=where)
        passages = passages_of(hits, self.settings.context_tokens, self._count_tokens)
        return with_pages(passages, self.store)

    def request(self, question: str, *, adapter: str | None = None) -> ChatRequest:
        """One question as a request, sampled as the settings say."""
        return ChatRequest(messages=(Message("user", question),), adapter=adapter, params=self.params)

    def submit(self, chat: Chat, request: ChatRequest, where: Filter | None = None) -> Reply:
        """Search (in this thread) for what the last message asks; returns while the answer is under way.

        The reply's completions have citations and a trace. Raises RequestError where the last message is
        not the user's.
        """
        answer = _Answer(request.params.n)
        answer.search_and_ask(self, chat, request, where)
        return answer.reply

    def answer(self, chat: Chat, question: str) -> Completion:
        """Search, ask, check the marks, and wait for the end."""
        return self.submit(chat, self.request(question)).result().completions[0]

    def close(self) -> None:
        """Close the store and the embedder."""
        self.store.close()
        if self.embedder is not None:
            self.embedder.close()

    @property
    def params(self) -> SamplingParams:
        """How answers are sampled where nothing else is asked."""
        return SamplingParams(max_tokens=self.settings.max_tokens, temperature=self.settings.temperature)

    def _count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self.embedder is not None:
            return self.embedder.count_tokens(texts)
        return [len(text.encode()) // 3 + 1 for text in texts]


class KnowledgeChat:
    """A Chat over a knowledge base: the last message is the question, completions have citations."""

    def __init__(self, knowledge: KnowledgeBase, chat: Chat, *, adapter: str | None = None) -> None:
        self._knowledge = knowledge
        self._chat = chat
        self._adapter = adapter
        self._searches = ThreadPoolExecutor(_SEARCHES_AT_ONCE, thread_name_prefix="search")

    def submit(self, request: ChatRequest) -> Reply:
        """Start a request and return at once. A request that is wrong fails its Reply."""
        answer = _Answer(request.params.n)
        self._searches.submit(
            self._answer, answer, replace(request, adapter=request.adapter or self._adapter)
        )
        return answer.reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """The model's own log-likelihoods; the knowledge base plays no part."""
        return self._chat.score(prompt, completions, adapter=adapter or self._adapter)

    def close(self) -> None:
        """Stop searching. The model and the knowledge base belong to the one who handed them in."""
        self._searches.shutdown(wait=True, cancel_futures=False)

    def _answer(self, answer: "_Answer", request: ChatRequest) -> None:
        try:
            answer.search_and_ask(self._knowledge, self._chat, request)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who waits
            answer.reply.fail(error)


def ask(chat: Chat, request: ChatRequest, passages: Sequence[Passage], settings: AnswerSettings) -> Reply:
    """Ask for an answer from passages to the request's last message; its sentences come checked.

    Without passages nobody is asked: the documents do not say.
    """
    answer = _Answer(request.params.n)
    answer.ask(chat, request, passages, settings)
    return answer.reply


def grounded_request(
    request: ChatRequest, passages: Sequence[Passage], settings: AnswerSettings
) -> ChatRequest:
    """The same request, its question asked from passages and the instruction for it in the system message."""
    *turns, question = request.messages or ()
    shown = tuple(passage.shown for passage in passages)
    instruction, asked = grounded.messages(question.content, shown, settings.prompt)
    return replace(
        request,
        messages=(*_instructed(turns, instruction), replace(question, content=asked.content)),
        grounding=Grounding(question.content, shown, tuple(passage.heading for passage in passages)),
    )


def _instructed(turns: Sequence[Message], instruction: Message) -> tuple[Message, ...]:
    """The turns with an instruction after the system messages that they begin with."""
    systems = len(list(takewhile(lambda message: message.role == "system", turns)))
    if not systems:
        return (instruction, *turns)
    last = turns[systems - 1]
    both = replace(last, content=f"{last.content}\n\n{instruction.content}")
    return (*turns[: systems - 1], both, *turns[systems:])


class _Answer:
    """One answer under way: passes the model's pieces on to `reply`, sentence by sentence, marks checked.

    What shows nothing yet (a sentence that is not whole) waits, and its token ids and log-probabilities
    come with the next piece that does.
    """

    def __init__(self, n: int) -> None:
        self.reply = Reply(n, on_cancel=self._cancel)
        self._inner: Reply | None = None
        self._cancelled = False
        self._trace: dict[str, Any] = {}
        self._checkers: list[Checker] | list[Beside] = []
        self._held: list[list[Piece]] = [[] for _ in range(n)]
        self._open = set(range(n))
        self._passages: Sequence[Passage] = ()

    def search_and_ask(
        self, knowledge: KnowledgeBase, chat: Chat, request: ChatRequest, where: Filter | None = None
    ) -> None:
        """Search for the request's last message, then ask."""
        messages = request.messages
        if not messages or messages[-1].role != "user":
            raise RequestError("a knowledge base answers messages whose last one is the user's question")
        started_s = time.perf_counter()
        passages = knowledge.passages(messages[-1].content, where)
        self._trace["mode"] = knowledge.settings.retrieve.mode
        self._trace["search_s"] = time.perf_counter() - started_s
        self.ask(chat, request, passages, knowledge.settings)

    def ask(
        self, chat: Chat, request: ChatRequest, passages: Sequence[Passage], settings: AnswerSettings
    ) -> None:
        """Ask the model, unless nothing was found or the answer was cancelled."""
        self._passages = passages
        asked = grounded_request(request, passages, settings)
        assert asked.grounding is not None
        no_answer = grounded.no_answer(settings.prompt, asked.grounding.question)
        self._trace["passages"] = [
            {"n": n, "document": p.document, "start": p.start, "end": p.end, "score": p.score}
            for n, p in enumerate(passages, 1)
        ]
        free_form, each = request.params.structured_outputs is None, range(request.params.n)
        self._checkers = (
            [Checker(passages, settings.cite, no_answer) for _ in each]
            if free_form
            else [Beside(passages, settings.cite) for _ in each]
        )
        if self._cancelled:
            self._say(Piece(0, "", finish_reason="cancelled"))
        elif passages:
            self._follow(chat.submit(asked))
        elif free_form:
            self._say(Piece(0, no_answer, finish_reason="stop"))
        else:
            raise RequestError(
                f"nothing was found, and {no_answer!r} has not the form that structured_outputs asks for; "
                "ask something else, or leave out structured_outputs"
            )

    def _say(self, piece: Piece) -> None:
        for index in range(len(self._held)):
            self._take(replace(piece, index=index))
        self.reply.finish(Usage())

    def _cancel(self) -> None:
        self._cancelled = True
        if self._inner is not None:
            self._inner.cancel()

    def _follow(self, inner: Reply) -> None:
        self._inner = inner
        if self._cancelled:
            inner.cancel()
        if inner.prompt_token_ids is not None:
            self.reply.begin(inner.prompt_token_ids)
        inner.on_piece(self._piece)
        inner.on_end(lambda error: self._end(error, inner))

    def _piece(self, piece: Piece) -> None:
        """One more piece of the model's; an error here must not reach the model's thread."""
        try:
            self._take(piece)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who waits
            self.reply.fail(error)
            self._cancel()

    def _take(self, piece: Piece, *, last: bool = False) -> None:
        checker, held = self._checkers[piece.index], self._held[piece.index]
        last |= piece.finish_reason is not None
        text = checker.feed(piece.text) + (checker.finish() if last else "")
        held.append(piece)
        if not (text or piece.reasoning or last):
            return
        shown = replace(joined(held), text=text)
        if last:
            trace = {**shown.trace, **self._trace, "citations": dict(checker.counts)}
            shown = replace(shown, citations=self._placed(checker.citations), trace=trace)
            self._open.discard(piece.index)
        self.reply.push(shown)
        held.clear()

    def _placed(self, citations: Sequence[Citation]) -> tuple[Citation, ...]:
        """The citations with where in their files they stand."""
        return tuple(
            replace(citation, place=place_at(self._passages[citation.n - 1].places, citation.start))
            for citation in citations
        )

    def _end(self, error: BaseException | None, inner: Reply) -> None:
        """The model's reply has ended."""
        if error is not None:
            self.reply.fail(error)
            return
        for index in sorted(self._open):  # a Chat that tells no reason why it ended
            self._take(Piece(index, ""), last=True)
        known = inner.result()
        self.reply.finish(known.usage, known.prompt_logprobs, known.prompt_token_ids)
