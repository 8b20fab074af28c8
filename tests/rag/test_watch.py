"""`kb sync --watch`: a folder followed while files come, change and go."""

from pathlib import Path

import pytest

from weightwright.kb import KbListSettings, KbSyncSettings, follow, listing


@pytest.mark.timeout(120)
def test_changes_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("Owls hunt at night.", encoding="utf-8")
    kb = folder / "kb.db"  # its own file there is no change
    reports = follow(KbSyncSettings(kb=str(kb), folder=str(folder), embedder="minilm"))
    assert next(reports).documents == 1
    (folder / "b.txt").write_text("Herons fish by day.", encoding="utf-8")
    assert next(reports).documents == 1
    (folder / "a.txt").write_text("Owls sleep by day.", encoding="utf-8")
    (folder / "b.txt").unlink()
    done = [next(reports)]
    while sum(report.removed for report in done) < 1 or sum(report.documents for report in done) < 1:
        done.append(next(reports))  # the two may be seen in two rounds
    assert [info.id for info in listing(KbListSettings(kb=str(kb))).documents] == ["a.txt"]
    reports.close()
