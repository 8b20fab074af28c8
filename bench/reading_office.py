"""How office files are read, beside LibreOffice and pandoc: python bench/reading_office.py FOLDER --cache FOLDER

FOLDER holds the files, which stay outside the repository. LibreOffice (`soffice`) writes text documents as text,
sheets as CSV, and slides as PDF, whose text poppler's `pdftotext` takes; `pandoc` writes text documents and books as
text. A file agrees where its bag of words has F1 >= 0.98 with one of them at least. What we write and they do not
(notes of speakers, comments, headers, numbers of lists) counts as ours only, so the words that are lost are counted,
too: those that all of them have and we do not, neither in the file nor in what is attached to it. Of slides, which
the others know as pages only, lines that stand on several pages count once, numbers of pages and today's date not;
a word that a narrow shape breaks is one. Writes bench/results/reading_office.md and reading_office_files.tsv (sha256,
name).
"""

import argparse
import hashlib
import json
import platform
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import reduce
from pathlib import Path

from harness.report import RESULTS, Table, machine, write_results
from harness.words import AGREE, f1, glued, in_order, words

TEXTS = ("docx", "docm", "odt", "rtf")
SHEETS = ("xlsx", "xlsm", "ods")
SLIDES = ("pptx", "odp")
ENDINGS = (*TEXTS, *SLIDES, *SHEETS, "epub")
BATCH = 25  # files that one LibreOffice converts
LOST = 0.01  # share of the words of a file
MOST_PARTS = 12  # into which a narrow shape breaks a word
_ALL_SHEETS = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,true,false,false,-1"
_PANDOC = {"docx": "docx", "docm": "docx", "odt": "odt", "rtf": "rtf", "epub": "epub"}


@dataclass(frozen=True, slots=True)
class File:
    """One file by each reader."""

    name: str
    digest: str
    ours: str
    attached: str
    reason: str
    notes: str
    others: tuple[str, ...]

    @property
    def score(self) -> float:
        """F1 with the one that is closest."""
        return max(f1(words(self.ours), words(text)) for text in self.others)

    @property
    def lost(self) -> Counter[str]:
        """Words that all others have."""
        here = words(f"{self.ours}\n{self.attached}")
        if ending_of(Path(self.name)) in SLIDES:
            return lost_of_pages(self.others[0], f"{self.ours}\n{self.attached}")
        return reduce(lambda one, other: one & other, map(words, self.others)) - here


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where the others' words are kept")
    parser.add_argument("--differing", type=Path, help="write the files that differ, as JSON lines")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    paths = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path
        for path in sorted(args.folder.rglob("*"), reverse=True)
        if ending_of(path) in ENDINGS and path.is_file()
    }
    read_others(paths, args.cache)
    files, seconds = [], 0.0
    for digest, path in sorted(paths.items(), key=lambda pair: pair[1]):
        start = time.perf_counter()
        ours, attached, reasons = read_ours(path)
        seconds += time.perf_counter() - start
        kept = args.cache / f"{digest}.json"
        others = json.loads(kept.read_text(encoding="utf-8"))
        if ending_of(path) in SLIDES:
            others = [without_date(text, date.fromtimestamp(kept.stat().st_mtime)) for text in others]
        reason, notes = ("", reasons) if ours or attached else (reasons, "")
        name = str(path.relative_to(args.folder))
        files.append(File(name, digest, ours, attached, reason, notes, tuple(others)))
    report(files, seconds, args)


def read_ours(path: Path) -> tuple[str, str, str]:
    """What we read of it, of what is attached to it, and what was left out and why."""
    from weightwright.ports import Document
    from weightwright.rag.load import Source, load
    from weightwright.rag.settings import LoadSettings

    items = list(load(Source(path, path.name), LoadSettings()))
    found = [item for item in items if isinstance(item, Document)]
    own = "\n".join(item.text for item in found if item.id == path.name)
    attached = "\n".join(item.text for item in found if item.id != path.name)
    reasons = "; ".join(item.reason for item in items if not isinstance(item, Document))
    return re.sub(r"^```.*$", "", own, flags=re.MULTILINE), attached, reasons


def without_date(text: str, day: date) -> str:
    """Pages without the day on which they were made."""
    forms = (f"{day:%m/%d/%Y}", f"{day.month}/{day.day}/{day.year}", f"{day:%d/%m/%Y}", f"{day:%m/%d/%y}")
    return re.sub("|".join(map(re.escape, forms)), "", text)


def lost_of_pages(text: str, ours: str) -> Counter[str]:
    """Words of pages that we do not have; see above."""
    seen: set[str] = set()
    lines: list[str] = []
    for number, page in enumerate(text.split("\f"), 1):
        kept = [line for line in page.splitlines() if line.strip() not in (str(number), *seen)]
        seen.update(line.strip() for line in kept)
        lines += kept
    theirs, here = in_order("\n".join(lines)), in_order(ours)
    lost, more = Counter(theirs) - Counter(here), Counter(here) - Counter(theirs)
    for part, whole in joined(theirs, more):  # a word that a narrow shape breaks
        if any(lost[word] for word in part) and more[whole]:
            more[whole] -= 1
            lost -= Counter(part)
    for part, whole in joined(here, lost):  # words that stand too near to each other
        lost -= Counter([whole])
        more -= Counter(part)
    for whole in list(more):  # a broken word whose parts stand apart from each other
        for at in range(1, len(whole)):
            if lost[whole[:at]] and lost[whole[at:]]:
                lost -= Counter((whole[:at], whole[at:]))
                break
    return lost


def joined(order: list[str], wanted: Counter[str]) -> Iterator[tuple[list[str], str]]:
    """Neighbouring words that make one of the wanted ones together."""
    for begin in range(len(order)):
        for end in range(begin + 2, min(begin + MOST_PARTS, len(order)) + 1):
            part = order[begin:end]
            if "".join(part) in wanted:
                yield part, "".join(part)


def read_others(paths: dict[str, Path], cache: Path) -> None:
    """Put the texts of those that read the files into the cache, by the files' hashes."""
    missing = {digest: path for digest, path in paths.items() if not (cache / f"{digest}.json").exists()}
    order = sorted(missing, key=lambda digest: form_of(ending_of(missing[digest])))
    for first in range(0, len(order), BATCH):
        part = {digest: missing[digest] for digest in order[first : first + BATCH]}
        texts = by_libreoffice(part)
        for digest, path in part.items():
            found = [texts.get(digest, "")]
            if ending_of(path) in _PANDOC:
                found.append(
                    ran("pandoc", "-f", _PANDOC[ending_of(path)], "-t", "plain", "--wrap=none", path)
                )
            kept = json.dumps([text for text in found if text.strip()])
            (cache / f"{digest}.json").write_text(kept, encoding="utf-8")


def ending_of(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def form_of(ending: str) -> str:
    """What LibreOffice writes of a file; nothing of books."""
    if ending in TEXTS:
        return "txt:Text (encoded):UTF8"
    return _ALL_SHEETS if ending in SHEETS else "pdf" if ending in SLIDES else ""


def by_libreoffice(files: dict[str, Path]) -> dict[str, str]:
    texts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in {form_of(ending_of(path)) for path in files.values()} - {""}:
            copies = []
            for digest, path in files.items():
                if form_of(ending_of(path)) == form:
                    copies.append(Path(folder) / f"{digest}.{ending_of(path)}")
                    copies[-1].write_bytes(path.read_bytes())
            made = Path(folder) / "made"
            ran("soffice", "--headless", "--convert-to", form, "--outdir", made, *copies, timeout=400)
            for file in sorted(made.iterdir()) if made.exists() else ():
                pdf = file.suffix == ".pdf"
                text = (
                    ran("pdftotext", "-enc", "UTF-8", file, "-")
                    if pdf
                    else file.read_text("utf-8", "replace")
                )
                texts[file.name[:64]] = texts.get(file.name[:64], "") + "\n" + text
                file.unlink()
    return texts


def ran(*command: object, timeout: float = 90) -> str:
    try:
        done = subprocess.run([*map(str, command)], capture_output=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode("utf-8", "replace")


def kind(file: File) -> str:
    """Why a file differs, as far as a rule can tell."""
    here = words(file.ours)
    if any(f1(glued(here), glued(words(text))) >= AGREE for text in file.others):
        return "the same characters, other gaps between words"
    if file.lost.total() > LOST * here.total():
        return "words lost here"
    if len(file.others) > 1 and f1(words(file.others[0]), words(file.others[1])) < AGREE:
        return "the others differ from each other, too; no word of both is lost"
    return "words only here"


def why_lost(file: File) -> str:
    """Why a file loses words, as far as a rule can tell."""
    if "hidden" in file.notes:
        return "hidden sheets, rows, columns or text, which the file's notes name"
    if all(word.isdecimal() for word in file.lost):
        return (
            "numbers that the other works out: axes of charts, dates of the user's country, numbers of pages"
        )
    return "other words"


def report(files: list[File], seconds: float, args: argparse.Namespace) -> None:
    refused = Counter(re.sub(r"\d+", "N", file.reason) for file in files if file.reason)
    with_text = [file for file in files if not file.reason and any(map(words, file.others))]
    differing = [file for file in with_text if file.score < AGREE]
    losing = [file for file in with_text if file.lost.total() > LOST * words(file.ours).total()]
    kinds = Table("files that differ from all others", "files")
    for name, count in Counter(map(kind, differing)).most_common():
        kinds.row(name, count)
    forms = Table("form", "files", "agree", "no more than 1% of the words lost")
    for form in sorted({file.name.rpartition(".")[2].lower() for file in with_text}):
        mine = [file for file in with_text if file.name.lower().endswith(f".{form}")]
        forms.row(
            form, len(mine), sum(file.score >= AGREE for file in mine), sum(f not in losing for f in mine)
        )
    losses = Table("files that lose more than 1% of the words", "files")
    for name, count in Counter(map(why_lost, losing)).most_common():
        losses.row(name, count)
    reasons = Table("files that were not read", "files")
    for name, count in refused.most_common():
        reasons.row(name, count)
    if args.differing:
        shown = sorted({*map(id, differing), *map(id, losing)})
        args.differing.write_text(
            "".join(f"{json.dumps(line(file))}\n" for file in with_text if id(file) in shown),
            encoding="utf-8",
        )
    listed = (f"{file.digest}\t{file.name}\t{file.reason}" for file in files)
    (RESULTS / "reading_office_files.tsv").write_text(
        "\n".join(["sha256\tfile\tnot read", *listed]) + "\n", encoding="utf-8"
    )
    whole, agree = len(with_text) - len(losing), len(with_text) - len(differing)
    libreoffice = (ran("soffice", "--version").split() or ["?", "?"])[1]
    pandoc = (ran("pandoc", "--version").split() or ["?", "?"])[1]
    write_results(
        "reading_office",
        "# Office files, word by word beside LibreOffice and pandoc",
        machine(),
        f"Python {platform.python_version()}, LibreOffice {libreoffice}, pandoc {pandoc}",
        f"{len(files)} files, {sum(refused.values())} not read, {len(with_text)} with text by one of the others. "
        f"Reading them took {seconds:.1f} s here.",
        f"**{whole} of {len(with_text)} files ({whole / max(1, len(with_text)):.1%}) lose no more than 1% of the "
        f"words that all others have; {agree} ({agree / max(1, len(with_text)):.1%}) agree** with one of them "
        f"(bag of words, F1 >= {AGREE}).",
        forms,
        kinds,
        losses,
        reasons,
    )


def line(file: File) -> dict[str, object]:
    here = words(file.ours)
    everyone = reduce(lambda one, other: one | other, map(words, file.others))
    return {
        "file": file.name, "kind": kind(file), "score": round(file.score, 4), "words": here.total(),
        "others": [words(text).total() for text in file.others],
        "lost": file.lost.most_common(30), "more": (here - everyone).most_common(30),
    }  # fmt: skip


if __name__ == "__main__":
    main()
