#!/usr/bin/env bash
# pypdfium2 5.15.2 (PDFium): text in a Chinese or Japanese font that is not embedded (allowed for the standard CJK
# collections) has no boxes where the system has no such font, as in a container. Horizontal lines are still read whole;
# of the same words written downwards (a -V CMap) or on a turned line nothing is read, no error, no warning: the page
# counts as empty, like a scan. FPDFText_CountChars is 0. With a CJK font in /usr/share/fonts all of them are read.
# Seen where no CJK font is installed: 9 characters of 9 across, 0 of 9 downwards, 0 of 9 turned by 90 degrees.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if find /usr/share/fonts /usr/share/X11/fonts /usr/local/share/fonts -type f 2>/dev/null \
    | grep -qiE 'cjk|takao|ipa|gothic|mincho|wqy|uming|ukai|noto.*(jp|sc)|droid.*fallback'; then
  echo "a CJK font is installed here: run this in an image without one" >&2
  exit 2
fi
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pypdfium2==5.15.2
cd "$folder"
venv/bin/python - <<'PY'
from importlib.metadata import version

import pypdfium2

WORDS = "今日は雨が降ります"


def pdf(cmap, matrix):
    """One page with the words in Ryumin-Light of Adobe-Japan1, which is not embedded."""
    stream = f"BT /F1 12 Tf {matrix} Tm <{WORDS.encode('utf-16-be').hex()}> Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        f"<< /Type /Font /Subtype /Type0 /BaseFont /Ryumin-Light /Encoding /{cmap} /DescendantFonts [6 0 R] >>",
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /Ryumin-Light /FontDescriptor 7 0 R"
        " /CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) /Supplement 2 >> >>",
        "<< /Type /FontDescriptor /FontName /Ryumin-Light /Flags 4 /FontBBox [0 -120 1000 880] /ItalicAngle 0"
        " /Ascent 880 /Descent -120 /CapHeight 700 /StemV 80 >>",
    ]
    data, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    tail = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(objects) + 1} /Root 1 0 R >>"
    return data + f"{tail}\nstartxref\n{len(data)}\n%%EOF".encode()


print("pypdfium2", version("pypdfium2"))
found = {}
for name, cmap, matrix in (
    ("across", "UniJIS-UCS2-H", "1 0 0 1 100 700"),
    ("downwards", "UniJIS-UCS2-V", "1 0 0 1 300 700"),
    ("turned", "UniJIS-UCS2-H", "0 1 -1 0 300 100"),
):
    page = pypdfium2.PdfDocument(pdf(cmap, matrix))[0].get_textpage()
    found[name] = "".join(page.get_text_range().split())
    print(f"{name}: {len(found[name])} of {len(WORDS)} characters, FPDFText_CountChars {page.count_chars()}")
assert found["across"] == WORDS, "the control is off"
assert not found["downwards"] and not found["turned"], "the behaviour has changed"
PY
