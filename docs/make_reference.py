"""Write docs/reference.md from the verbs' own help: `python docs/make_reference.py`."""

import io
from pathlib import Path

from rich.console import Console

from weightwright.cli.app import GROUPS, VERBS, build

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Every option

What `weightwright VERB --help` says; made by `docs/make_reference.py`. Flags are the names of the settings,
in YAML and in the environment too (see [Settings](settings.md)).
"""


def reference() -> str:
    """The page's text."""
    names = [(name,) for name, *_ in VERBS]
    names += [(group, verb) for group, _, _, verbs in GROUPS for verb, *_ in verbs]
    sections = [HEAD]
    for name in sorted(names):
        console = Console(file=io.StringIO(), width=100, color_system=None, force_terminal=False)
        app = build()
        app.help_formatter = "plain"
        app([*name, "--help"], console=console)
        shown = "\n".join(line.rstrip() for line in console.file.getvalue().strip().splitlines())
        sections.append(f"## {' '.join(name)}\n\n```text\n{shown}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
