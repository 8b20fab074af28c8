"""Options that are lists: the form in which a default is printed is the form that is accepted."""

import re

import pytest

from weightwright.cli import flags
from weightwright.cli.app import GROUPS, VERBS, main
from weightwright.cli.flags import Outcome, verb
from weightwright.compare.settings import CompareSettings
from weightwright.judge.settings import JudgeSettings

NAMES = [name for name, *_ in VERBS] + [
    f"{group} {verb[0]}" for group, _, _, verbs in GROUPS for verb in verbs
]
GIVEN = {
    "compare": ["compare", "--model", "extract", "--questions", "q", "--documents", "d"],
    "judge": ["judge", "rows.jsonl"],
    "kb eval": ["kb", "eval", "kb.db", "--queries", "q", "--qrels", "r"],
}


def listed(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Each list option of a verb and its default as the help prints it."""
    assert main([*name.split(), "--help"]) == 0
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    return dict(re.findall(r"(--[a-z-]+)(?: (?:(?!--)[^\[])*)\[default: ([^\]]*,[^\]]*)\]", text))


def test_a_printed_default_is_read_as_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    load = flags.config.load
    monkeypatch.setattr(flags.config, "load", lambda *a, **k: seen.update(settings=load(*a, **k)) or 1 / 0)
    tried = 0
    for name in NAMES:
        for option, default in listed(name, capsys).items():
            with pytest.raises(ZeroDivisionError):  # what follows the reading of settings is not run
                main([*GIVEN[name], option, default.replace(" ", "")])
            settings = seen["settings"]
            key = option.removeprefix("--").replace("-", "_")
            own = type(settings).model_fields[key].default
            assert ",".join(getattr(settings, key)) == ",".join(own), (name, option)
            tried += 1
    assert tried == 4


def test_a_list_may_be_written_with_spaces_where_no_subject_follows() -> None:
    seen: list[CompareSettings | JudgeSettings] = []

    @verb(CompareSettings, section="compare")
    def compare(settings: CompareSettings) -> Outcome | None:
        seen.append(settings)
        return None

    from cyclopts import App

    app = App(result_action="return_value", exit_on_error=False)
    app.default(compare)
    app(
        [
            "--arms",
            "rag",
            "gold",
            "--model",
            "extract",
            "--questions",
            "q",
            "--documents",
            "a",
            "b",
            "--documents",
            "c",
        ]
    )
    assert seen[0].arms == ("rag", "gold")
    assert [str(path) for path in seen[0].documents] == ["a", "b", "c"]


def test_the_subject_after_a_list_stays_the_subject(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "--metrics", "f1", "absent.jsonl"]) == 1
    assert "absent.jsonl cannot be read" in capsys.readouterr().err
