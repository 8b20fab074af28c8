"""`weightwright ask`: one question to a knowledge base, answered with checked citations."""

from weightwright import kb
from weightwright.cli.flags import Outcome, verb
from weightwright.cli.kb import one_line, place
from weightwright.cli.progress import bar
from weightwright.kb import AskSettings
from weightwright.ports import Completion


@verb(AskSettings, section="ask", positional=("kb", "question"))
def ask(settings: AskSettings) -> Outcome:
    """Answer a question from a knowledge base, with citations that were checked."""
    with bar("opening") as progress:
        answer = kb.ask(settings, progress)
    return Outcome(answer.data(), _view(answer.completion))


def _view(answer: Completion) -> str:
    lines = [answer.text.strip()]
    if answer.citations:
        lines.append("")
    for citation in answer.citations:
        shown = place(citation.path or citation.document, citation.page, citation.place)
        lines.append(f"[{citation.n}] {shown}")
        lines.append(f'    "{one_line(citation.quote)}"')
    return "\n".join(lines)
