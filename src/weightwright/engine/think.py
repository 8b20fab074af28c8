"""The thought of a thinking model split from its answer, as text streams by."""

_OPEN, _CLOSE = "<think>", "</think>"


def opens_thought(prompt: str) -> bool:
    """The rendered prompt ends inside a thought, as templates of thinking models leave it."""
    return prompt.rstrip().endswith(_OPEN)


class ThoughtStream:
    """Splits text into (reasoning, answer); tags may come in pieces and are in neither.

    A thought is one at the very beginning: open from the prompt (`is_open`, see `opens_thought`), or
    opened by the first thing written. Later tags are text. White space around the thought is dropped.
    """

    def __init__(self, *, is_open: bool = False) -> None:
        self._state = "thought" if is_open else "start"
        self._held = ""  # perhaps the beginning of a tag, or white space at a border
        self._empty = True  # nothing of the current part is out

    @property
    def in_thought(self) -> bool:
        """The thought is open."""
        return self._state == "thought"

    def push(self, text: str) -> tuple[str, str]:
        """(reasoning, answer) that this text makes certain."""
        if self._state == "answer" and not self._held and not self._empty:
            return "", text
        self._held += text
        if self._state == "start" and not self._opened():
            return "", ""
        reasoning = self._thought() if self._state == "thought" else ""
        return reasoning, self._answer()

    def flush(self) -> tuple[str, str]:
        """(reasoning, answer) of what was held back; a thought that was never closed stays reasoning."""
        held, self._held = self._held, ""
        if self._state == "thought":
            return held.rstrip(), ""
        return "", held

    def _opened(self) -> bool:
        """Whether it is known by now if the text begins with a thought."""
        begun = self._held.lstrip()
        if begun.startswith(_OPEN):
            self._state, self._held = "thought", begun[len(_OPEN) :]
        elif _OPEN.startswith(begun):
            return False
        else:
            # no thought: all of the text is the answer, white space in front of it too
            self._state, self._empty = "answer", False
        return True

    def _thought(self) -> str:
        if self._empty:
            self._held = self._held.lstrip()
        end = self._held.find(_CLOSE)
        if end >= 0:
            reasoning = self._held[:end].rstrip()
            self._state, self._held, self._empty = "answer", self._held[end + len(_CLOSE) :], True
            return reasoning
        kept = len(self._held)
        for length in range(min(kept, len(_CLOSE) - 1), 0, -1):
            if self._held.endswith(_CLOSE[:length]):
                kept -= length
                break
        reasoning = self._held[:kept].rstrip()
        self._held = self._held[len(reasoning) :]
        self._empty = self._empty and not reasoning
        return reasoning

    def _answer(self) -> str:
        if self._state != "answer":
            return ""
        text = self._held.lstrip() if self._empty else self._held
        self._held = ""
        self._empty = self._empty and not text
        return text
