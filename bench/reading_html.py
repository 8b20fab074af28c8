"""How HTML files are read, beside a browser: python bench/reading_html.py FOLDER --browser PYTHON --cache FOLDER

FOLDER holds the pages, which stay outside the repository; PYTHON is one that has playwright, which is no dependency
of ours, --chromium the browser that it starts. Of each folder in FOLDER --each pages are drawn. Nothing but files is
loaded, and no script of another file. A page agrees where its bag of words has F1 >= 0.98 with the browser's
innerText.

What we leave out on purpose is left out of the browser's page, too: navigation, search and menus (said by element or
role), input fields, deleted text, closed dialogs, links of headings to themselves, and beside a page's <main> its
header, footer and asides; they are no content, or are repeated on every page of a site. Closed <details> are opened,
and what is drawn only once it is scrolled to (content-visibility: auto) is drawn: a person finds both there.
The numbers of lists, which a browser shows and innerText does not have, are written into the page before.
Writes bench/results/NAME.md and NAME_files.tsv (sha256, name, F1).
"""

import argparse
import hashlib
import json
import platform
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from harness.report import RESULTS, Table, machine, write_results
from harness.words import AGREE, f1, glued, words

ENDINGS = (".html", ".htm", ".xhtml")
_BROWSER = """
import json, sys
from playwright.sync_api import Error, sync_playwright

SHOWN = '''() => {
  const out = ['nav',
    'select', 'textarea', 'del', 's', 'strike', 'dialog:not([open])', 'rp',
    '[role=navigation]', '[role=search]', '[role=menu]', '[role=menubar]',
    'meter', 'progress', '[popover]', 'noscript'];
  document.querySelectorAll(out.join(',')).forEach(e => e.remove());
  for (const e of document.querySelectorAll('body *'))
    if (getComputedStyle(e).textDecorationLine.includes('line-through')) e.remove();
  const links = 'a[class*=headerlink],a[class*=anchor],a[class*=permalink]';
  for (const a of document.querySelectorAll(links))
    if (['', '¶', '#', '§', '🔗'].includes(a.textContent.trim())) a.remove();
  const length = e => { const c = e.cloneNode(true);
    c.querySelectorAll('script,style,noscript,template,svg').forEach(x => x.remove()); return c.textContent.length };
  const mains = document.querySelectorAll('main,[role=main]');
  if (mains.length == 1 && document.body && length(mains[0]) >= .5 * length(document.body))
    document.querySelectorAll('header,footer,aside,[role=banner],[role=contentinfo],[role=complementary]')
      .forEach(e => { if (!mains[0].contains(e) && !e.contains(mains[0])) e.remove() });
  document.querySelectorAll('details').forEach(e => e.open = true);
  const drawn = document.createElement('style');
  drawn.textContent = '* { content-visibility: visible !important }';
  document.documentElement.append(drawn);
  for (const list of document.querySelectorAll('ol')) {
    const items = [...list.children].filter(e => e.tagName == 'LI'), step = list.reversed ? -1 : 1;
    let number = (list.hasAttribute('start') ? list.start : list.reversed ? items.length : 1) - step;
    for (const item of items) {
      number = item.hasAttribute('value') ? item.value : number + step;
      const style = getComputedStyle(item);
      if (style.display == 'list-item' && style.listStyleType == 'decimal') item.prepend(number + '. ');
    }
  }
  const text = document.body ? document.body.innerText : document.documentElement.innerText || '';
  return text;
}'''


def local(route):
    address = route.request.url.split('?')[0].split('#')[0]
    route.continue_() if address.startswith('file:') and not address.endswith('.js') else route.abort()


with sync_playwright() as tool:
    browser = tool.chromium.launch(executable_path=sys.argv[1], args=['--no-sandbox'])
    print(json.dumps({'version': browser.version}))
    live, still = browser.new_page(), browser.new_context(java_script_enabled=False).new_page()
    for page in (live, still):
        page.route('**/*', local)
    for name in sys.stdin.read().splitlines():
        address = 'file://' + name.replace('%', '%25').replace('#', '%23').replace('?', '%3F')
        said = {'file': name}
        for kind, page in (('text', live), ('still', still)):
            try:
                page.goto(address, timeout=30000)
                said[kind] = page.evaluate(SHOWN)
            except Error as error:
                said['error'] = str(error).splitlines()[0]
        print(json.dumps(said))
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One page by both."""

    file: str
    digest: str
    ours: str
    browser: str
    still: str  # what the browser shows where the page's scripts do not run

    @property
    def score(self) -> float:
        """F1 with what the browser shows."""
        return f1(words(self.ours), words(self.browser))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--browser", type=Path, required=True, help="a Python that has playwright")
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    parser.add_argument("--cache", type=Path, required=True, help="where the browser's words are kept")
    parser.add_argument("--each", type=int, default=8, help="pages of each folder")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--name", default="reading_html", help="of the files of results")
    parser.add_argument("--differing", type=Path, help="write the pages that differ, as JSON lines")
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    args.cache.mkdir(parents=True, exist_ok=True)
    paths = list(drawn(args.folder, args.each, args.seed))
    shown, chromium = in_browser(paths, args)
    start = time.perf_counter()
    pages = []
    for path in paths:
        if path in shown:
            digest, name = hashlib.sha256(path.read_bytes()).hexdigest(), str(path.relative_to(args.folder))
            pages.append(Page(name, digest, ours(path), *shown[path]))
    report(pages, len(paths), chromium, time.perf_counter() - start, args)


def drawn(folder: Path, each: int, seed: int) -> Iterator[Path]:
    """Some pages of each folder in this one, the same ones each time."""
    draw = random.Random(seed)
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = sorted(
            path
            for path in source.rglob("*")
            if path.suffix.lower() in ENDINGS and path.is_file() and not path.is_symlink()
            and 2000 < path.stat().st_size < 800_000
        )  # fmt: skip
        yield from draw.sample(found, min(len(found), each))


def in_browser(paths: list[Path], args: argparse.Namespace) -> tuple[dict[Path, tuple[str, str]], str]:
    """The text that a browser shows of each page, with its scripts and without, and the browser's version."""
    key = hashlib.sha256("\n".join([_BROWSER, *map(str, paths)]).encode()).hexdigest()[:16]
    kept = args.cache / f"{key}.jsonl"
    if not kept.exists():
        done = subprocess.run(
            [args.browser, "-c", _BROWSER, args.chromium],
            input="\n".join(map(str, paths)), capture_output=True, text=True, check=True,
        )  # fmt: skip
        kept.write_text(done.stdout, encoding="utf-8")
    first, *lines = map(json.loads, kept.read_text(encoding="utf-8").splitlines())
    return {
        Path(line["file"]): (line["text"], line.get("still", "")) for line in lines if "text" in line
    }, first["version"]


def ours(path: Path) -> str:
    """What we read of it; fences and the bars of tables are no words."""
    from weightwright.ports import Document
    from weightwright.rag.load import Source, load
    from weightwright.rag.settings import LoadSettings

    texts = [
        item.text for item in load(Source(path, path.name), LoadSettings()) if isinstance(item, Document)
    ]
    return re.sub(r"^```.*$", "", "\n".join(texts), flags=re.MULTILINE)


def kind(page: Page) -> str:
    """Why a page differs, as far as a rule can tell."""
    here, there = words(page.ours), words(page.browser)
    if f1(here, words(page.still)) >= AGREE:
        return "changed by the page's own scripts; without them they agree"
    if f1(glued(here), glued(there)) >= AGREE:
        return "the same characters, other gaps between words"
    more, missing = (here - there).total(), (there - here).total()
    if more > 2 * missing:
        return "words only here"
    return "words only in the browser" if missing > 2 * more else "other words"


def report(pages: list[Page], asked: int, chromium: str, seconds: float, args: argparse.Namespace) -> None:
    with_text = [page for page in pages if words(page.browser)]
    differing = [page for page in with_text if page.score < AGREE]
    table = Table("pages that differ", "pages")
    for name, count in Counter(map(kind, differing)).most_common():
        table.row(name, count)
    sources = Table("folder", "pages", "agree")
    for source in sorted({page.file.split("/")[0] for page in with_text}):
        mine = [page for page in with_text if page.file.split("/")[0] == source]
        sources.row(source, len(mine), sum(page.score >= AGREE for page in mine))
    if args.differing:
        args.differing.write_text(
            "".join(f"{json.dumps(line(page))}\n" for page in sorted(differing, key=lambda page: page.score)),
            encoding="utf-8",
        )
    listed = (f"{page.digest}\t{page.file}\t{page.score:.4f}" for page in pages)
    (RESULTS / f"{args.name}_files.tsv").write_text(
        "\n".join(["sha256\tfile\tF1", *listed]) + "\n", encoding="utf-8"
    )
    agree = len(with_text) - len(differing)
    write_results(
        args.name,
        "# HTML files, word by word beside a browser",
        machine(),
        f"Python {platform.python_version()}, selectolax {version('selectolax')}, Chromium {chromium}",
        f"{asked} pages, {len(with_text)} with text by the browser. Reading them took {seconds:.1f} s here.",
        f"**{agree} of {len(with_text)} pages ({agree / max(1, len(with_text)):.1%}) agree** with the browser's "
        f"innerText (bag of words, F1 >= {AGREE}); the mean F1 is "
        f"{sum(page.score for page in with_text) / max(1, len(with_text)):.4f}.",
        (__doc__ or "").split("\n\n")[2].strip(),
        table,
        sources,
    )


def line(page: Page) -> dict[str, object]:
    here, there = words(page.ours), words(page.browser)
    return {
        "file": page.file, "kind": kind(page), "score": round(page.score, 4),
        "more": (here - there).most_common(40), "missing": (there - here).most_common(40),
    }  # fmt: skip


if __name__ == "__main__":
    main()
