"""`weightwright ask`: one question to a knowledge base, answered with checked citations."""

from contextlib import closing
from typing import Any

from pydantic import Field

from weightwright.cli.flags import Outcome, verb
from weightwright.cli.kb import one_line, place, where_of
from weightwright.cli.progress import bar
from weightwright.config import Settings
from weightwright.errors import RequestError
from weightwright.ports import Completion, Usage
from weightwright.rag.settings import AnswerSettings


class AskSettings(Settings):
    """Who is asked what."""

    kb: str = Field(description="knowledge base: a file, or a store address")
    question: str = Field(description="the question")
    model: str = Field(description="model address; `extract` quotes the best sentences without a model")
    embedder: str = Field("", description="embedder address; default: the knowledge base's own")
    where: str = Field("", description="only documents for which this holds, e.g. format = 'pdf'")
    answer: AnswerSettings = AnswerSettings()


@verb(AskSettings, section="ask", positional=("kb", "question"))
def ask(settings: AskSettings) -> Outcome:
    """Answer a question from a knowledge base, with citations that were checked."""
    from weightwright.connect import open_chat, open_knowledge

    if not settings.question.strip():
        raise RequestError("the question is empty; write what you want to know")
    where = where_of(settings.where)
    with (
        bar("opening") as progress,
        closing(
            open_knowledge(settings.kb, embedder=settings.embedder, settings=settings.answer)
        ) as knowledge,
        closing(open_chat(settings.model, progress=progress)) as chat,
    ):
        result = knowledge.submit(chat, knowledge.request(settings.question), where).result()
    [answer] = result.completions
    return Outcome(_data(answer, result.usage), _view(answer))


def _data(answer: Completion, usage: Usage) -> dict[str, Any]:
    return {
        "answer": answer.text.strip(),
        "citations": [
            {
                "n": citation.n,
                "document": citation.document,
                "path": citation.path,
                "page": citation.page,
                "start": citation.start,
                "end": citation.end,
                "quote": citation.quote,
            }
            for citation in answer.citations
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        "trace": dict(answer.trace),
    }


def _view(answer: Completion) -> str:
    lines = [answer.text.strip()]
    if answer.citations:
        lines.append("")
    for citation in answer.citations:
        lines.append(f"[{citation.n}] {place(citation.path or citation.document, citation.page)}")
        lines.append(f'    "{one_line(citation.quote)}"')
    return "\n".join(lines)
