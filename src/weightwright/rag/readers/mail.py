"""Mails (EML, mbox of one, Outlook's MSG): who, when, what; attachments are read by their own readers."""

import email
import email.policy
import re
from email.message import Message

from weightwright.errors import DataError
from weightwright.rag.readers.base import Attachment, Content
from weightwright.rag.readers.encoding import clean, codec_of, decode, decode_web, lenient
from weightwright.rag.readers.html import declared_charset, read_page
from weightwright.rag.readers.text import without_data
from weightwright.rag.readers.writer import TextWriter, one_line
from weightwright.rag.settings import LoadSettings

HEADERS = ("From", "To", "Cc", "Date", "Subject")
_KNOWN = re.compile(
    rb"^(from|to|subject|date|received|return-path|message-id|mime-version|delivered-to|x-[\w-]+):",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER_LINE = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]")
_SEEN_BYTES = 20_000  # in which a mail has headers
_MOST_PARTS = 1000


def read_eml(data: bytes, _settings: LoadSettings) -> Content:
    """The headers that a person sees, and the text; of alternatives the plain one. Raises DataError for no mail."""
    if not _KNOWN.search(data[:_SEEN_BYTES]):
        raise DataError(None, "not a mail; expected headers such as From: and Subject:")
    message = email.message_from_bytes(_with_headers_alone(data), policy=email.policy.default)
    bodies: list[tuple[str, str]] = []
    attachments: list[Attachment] = []
    _take(message, bodies, attachments)
    headers = {name: _header(message, name) for name in HEADERS}
    return mail_content(headers, bodies, tuple(attachments))


def _with_headers_alone(data: bytes) -> bytes:
    """The mail without lines before and between its headers that are none (mbox's first, a server's greeting)."""
    begin, end = 0, 0
    for match in _KNOWN.finditer(data[:_SEEN_BYTES]):
        if not end or not re.search(rb"\n\r?\n", data[end : match.start()]):
            begin, end = (begin if end else match.start()), match.end()
    before = data[:begin].splitlines(keepends=True)
    if all(_HEADER_LINE.match(line) for line in before):
        begin = 0
    lines = data[begin:end].splitlines(keepends=True)
    return b"".join(line for line in lines if _HEADER_LINE.match(line)) + data[end:]


def mail_content(
    headers: dict[str, str], bodies: list[tuple[str, str]], attachments: tuple[Attachment, ...]
) -> Content:
    """A mail of its headers and bodies (`plain` or `html`, text)."""
    writer = TextWriter()
    subject = one_line(headers.get("Subject") or "")
    writer.heading(subject, 1)
    for name in HEADERS[:-1]:
        if headers.get(name):
            writer.line(f"{name}: {headers[name]}")
    if attachments:
        writer.line(f"Attachments: {', '.join(one_line(item.name) for item in attachments)}")
    for kind, body in bodies:
        writer.apart()
        if kind == "html":
            read_page(body, "mail", writer)
        else:
            for part in re.split(r"\n[ \t]*\n", without_data(clean(body))):
                writer.paragraph(part)
    return writer.content("mail", subject, attachments=attachments)


def _header(message: Message, name: str) -> str:
    try:
        values = message.get_all(name) or []
    except (ValueError, IndexError, AttributeError, LookupError):  # a header that is none
        return ""
    return one_line(", ".join(clean(str(value)) for value in values))


def _take(message: Message, bodies: list[tuple[str, str]], attachments: list[Attachment]) -> None:
    """The parts in order; of alternatives the plain text where it says something, else the last that is text."""
    stack: list[Message] = [message]
    seen = 0
    while stack and seen < _MOST_PARTS:
        part = stack.pop()
        seen += 1
        kind = part.get_content_type()
        if kind == "message/rfc822":
            inner = part.get_payload()
            if isinstance(inner, list) and inner and isinstance(inner[0], Message):
                subject = _header(inner[0], "Subject") or "mail"
                attachments.append(Attachment(f"{_file_name(subject)}.eml", inner[0].as_bytes()))
        elif part.is_multipart():
            parts = [inner for inner in part.get_payload() if isinstance(inner, Message)]
            stack.extend(reversed(_chosen(parts) if kind == "multipart/alternative" else parts))
        elif part.get_filename() or part.get_content_disposition() == "attachment":
            attachments.append(_attachment(part, kind))
        elif kind in ("text/plain", "text/html") or part.get_content_maintype() == "text":
            bodies.append(("html" if kind == "text/html" else "plain", _text(part)))


def _chosen(parts: list[Message]) -> list[Message]:
    plain = [part for part in parts if part.get_content_type() == "text/plain" and _text(part).strip()]
    if plain:
        others = [part for part in parts if part.get_content_maintype() not in ("text", "multipart")]
        return [plain[0], *others]
    return parts[-1:]


def _attachment(part: Message, kind: str) -> Attachment:
    ending = {"text/plain": "txt", "text/html": "html", "application/pdf": "pdf"}.get(kind, "bin")
    payload = part.get_payload(decode=True)
    name = clean(str(part.get_filename() or f"attachment.{ending}"))
    return Attachment(name, payload if isinstance(payload, bytes) else b"")


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset()
    if part.get_content_type() == "text/html":
        return decode_web(data, charset or declared_charset(data))
    encoding = codec_of(charset) if charset else None
    if encoding is None:
        try:
            return decode(data)
        except DataError:
            return lenient(data, "cp1252")
    return decode_web(data, charset)


def _file_name(subject: str) -> str:
    return re.sub(r"[^\w .-]+", "_", subject).strip()[:60] or "mail"
