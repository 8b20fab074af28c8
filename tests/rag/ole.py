"""OLE files (MS-CFB) made for tests: streams of at least 4096 bytes in one folder."""

import struct

_SECTOR = 512
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def ole(streams: dict[str, bytes]) -> bytes:
    """A file with these streams, each padded with zeros to 4096 bytes where it is shorter."""
    data = {name: content.ljust(4096, b"\0") for name, content in streams.items()}
    directory = -(-(len(data) + 1) * 128 // _SECTOR)
    fat = [_FAT, *range(2, directory + 1), _END]
    body, entries = b"", [_entry("Root Entry", 5, _END, 0, child=1)]
    for number, (name, content) in enumerate(data.items(), 1):
        first, count = len(fat), -(-len(content) // _SECTOR)
        fat += [*range(first + 1, first + count), _END]
        body += content.ljust(count * _SECTOR, b"\0")
        following = number + 1 if number < len(data) else _FREE
        entries.append(_entry(name, 2, first, len(content), right=following))
    assert len(fat) <= _SECTOR // 4
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIIII", 0, 1, 1, 0, 4096, _END, 0, _END, 0, 0)
    header += struct.pack("<108I", *[_FREE] * 108)
    table = struct.pack("<128I", *fat, *[_FREE] * (128 - len(fat)))
    return header + table + b"".join(entries).ljust(directory * _SECTOR, b"\0") + body


def _entry(name: str, kind: int, first: int, size: int, *, right: int = _FREE, child: int = _FREE) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    head = text.ljust(64, b"\0") + struct.pack("<HBB", len(text), kind, 1)
    return head + struct.pack("<III36xIQ", _FREE, right, child, first, size)
