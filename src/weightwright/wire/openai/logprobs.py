"""Log-probabilities in the three shapes that OpenAI's and vLLM's answers have, both ways.

A token may be part of a character. Its `bytes` are those of the text then, and where a text stands for the token
(`tokens`, keys of `top_logprobs`) it is written as OpenAI did: `bytes:` and the bytes as escapes.
"""

import builtins
import codecs
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from weightwright.ports import TokenLogprob

UNKNOWN_TOKEN = -1  # OpenAI's log-probabilities carry texts, not ids
LEAST_LOGPROB = -9999.0
_ESCAPED = re.compile(r"bytes:((?:\\x[0-9a-f]{2})+)")


def _finite(logprob: float) -> float:
    """JSON has no infinity; vLLM's least log-probability stands for it."""
    return max(logprob, LEAST_LOGPROB)


class _Spelt(NamedTuple):
    """A token as the three shapes have it; `bytes` None: not known."""

    id: int
    text: str
    logprob: float
    bytes: "builtins.bytes | None"


def _own(one: TokenLogprob) -> _Spelt:
    return _Spelt(one.token_id, one.text, one.logprob, one.bytes)


def _top(one: TokenLogprob) -> list[_Spelt]:
    spelt = one.top_bytes or (None,) * len(one.top)
    return [_Spelt(*alternative, of) for alternative, of in zip(one.top, spelt, strict=True)]


def _joined(own: _Spelt, top: Sequence[_Spelt], rank: int | None) -> TokenLogprob:
    spelt = tuple(each.bytes for each in top)
    return TokenLogprob(
        own.id,
        own.text,
        own.logprob,
        tuple((each.id, each.text, each.logprob) for each in top),
        rank,
        own.bytes,
        spelt if any(each is not None for each in spelt) else (),
    )


# --- chats ----------------------------------------------------------------------------------------


def write_chat(logprobs: Sequence[TokenLogprob], *, ids: bool = False) -> dict[str, Any] | None:
    """`choices[].logprobs` of a chat; with `ids` also each token's id and rank."""
    return {"content": [_entry(one, ids) for one in logprobs], "refusal": None} if logprobs else None


def _entry(one: TokenLogprob, ids: bool) -> dict[str, Any]:
    rank = {"rank": one.rank} if ids else {}
    return {**_written(_own(one), ids), **rank, "top_logprobs": [_written(each, ids) for each in _top(one)]}


def _written(spelt: _Spelt, ids: bool) -> dict[str, Any]:
    known = spelt.bytes
    if known is None and "\ufffd" not in spelt.text:
        known = spelt.text.encode()
    entry = {
        "token": spelt.text,
        "logprob": _finite(spelt.logprob),
        "bytes": None if known is None else list(known),
    }
    return entry | ({"token_id": spelt.id} if ids else {})


def read_chat(found: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of a chat's choice."""
    return tuple(
        _joined(_read(one), [_read(top) for top in one.get("top_logprobs") or ()], one.get("rank"))
        for one in found["content"] or ()
    )


def _read(entry: Mapping[str, Any]) -> _Spelt:
    spelt = entry.get("bytes")
    known = None if spelt is None else bytes(spelt)
    return _Spelt(entry.get("token_id", UNKNOWN_TOKEN), entry["token"], entry["logprob"], known)


# --- completions ----------------------------------------------------------------------------------


class Places:
    """At which character of a text its tokens stand; one inside a character stands where that begins."""

    def __init__(self, at: int = 0) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at = at

    def take(self, one: TokenLogprob) -> int:
        """The place of the next token."""
        place = max(0, self._at)
        self._at += len(self._decoder.decode(_bytes(one)))
        return place


def _bytes(one: TokenLogprob) -> bytes:
    return one.text.encode() if one.bytes is None else one.bytes


def echoed(head: str, first: str, rest: Sequence[TokenLogprob]) -> tuple[TokenLogprob, Places]:
    """The first token of a prompt, of which the text is known and no probability, and where the prompt begins.

    The token may be a part of the first character of `head`, or stand in front of it (the begin token). The places
    are right from the end of `head` on, whatever the tokenizer did to its beginning.
    """
    spelt, whole = b"".join(_bytes(one) for one in rest), head.encode()
    own = whole[: len(whole) - len(spelt)] if whole.endswith(spelt) else b""
    places = Places(len(head) - len((own + spelt).decode(errors="replace")))
    return TokenLogprob(UNKNOWN_TOKEN, first, math.nan, bytes=own), places


def write_text(
    logprobs: Sequence[TokenLogprob], count: int, places: Places, *, ids: bool = False
) -> dict[str, Any] | None:
    """`choices[].logprobs` of a completion: of each token its logprob and the `count` likeliest, itself among them.

    A token whose logprob is not a number has none. With `ids` the same stands in `content` as in a chat's, for this
    shape has place neither for ids nor for ranks.
    """
    if not logprobs:
        return None
    shape: dict[str, Any] = {
        "tokens": [_label(_own(one)) for one in logprobs],
        "token_logprobs": [None if math.isnan(one.logprob) else _finite(one.logprob) for one in logprobs],
        "top_logprobs": [None if math.isnan(one.logprob) else _labelled(one, count) for one in logprobs],
        "text_offset": [places.take(one) for one in logprobs],
    }
    known = [one for one in logprobs if not math.isnan(one.logprob)]
    return shape | ({"content": [_entry(one, ids) for one in known]} if ids else {})


def _labelled(one: TokenLogprob, count: int) -> dict[str, float]:
    top = {_label(_own(one)): _finite(one.logprob)}
    for each in _top(one)[:count]:
        top.setdefault(_label(each), _finite(each.logprob))  # of tokens that look alike the likeliest
    return top


def _label(spelt: _Spelt) -> str:
    """The token's text, or its bytes where they are no text."""
    if not spelt.bytes or "\ufffd" not in spelt.text:
        return spelt.text
    try:
        return spelt.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt.bytes)


def read_text(found: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of a completion's choice."""
    labels = found.get("tokens") or ()
    tops = found.get("top_logprobs") or [None] * len(labels)
    return tuple(
        _joined(
            _unlabelled(label, logprob),
            [_unlabelled(*each) for each in sorted((top or {}).items(), key=lambda each: -each[1])],
            None,
        )
        for label, logprob, top in zip(labels, found.get("token_logprobs") or (), tops, strict=True)
    )


def _unlabelled(label: str, logprob: float) -> _Spelt:
    match = _ESCAPED.fullmatch(label)
    if match is None:
        return _Spelt(UNKNOWN_TOKEN, label, logprob, None)
    spelt = bytes.fromhex(match[1].replace("\\x", ""))
    return _Spelt(UNKNOWN_TOKEN, spelt.decode(errors="replace"), logprob, spelt)


def read(found: Mapping[str, Any] | None) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of a choice of either route."""
    if not found:
        return ()
    return read_chat(found) if "content" in found else read_text(found)


# --- the prompt's ---------------------------------------------------------------------------------


def write_prompt(
    logprobs: Sequence[TokenLogprob | None] | None, count: int | None
) -> dict[str, list[dict[str, Any] | None]]:
    """The field `prompt_logprobs` as vLLM has it, by token id, each prompt token first; {} if not asked."""
    if count is None:
        return {}
    return {"prompt_logprobs": [None if one is None else _by_id(one, count) for one in logprobs or ()]}


def _by_id(one: TokenLogprob, count: int) -> dict[str, Any]:
    ranked = [(one.rank, _own(one))]
    ranked += [(rank, each) for rank, each in enumerate(_top(one)[:count], 1) if each.id != one.token_id]
    return {
        str(each.id): {
            "logprob": _finite(each.logprob),
            "rank": rank,
            "decoded_token": each.text,
            "bytes": None if each.bytes is None else list(each.bytes),
        }
        for rank, each in ranked
    }


def read_prompt(answer: Mapping[str, Any], count: int) -> tuple[TokenLogprob | None, ...] | None:
    """The `prompt_logprobs` that vLLM gives with chats beside the choices, with completions in each."""
    found = answer.get("prompt_logprobs") or answer["choices"][0].get("prompt_logprobs")
    return None if found is None else tuple(_prompt_token(one, count) if one else None for one in found)


def _prompt_token(by_id: Mapping[str, Any], count: int) -> TokenLogprob:
    """The prompt's own token comes first, and once more by its rank if it is among the likeliest."""
    every = []
    for token, one in by_id.items():
        spelt = one.get("bytes")
        known = None if spelt is None else bytes(spelt)
        every.append((one["rank"], _Spelt(int(token), str(one["decoded_token"]), one["logprob"], known)))
    rank, own = every[0]
    likeliest = sorted(every, key=lambda each: each[0])[:count]
    return _joined(own, [each for _, each in likeliest], rank)
