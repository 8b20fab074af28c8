"""Outlook's mails (MSG): streams of properties in an OLE file (MS-OXMSG)."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

from weightwright.errors import DataError
from weightwright.rag.readers.base import Attachment, Content
from weightwright.rag.readers.encoding import decode_web
from weightwright.rag.readers.html import declared_charset
from weightwright.rag.readers.mail import mail_content
from weightwright.rag.settings import LoadSettings

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SUBJECT, _BODY, _HTML, _SENDER, _SENDER_MAIL = 0x0037, 0x1000, 0x1013, 0x0C1A, 0x0C1F
_TO, _CC = 0x0E04, 0x0E03
_DELIVERED, _SUBMITTED = 0x0E06, 0x0039
_NAME, _LONG_NAME, _DATA = 0x3704, 0x3707, 0x3701
_ATTACHMENT = "__attach_version1.0_"


def read_msg(data: bytes, _settings: LoadSettings) -> Content:
    """A mail's headers, text and attachments. Raises DataError where it is none."""
    import olefile

    if not data.startswith(_OLE):
        raise DataError(None, "not an Outlook message; save it again as .msg or .eml")
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as ole:
            if not ole.exists("__properties_version1.0"):
                raise DataError(
                    None, "an old Office file, no Outlook message; save it in a newer form or as PDF"
                )
            return _mail(ole)
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DataError(None, f"not a whole Outlook message ({error}); save it again") from error


def _mail(ole: Any) -> Content:
    folders = sorted({entry[0] for entry in ole.listdir() if entry[0].startswith(_ATTACHMENT)})
    sender, address = _text(ole, [], _SENDER), _text(ole, [], _SENDER_MAIL)
    shown = f"{sender} <{address}>" if "@" in address and address != sender else sender or address
    headers = {
        "From": shown, "To": _text(ole, [], _TO), "Cc": _text(ole, [], _CC), "Date": _date(ole),
        "Subject": _text(ole, [], _SUBJECT),
    }  # fmt: skip
    body = _text(ole, [], _BODY)
    bodies = [("plain", body)] if body.strip() else []
    page = _stream(ole, [], _HTML, "0102")
    if not bodies and page:
        bodies.append(("html", decode_web(page, declared_charset(page))))
    elif not bodies and (html := _text(ole, [], _HTML)):
        bodies.append(("html", html))
    attachments = [found for folder in folders if (found := _attachment(ole, folder)) is not None]
    return mail_content(headers, bodies, tuple(attachments))


def _attachment(ole: Any, folder: str) -> Attachment | None:
    data = _stream(ole, [folder], _DATA, "0102")
    name = _text(ole, [folder], _LONG_NAME) or _text(ole, [folder], _NAME)
    return Attachment(name or "attachment.bin", data) if data else None


def _stream(ole: Any, folder: list[str], tag: int, kind: str) -> bytes:
    path = [*folder, f"__substg1.0_{tag:04X}{kind}"]
    return bytes(ole.openstream(path).read()) if ole.exists(path) else b""


def _text(ole: Any, folder: list[str], tag: int) -> str:
    """A text property, in UTF-16 or the mail's code page."""
    wide = _stream(ole, folder, tag, "001F")
    if wide:
        return wide.decode("utf-16-le", "replace").rstrip("\x00")
    narrow = _stream(ole, folder, tag, "001E")
    return decode_web(narrow, None).rstrip("\x00") if narrow else ""


def _date(ole: Any) -> str:
    """When it was delivered or sent, in UTC: FILETIME properties of 16 bytes each behind a header of 32."""
    stream = ole.openstream("__properties_version1.0").read()
    times = {
        int.from_bytes(stream[at + 2 : at + 4], "little"): int.from_bytes(stream[at + 8 : at + 16], "little")
        for at in range(32, len(stream) - 15, 16)
        if stream[at : at + 2] == b"\x40\x00"
    }
    ticks = times.get(_SUBMITTED) or times.get(_DELIVERED)
    if not ticks:
        return ""
    moment = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)
    return moment.strftime("%Y-%m-%d %H:%M UTC")
