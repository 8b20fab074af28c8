"""ZIP packages of XML parts (Office Open XML, OpenDocument, EPUB): bounded, without entities."""

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from weightwright.errors import DataError
from weightwright.rag.readers.base import Attachment
from weightwright.rag.readers.embedded import embedded_file
from weightwright.rag.settings import LoadSettings

if TYPE_CHECKING:
    from lxml.etree import _Element as Element
else:
    Element = Any

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PART_BYTES = 1 << 20
_SAYING = ("t", "chart", "relIds", "sym", "br", "tab", "textpath", "v", "tbl")  # elements that say something
_CHART = re.compile(r"(.*/charts)/_rels/(.*)\.rels")


class Package:
    """The parts of one file by name."""

    def __init__(self, data: bytes, settings: LoadSettings, kind: str) -> None:
        self._left = settings.max_unpacked_mb * 1_000_000
        self._limit = (
            f"more than max_unpacked_mb={settings.max_unpacked_mb} unpacked; raise --max-unpacked-mb"
        )
        if data.startswith(_OLE):
            raise DataError(
                None,
                f"an encrypted {kind} file, or one of an old version; save it without a password as .{kind}",
            )
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            self._names = {info.filename.lstrip("/").lower(): info for info in self._zip.infolist()}
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
            raise DataError(None, f"not a whole .{kind} file ({error}); save it again") from error
        self._kind = kind
        if len(self._names) > settings.max_members:
            raise DataError(
                None,
                f"{len(self._names)} parts, more than max_members={settings.max_members}; raise --max-members",
            )

    def __contains__(self, name: str) -> bool:
        return name.lstrip("/").lower() in self._names

    @property
    def names(self) -> list[str]:
        """The parts' names, sorted."""
        return sorted(info.filename for info in self._names.values())

    def read(self, name: str) -> bytes:
        """A part's bytes; none where there is no such part. Raises DataError beyond the limit."""
        info = self._names.get(name.lstrip("/").lower())
        if info is None:
            return b""
        out = bytearray()
        try:
            with self._zip.open(info) as part:
                while block := part.read(_PART_BYTES):
                    self._left -= len(block)
                    if self._left < 0:
                        raise DataError(None, self._limit)
                    out += block
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            ValueError,
            RuntimeError,
            OSError,
        ) as error:
            raise DataError(
                None, f"its part {name} cannot be unpacked ({error}); save it again without a password"
            ) from error
        return bytes(out)

    def xml(self, name: str) -> "Element | None":
        """A part's root element; None where it is missing or broken."""
        return parse_xml(self.read(name))

    def main_xml(self, name: str) -> "Element":
        """The root element of a part without which nothing can be read."""
        root = self.xml(name)
        if root is None:
            raise DataError(None, f"not a readable .{self._kind} file: its part {name} is missing or broken")
        return root

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """A part's relations of Office Open XML: id → (last word of the type, the other part's name)."""
        folder, base = posixpath.split(name)
        root = self.xml(posixpath.join(folder, "_rels", f"{base}.rels"))
        found: dict[str, tuple[str, str]] = {}
        for relation in root if root is not None else ():
            target = relation.get("Target", "")
            if relation.get("TargetMode") == "External" or not target:
                continue
            path = target if target.startswith("/") else posixpath.join(folder, target)
            kind = relation.get("Type", "").rpartition("/")[2]
            found[relation.get("Id", "")] = (kind, posixpath.normpath(unquote(path)).lstrip("/"))
        return found

    def first_related(self, name: str, kind: str) -> str | None:
        """The first part that a part's relations name for this kind."""
        return next((target for type_, target in self.related(name).values() if type_ == kind), None)

    def embedded(self) -> tuple[tuple[Attachment, ...], tuple[str, ...]]:
        """The files that lie in an Office file as objects, and what is said of those of older programs.

        The sheets behind charts are left out: a chart says its numbers itself.
        """
        of_charts = {
            target
            for name in self.names
            if (found := _CHART.fullmatch(name))
            for _, target in self.related(f"{found[1]}/{found[2]}").values()
        }
        files, others = [], 0
        for name in self.names:
            if "/embeddings/" not in name or name.endswith("/") or name in of_charts:
                continue
            found_file = embedded_file(name, self.read(name))
            if found_file is not None:
                files.append(found_file)
            else:
                others += 1
        said = f"embedded objects of other programs or older forms were left out: {others}" if others else ""
        return tuple(files), (said,) if said else ()


def parse_xml(data: bytes) -> "Element | None":
    """The root element, entities not followed; None where it is no XML."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, recover=True,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root: Element | None = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    return root


def local(element: "Element") -> str:
    """An element's name without its namespace; strict and transitional files differ in that."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: "Element | None", name: str) -> str | None:
    """An attribute by its local name."""
    if element is None:
        return None
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


def child(element: "Element | None", *path: str) -> "Element | None":
    """The first element at a path of local names."""
    for name in path:
        if element is None:
            return None
        element = next((inner for inner in element if local(inner) == name), None)
    return element


def descendants(element: "Element", *names: str) -> "Iterator[Element]":
    """All elements of these local names, in order."""
    return (inner for inner in element.iter() if local(inner) in names)


def chosen(alternatives: "Element") -> "list[Element]":
    """Of `mc:AlternateContent` what the first choice holds; the fallback where that says nothing."""
    choices = [inner for inner in alternatives if local(inner) in ("Choice", "Fallback")]
    said = (inner for inner in choices if next(descendants(inner, *_SAYING), None) is not None)
    found = next(said, choices[0] if choices else None)
    return [] if found is None else list(found)


def drawing_texts(element: "Element") -> Iterator[str]:
    """The paragraphs (`a:p`) of DrawingML under an element, each as a line; of alternatives the first."""
    for found in descendants(element, "p"):
        if any(local(above) == "Fallback" for above in found.iterancestors()):
            continue
        text = "".join(
            (part.text or "") if local(part) == "t" else "\n" for part in descendants(found, "t", "br")
        )
        if text.strip():
            yield text
