"""How PDF files are read, beside poppler and MuPDF: python bench/reading.py FOLDER --mupdf PYTHON --cache FOLDER

FOLDER holds the files, which stay outside the repository; `pdftotext` is poppler's, PYTHON one that has pymupdf,
which is no dependency of ours. A page agrees where its bag of words has F1 >= 0.98 with one of the two at least.
Hyphens are left out on all sides, and so are case and compatibility forms; each Chinese, Japanese or Korean character
is a word. Writes bench/results/reading.md and reading_files.tsv (sha256, name). The others' words are kept in
--cache.
"""

import argparse
import hashlib
import json
import platform
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.report import RESULTS, Table, machine, write_results
from harness.words import AGREE, f1, glued, words

_MUPDF = """
import json, sys, pymupdf
pymupdf.TOOLS.mupdf_display_errors(False)
document = pymupdf.open(sys.argv[1])
flags = pymupdf.TEXTFLAGS_TEXT & ~pymupdf.TEXT_PRESERVE_LIGATURES
print(json.dumps([page.get_text("text", flags=flags) for page in document]))
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One page's words by each reader, and how it agrees."""

    file: str
    number: int
    ours: str
    poppler: str
    mupdf: str

    @property
    def scores(self) -> tuple[float, float, float]:
        """F1 with poppler, with MuPDF, and between these two."""
        ours, poppler, mupdf = map(words, (self.ours, self.poppler, self.mupdf))
        return f1(ours, poppler), f1(ours, mupdf), f1(poppler, mupdf)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mupdf", type=Path, required=True, help="a Python that has pymupdf")
    parser.add_argument("--cache", type=Path, required=True, help="where the others' words are kept")
    parser.add_argument("--differing", type=Path, help="write the pages that differ, as JSON lines")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in args.folder.rglob("*") if path.suffix.lower() == ".pdf")
    seconds, refused = 0.0, Counter[str]()
    pages: list[Page] = []
    listed: list[str] = []
    for path in files:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        start = time.perf_counter()
        ours, reason = read_ours(data)
        seconds += time.perf_counter() - start
        if reason:
            refused[reason] += 1
            listed.append(f"{digest}\t{path.relative_to(args.folder)}\t{reason}")
            continue
        listed.append(f"{digest}\t{path.relative_to(args.folder)}\t")
        poppler, mupdf = read_others(path, digest, args)
        for number, text in enumerate(ours):
            pages.append(
                Page(
                    str(path.relative_to(args.folder)),
                    number + 1,
                    text,
                    at(poppler, number),
                    at(mupdf, number),
                )
            )
    report(pages, files, refused, listed, seconds, args)


def at(texts: list[str], number: int) -> str:
    return texts[number] if number < len(texts) else ""


def read_ours(data: bytes) -> tuple[list[str], str]:
    """Our pages, or the reason for none."""
    from weightwright.errors import DataError
    from weightwright.rag.readers.base import own_reader
    from weightwright.rag.settings import LoadSettings

    try:
        content = own_reader("pdf")(data, LoadSettings())
    except DataError as error:
        return [], re.sub(r"\d+", "N", str(error).split(";", maxsplit=1)[0])
    ends = (*content.page_starts[1:], len(content.text))
    return [content.text[a:b] for a, b in zip(content.page_starts, ends, strict=True)], ""


def read_others(path: Path, digest: str, args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Pages of poppler and of MuPDF; none where it fails."""
    kept = args.cache / f"{digest}.json"
    if not kept.exists():
        poppler = ran("pdftotext", "-enc", "UTF-8", path, "-").split("\f")
        printed = ran(args.mupdf, "-c", _MUPDF, path)
        mupdf = json.loads(printed.splitlines()[-1]) if printed.strip() else []
        kept.write_text(json.dumps([poppler, mupdf]), encoding="utf-8")
    poppler, mupdf = json.loads(kept.read_text(encoding="utf-8"))
    return poppler, mupdf


def ran(*command: object, errors: bool = False) -> str:
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        return ""
    return (done.stderr if errors else done.stdout).decode("utf-8", "replace")


def kind(page: Page) -> str:
    """Why a page differs from both, as far as a rule can tell."""
    ours, poppler, mupdf = map(words, (page.ours, page.poppler, page.mupdf))
    both = poppler & mupdf
    if f1(poppler, mupdf) < AGREE and f1(glued(poppler), glued(mupdf)) < AGREE:
        rest = "poppler and MuPDF differ, too"
    else:
        rest = "they agree"
    if f1(glued(ours), glued(poppler)) >= AGREE or f1(glued(ours), glued(mupdf)) >= AGREE:
        return f"the same characters, other gaps between words ({rest})"
    missing, more = (both - ours).total(), (ours - (poppler | mupdf)).total()
    if missing > 2 * more:
        return f"words missing here ({rest})"
    return f"words only here ({rest})" if more > 2 * missing else f"other words ({rest})"


def report(
    pages: list[Page], files: list[Path], refused: Counter[str], listed: list[str],
    seconds: float, args: argparse.Namespace,
) -> None:  # fmt: skip
    with_text = [page for page in pages if words(page.poppler) or words(page.mupdf)]
    differing = [page for page in with_text if max(page.scores[:2]) < AGREE]
    peers = sum(page.scores[2] >= AGREE for page in with_text)
    table = Table("pages that differ from both", "pages")
    for name, count in Counter(map(kind, differing)).most_common():
        table.row(name, count)
    reasons = Table("files that were not read", "files")
    for name, count in refused.most_common():
        reasons.row(name, count)
    if args.differing:
        args.differing.write_text(
            "".join(f"{json.dumps(line(page))}\n" for page in differing), encoding="utf-8"
        )
    (RESULTS / "reading_files.tsv").write_text(
        "\n".join(["sha256\tfile\tnot read", *listed]) + "\n", encoding="utf-8"
    )
    agree = len(with_text) - len(differing)
    share = agree / max(1, len(with_text))
    write_results(
        "reading",
        "# PDF files, word by word beside poppler and MuPDF",
        machine(),
        f"Python {platform.python_version()}, pypdfium2 {version('pypdfium2')}, "
        f"{ran('pdftotext', '-v', errors=True).splitlines()[0]}",
        f"{len(files)} files, {sum(refused.values())} not read; {len(pages)} pages, {len(with_text)} with text by "
        f"poppler or MuPDF. Reading them took {seconds:.1f} s here.",
        f"**{agree} of {len(with_text)} pages ({share:.1%}) agree (bag of words, F1 >= {AGREE}) with at least one of "
        f"the two**; the two agree with each other on {peers} ({peers / max(1, len(with_text)):.1%}).",
        table,
        reasons,
    )


def line(page: Page) -> dict[str, Any]:
    ours, poppler, mupdf = map(words, (page.ours, page.poppler, page.mupdf))
    return {
        "file": page.file, "page": page.number, "kind": kind(page), "scores": page.scores,
        "missing": list(((poppler & mupdf) - ours).elements())[:60],
        "more": list((ours - (poppler | mupdf)).elements())[:60],
    }  # fmt: skip


if __name__ == "__main__":
    main()
