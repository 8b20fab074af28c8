"""PDF files written object by object, for tests of what stands where on a page."""

import hashlib
from collections.abc import Sequence

_FONTS = "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >> >>"


def show(x: float, y: float, text: str, size: float = 12, matrix: str = "1 0 0 1") -> str:
    """A text object of its own."""
    shown = (
        text.encode("cp1252").decode("latin-1").replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    )
    return f"BT /F1 {size} Tf {matrix} {x} {y} Tm ({shown}) Tj ET\n"


def drawn(*pages: str, rotate: int = 0, annotations: Sequence[str] = (), fields: bool = False) -> bytes:
    """A PDF whose pages have these content streams, the annotations on the first."""
    first = 4 + 2 * len(pages)
    numbers = [first + i for i in range(len(annotations))]
    form = f"/AcroForm << /Fields [{' '.join(f'{n} 0 R' for n in numbers)}] >>" if fields else ""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {form} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        _FONTS,
    ]
    for i, stream in enumerate(pages):
        annots = f"/Annots [{' '.join(f'{n} 0 R' for n in numbers)}]" if i == 0 and annotations else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Rotate {rotate} {annots} "
            f"/Resources << /Font 3 0 R >> /Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    return written([*objects, *annotations])


def encrypted(text: str, password: str) -> bytes:
    """A page that opens with a password: RC4 of 40 bits (ISO 32000-1, 7.6.3)."""
    pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    rights, name = -4, b"0123456789abcdef"
    padded = (password.encode() + pad)[:32]
    owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + rights.to_bytes(4, "little", signed=True) + name).digest()[:5]
    stream = _rc4(hashlib.md5(key + b"\x05\x00\x00\x00\x00").digest()[:10], show(72, 700, text).encode())
    lock = f"/Filter /Standard /V 1 /R 2 /P {rights} /O <{owner.hex()}> /U <{_rc4(key, pad).hex()}>"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        _FONTS,
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font 3 0 R >> /Contents 5 0 R >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream.decode('latin-1')}\nendstream",
    ]
    return written(objects, f"/Encrypt << {lock} >> /ID [<{name.hex()}> <{name.hex()}>]")


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def written(objects: Sequence[str], trailer: str = "") -> bytes:
    """Objects, numbered from 1, the first of them the catalogue, as a file."""
    out, offsets = "%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF"
    return out.encode("latin-1")


def with_font(font: str, stream: str, *more: str, rotate: int = 0) -> bytes:
    """A page whose font /F1 is object 3, `font`; `more` are the objects from 6 on."""
    return written([
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        font,
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Rotate {rotate} "
        "/Resources << /Font << /F1 3 0 R >> >> /Contents 5 0 R >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        *more,
    ])  # fmt: skip


def unembedded(name: str, ordering: str, cmap: str) -> tuple[str, str, str]:
    """A Chinese, Japanese or Korean font that is not in the file: itself and the two objects that follow a page's."""
    return (
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /{cmap} /DescendantFonts [6 0 R] >>",
        f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /{name} /DW 1000 /FontDescriptor 7 0 R "
        f"/CIDSystemInfo << /Registry (Adobe) /Ordering ({ordering}) /Supplement 2 >> >>",
        f"<< /Type /FontDescriptor /FontName /{name} /Flags 6 /FontBBox [0 -141 1000 859] /ItalicAngle 0 "
        "/Ascent 859 /Descent -141 /StemV 80 >>",
    )
