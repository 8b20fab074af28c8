"""The grammar of one string: where a model or an embedder is.

Nothing here looks at a network, and on the disk only at the user's own names; `hub.store.locate` and `connect` do.
`parse_model(str(address)) == address`, and so for embedders and stores.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from weightwright.address import names, packages
from weightwright.address.grammar import EXAMPLES, SCHEME, checked, expanded, require_host
from weightwright.config import nearest
from weightwright.errors import AddressError
from weightwright.options import Precision

ModelKind = Literal["extract", "server", "hub", "folder", "gguf", "short"]
EmbedderKind = Literal["server", "hub", "folder", "short"]

PRECISIONS: tuple[Precision, ...] = tuple(p for p in get_args(Precision) if p != "auto")
SERVER_SCHEMES = ("http", "https")
EXTRACT = "extract"

_PATH = re.compile(r"\.{1,2}(?:[/\\]|$)|/|~|[A-Za-z]:[/\\]|\\\\")
_ADAPTER = re.compile(r"\+(?=\.{1,2}[/\\]|/|~|[A-Za-z]:[/\\]|\\\\)")
# HOST:PORT, or what ends in an API's /v1
_SERVER_WITHOUT_SCHEME = re.compile(r"(?:https?:/?)?([\w.-]+:\d{2,5}(?:/\S*)?|[\w-]+\.[\w.-]+(?:/\S*)?/v1/?)")
_GGUF_TAG = re.compile(r"(?:UD-)?(?:I?Q[1-8](?:_[0-9A-Z]+)*|TQ[12]_0|F16|MXFP4(?:_MOE)?)", re.IGNORECASE)
_HUB_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_HUB_ID_CHARACTERS = 96  # the hub's own limit
_TAGS_EXPECTED = f"a precision ({', '.join(PRECISIONS)}) or a GGUF quantisation such as Q4_K_M or Q8_0"


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """Where a model is. `base` is a hub id, a path, a URL or a short name, as `kind` says."""

    kind: ModelKind
    base: str
    name: str | None = None  # a server's model; None: its only one
    tag: str | None = None  # a precision in lower case, or a GGUF quantisation in upper case
    adapter: Path | None = None
    template: str | None = field(default=None, compare=False)  # that the user gave this name, in names.yaml

    def __str__(self) -> str:
        text = self.base
        if self.name is not None:
            text += f"#{self.name}"
        if self.tag is not None:
            text += f":{self.tag}"
        if self.adapter is not None:
            text += f"+{_path_text(self.adapter)}"
        return text

    @property
    def precision(self) -> Precision | None:
        """The precision that the tag asks for, if it is one."""
        return next((p for p in PRECISIONS if p == self.tag), None)

    @property
    def quantization(self) -> str | None:
        """The GGUF quantisation that the tag asks for, if it is one."""
        return None if self.precision else self.tag

    @property
    def path(self) -> Path | None:
        """The folder or GGUF file of a local model, `~` opened; None for other kinds."""
        return expanded(self.base) if self.kind in ("folder", "gguf") else None

    @property
    def usual_template(self) -> str:
        """The template of its conversations where its files have none, by its name; "" where none is known."""
        if self.kind == "short" and self.base in names.NAMES:
            return names.NAMES[self.base].template
        return names.template_of(self.base if self.path is None else self.path.absolute().name)

    @property
    def hub_id(self) -> str | None:
        """`owner/name` of a hub model or of a short name's model on the hub; None for other kinds."""
        if self.kind == "short" and self.base in packages.MODELS:
            return packages.MODELS[self.base].hub_id
        if self.kind == "short":
            return names.NAMES[self.base].hub_id_for(self.tag)
        return self.base if self.kind == "hub" else None


@dataclass(frozen=True, slots=True)
class EmbedderAddress:
    """Where an embedder is: a short name, a sentence-transformers hub id or folder, or a server."""

    kind: EmbedderKind
    base: str
    name: str | None = None

    def __str__(self) -> str:
        return self.base if self.name is None else f"{self.base}#{self.name}"

    @property
    def path(self) -> Path | None:
        """The folder of a local embedder, `~` opened; None for other kinds."""
        return expanded(self.base) if self.kind == "folder" else None

    @property
    def hub_id(self) -> str | None:
        """`owner/name` of a hub embedder or of a short name's on the hub; None for other kinds."""
        if self.kind == "short":
            return packages.EMBEDDERS[self.base].hub_id
        return self.base if self.kind == "hub" else None


def parse_model(text: str) -> ModelAddress:
    """Read a model address. Raises AddressError saying the value and what is expected."""
    return _parsed(checked(text, "model"), names.own_names())


def _parsed(text: str, own: Mapping[str, names.Own]) -> ModelAddress:
    """The address of a text; `own` are the user's short names, which stand for addresses without such."""
    if SCHEME.match(text):
        base, name = _server(text, "model")
        return ModelAddress("server", base, name)
    if server := _SERVER_WITHOUT_SCHEME.fullmatch(text):
        raise AddressError(
            f"{text!r}: a server's address begins with http:// or https://, as in http://{server[1]}"
        )
    base, adapter = _split_adapter(text)
    if base in own:
        known = replace(_parsed(own[base].address, {}), template=own[base].template)
        return known if adapter is None else replace(known, adapter=adapter)
    if "/" not in base and "\\" not in base and (short := names.named(base)) is not None:
        return ModelAddress("short", short[0], None, short[1], adapter)
    base, tag = _split_tag(base)
    if base == EXTRACT:
        if tag or adapter:
            raise AddressError(f"{text!r}: {EXTRACT} is no model and takes neither a tag nor an adapter")
        return ModelAddress("extract", base)
    if _PATH.match(base):
        gguf = base.lower().endswith(".gguf")
        if gguf and tag and tag not in PRECISIONS:
            raise AddressError(f"{text!r}: a GGUF file is one quantisation already; leave out :{tag}")
        return ModelAddress("gguf" if gguf else "folder", base, None, tag, adapter)
    if "/" in base:
        return ModelAddress("hub", _hub_id(base, text), None, tag, adapter)
    if base not in packages.MODELS:
        raise AddressError(_unknown_name(base, "model", [*packages.MODELS, *names.NAMES, EXTRACT]))
    return ModelAddress("short", base, None, tag, adapter)


def parse_embedder(text: str) -> EmbedderAddress:
    """Read an embedder address. Raises AddressError saying the value and what is expected."""
    text = checked(text, "embedder")
    if SCHEME.match(text):
        base, name = _server(text, "embedder")
        return EmbedderAddress("server", base, name)
    if _PATH.match(text):
        return EmbedderAddress("folder", text)
    if "/" in text:
        return EmbedderAddress("hub", _hub_id(text, text))
    if text not in packages.EMBEDDERS:
        raise AddressError(_unknown_name(text, "embedder", packages.EMBEDDERS))
    return EmbedderAddress("short", text)


def _split_adapter(text: str) -> tuple[str, Path | None]:
    """Divide at the last `+` that begins a path."""
    plus = [match.start() for match in _ADAPTER.finditer(text)]
    if not plus:
        return text, None
    return text[: plus[-1]], expanded(text[plus[-1] + 1 :])


def _split_tag(text: str) -> tuple[str, str | None]:
    """Divide at a `:` before a known tag. On a path, where `:` is an ordinary character, others stay."""
    base, colon, tag = text.rpartition(":")
    if not colon or "/" in tag or "\\" in tag:
        return text, None
    if tag.lower() in PRECISIONS:
        return base, tag.lower()
    if _GGUF_TAG.fullmatch(tag):
        return base, tag.upper()
    if _PATH.match(text):
        return text, None
    raise AddressError(f"model {text!r}: unknown tag {tag!r}; expected {_TAGS_EXPECTED}")


def _server(text: str, what: str) -> tuple[str, str | None]:
    """URL and model name of `http://host:8000/v1#name`."""
    word = text.partition("://")[0].lower()
    if word not in SERVER_SCHEMES:
        raise AddressError(f"{what} {text!r}: unknown scheme {word!r}{nearest(word, SERVER_SCHEMES)}; "
                           f"expected {EXAMPLES[what]}")  # fmt: skip
    base, mark, name = text.partition("#")
    if mark and not name:
        raise AddressError(f"{what} {text!r}: the model's name after # is empty")
    if _ADAPTER.search(name):
        raise AddressError(f"{what} {text!r}: a server holds its adapters; write an adapter's name after #")
    require_host(base, what, "http://HOST:PORT/v1#NAME")
    if "@" in urlsplit(base).netloc:
        raise AddressError(f"{what} at {urlsplit(base).hostname}: an address must not hold a user or "
                           f"password, "
                           "since it is written into reports; give the key as a setting")  # fmt: skip
    return word + base[len(word) :].rstrip("/"), name or None


def _hub_id(base: str, text: str) -> str:
    parts = base.split("/")
    good = len(parts) == 2 and all(
        _HUB_PART.fullmatch(part) and ".." not in part and "--" not in part for part in parts
    )
    if good and len(base) <= _HUB_ID_CHARACTERS and not base.endswith(".git"):
        return base
    hint = f"a path begins with ./, / or ~, so write ./{base} for a local file or folder"
    if "+" in base:
        hint = "the path of an adapter begins with ./, / or ~, as in +./runs/first/adapter"
    raise AddressError(f"{text!r} is not a hub id OWNER/NAME; {hint}")


def _unknown_name(name: str, what: str, known: Iterable[str]) -> str:
    remedy = f"a hub id is OWNER/NAME, a local path begins with ./ (./{name})"
    return f"unknown {what} name {name!r}: {remedy}{nearest(name, known)}"


def _path_text(path: Path) -> str:
    return path.as_posix() if path.is_absolute() else f"./{path.as_posix()}"
