"""Questions answered from a knowledge base, with checked citations.

An answer comes sentence by sentence: a sentence is held back until its marks are checked, so what is
streamed is what stands in the end, and no wrong mark is ever shown.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from weightwright.data import grounded
from weightwright.errors import RequestError, WeightwrightError
from weightwright.ports import (
    Answer,
    Chat,
    ChatRequest,
    Embedder,
    FinishReason,
    Grounding,
    Hit,
    Message,
    Piece,
    Reply,
    SamplingParams,
    Score,
    Usage,
)
from weightwright.rag.cite import Checker
from weightwright.rag.context import Passage, passages_of, with_pages
from weightwright.rag.retrieve import retrieve
from weightwright.rag.settings import AnswerSettings, Mode
from weightwright.rag.stores.base import Store
from weightwright.rag.stores.filters import Filter

_SEARCHES_AT_ONCE = 4


class GroundedReply(Reply):
    """A Reply whose end also has the answers with their citations."""

    def __init__(self, n: int = 1) -> None:
        super().__init__(n, on_cancel=self._cancel)
        self._answers: tuple[Answer, ...] = ()
        self._inner: Reply | None = None
        self._cancelled = False

    def answers(self, timeout_s: float | None = None) -> tuple[Answer, ...]:
        """Wait for the end: one Answer for each completion. Raises the request's error, or TimeoutError."""
        self.result(timeout_s)
        return self._answers

    def answer(self, timeout_s: float | None = None) -> Answer:
        """Wait for the end: the first completion's Answer."""
        return self.answers(timeout_s)[0]

    def conclude(self, answers: Sequence[Answer], usage: Usage) -> None:
        """For the one who answers: say that all pieces have come."""
        self._answers = tuple(answers)
        self.finish(usage)

    def follow(self, inner: Reply) -> None:
        """For the one who answers: cancelling this reply cancels `inner`."""
        self._inner = inner
        if self._cancelled:
            inner.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled it."""
        return self._cancelled

    def _cancel(self) -> None:
        self._cancelled = True
        if self._inner is not None:
            self._inner.cancel()


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
        settings = self.settings.retrieve
        if mode is not None:
            settings = settings.model_copy(update={"mode": mode})
        return retrieve(self.store, self.embedder, question, k, settings, where)

    def passages(self, question: str, where: Filter | None = None) -> list[Passage]:
        """What a model is shown for a question, best first; number n is what the mark [n] means."""
        hits = self.search(question, self.settings.k, where=where)
        passages = passages_of(hits, self.settings.context_tokens, self._count_tokens)
        return with_pages(passages, self.store)

    def submit(
        self,
        chat: Chat,
        question: str,
        *,
        history: Sequence[Message] = (),
        adapter: str | None = None,
        params: SamplingParams | None = None,
        where: Filter | None = None,
    ) -> GroundedReply:
        """Search (in this thread), then ask; returns while the answer is under way."""
        reply = GroundedReply((params or self.params).n)
        started_s = time.perf_counter()
        passages = self.passages(question, where)
        trace = {"mode": self.settings.retrieve.mode, "search_s": time.perf_counter() - started_s}
        ask(chat, question, passages, self.settings, history, adapter, params or self.params, reply, trace)
        return reply

    def answer(self, chat: Chat, question: str, *, adapter: str | None = None) -> Answer:
        """Search, ask, check the marks, and wait for the end."""
        return self.submit(chat, question, adapter=adapter).answer()

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
    """A Chat over a knowledge base: the last message is the question; replies are GroundedReply."""

    def __init__(self, knowledge: KnowledgeBase, chat: Chat, *, adapter: str | None = None) -> None:
        self._knowledge = knowledge
        self._chat = chat
        self._adapter = adapter
        self._searches = ThreadPoolExecutor(_SEARCHES_AT_ONCE, thread_name_prefix="search")

    def submit(self, request: ChatRequest) -> GroundedReply:
        """Start a request and return at once. A request that is wrong fails its Reply."""
        reply = GroundedReply(request.params.n)
        messages = request.messages
        if messages is None or not messages or messages[-1].role != "user":
            reply.fail(
                RequestError("a knowledge base answers messages whose last one is the user's question")
            )
            return reply
        self._searches.submit(self._answer, messages, request, reply)
        return reply

    def score(self, prompt: str, completions: Sequence[str], *, adapter: str | None = None) -> list[Score]:
        """The model's own log-likelihoods; the knowledge base plays no part."""
        return self._chat.score(prompt, completions, adapter=adapter or self._adapter)

    def close(self) -> None:
        """Stop searching. The model and the knowledge base belong to the one who handed them in."""
        self._searches.shutdown(wait=True, cancel_futures=False)

    def _answer(self, messages: Sequence[Message], request: ChatRequest, reply: GroundedReply) -> None:
        try:
            question, started_s = messages[-1].content, time.perf_counter()
            passages = self._knowledge.passages(question)
            trace = {
                "mode": self._knowledge.settings.retrieve.mode,
                "search_s": time.perf_counter() - started_s,
            }
            adapter = request.adapter or self._adapter
            settings = self._knowledge.settings
            ask(
                self._chat, question, passages, settings, messages[:-1], adapter, request.params, reply, trace
            )
        except WeightwrightError as error:
            reply.fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who waits
            reply.fail(error)


def ask(
    chat: Chat,
    question: str,
    passages: Sequence[Passage],
    settings: AnswerSettings,
    history: Sequence[Message],
    adapter: str | None,
    params: SamplingParams,
    reply: GroundedReply,
    trace: dict[str, Any],
) -> None:
    """Ask for an answer from passages and pass it on to `reply` as its sentences are checked.

    Without passages nobody is asked: the documents do not say.
    """
    no_answer = grounded.no_answer(settings.prompt, question)
    trace["passages"] = [
        {"n": n, "document": p.document, "start": p.start, "end": p.end, "score": p.score}
        for n, p in enumerate(passages, 1)
    ]
    if reply.cancelled or not passages:
        _say(reply, "" if reply.cancelled else no_answer, params.n, trace)
        return
    shown = tuple(passage.shown for passage in passages)
    request = ChatRequest(
        messages=_with_history(grounded.messages(question, shown, settings.prompt), history),
        adapter=adapter,
        params=params,
        grounding=Grounding(question, shown),
    )
    relay = _Relay(reply, [Checker(passages, settings.cite, no_answer) for _ in range(params.n)], trace)
    inner = chat.submit(request)
    reply.follow(inner)
    inner.on_piece(relay.piece)
    inner.on_end(lambda error: relay.end(error, inner))


def _with_history(messages: Sequence[Message], history: Sequence[Message]) -> tuple[Message, ...]:
    """Instruction (after the user's own system messages), earlier turns, question."""
    system = [message.content for message in (*history, *messages[:-1]) if message.role == "system"]
    turns = [message for message in history if message.role != "system"]
    return (Message("system", "\n\n".join(system)), *turns, messages[-1])


def _say(reply: GroundedReply, text: str, n: int, trace: dict[str, Any]) -> None:
    reason: FinishReason = "cancelled" if reply.cancelled else "stop"
    for index in range(n):
        reply.push(Piece(index, text, finish_reason=reason))
    trace["citations"] = {"kept": 0, "dropped": 0, "added": 0}
    reply.conclude([Answer(text, trace=trace)] * n, Usage())


class _Relay:
    """Passes pieces on, sentence by sentence, once their marks are checked.

    A piece's token ids and log-probabilities come with the sentence that the piece belongs to.
    """

    def __init__(self, reply: GroundedReply, checkers: list[Checker], trace: dict[str, Any]) -> None:
        self._reply = reply
        self._checkers = checkers
        self._trace = trace
        self._texts = [""] * len(checkers)
        self._held: list[list[Piece]] = [[] for _ in checkers]

    def piece(self, piece: Piece) -> None:
        """One more piece of the model's; an error here must not reach the model's thread."""
        try:
            self._take(piece)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the one who waits
            self._reply.fail(error)

    def _take(self, piece: Piece) -> None:
        checker = self._checkers[piece.index]
        self._held[piece.index].append(piece)
        text = checker.feed(piece.text)
        if piece.finish_reason is not None:
            text += checker.finish()
        if text or piece.finish_reason is not None:
            self._pass_on(piece.index, text, piece.finish_reason)

    def end(self, error: BaseException | None, inner: Reply) -> None:
        """The model's reply has ended."""
        if error is not None:
            self._reply.fail(error)
            return
        answers = []
        for checker, text in zip(self._checkers, self._texts, strict=True):
            checked = checker.result(text)
            trace = self._trace | {"citations": checked.counts}
            answers.append(Answer(checked.text, checked.citations, inner.usage, trace))
        self._reply.conclude(answers, inner.usage)

    def _pass_on(self, index: int, text: str, reason: FinishReason | None) -> None:
        held = self._held[index]
        self._texts[index] += text
        token_ids = tuple(token for piece in held for token in piece.token_ids)
        logprobs = tuple(logprob for piece in held for logprob in piece.logprobs)
        self._held[index] = []
        self._reply.push(Piece(index, text, token_ids, logprobs, reason))
