"""Settings from file, environment and flags: one definition, one precedence, clear errors."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from weightwright.config import Settings, leaves, load, to_yaml
from weightwright.errors import SettingsError, UsageError


class Inner(Settings):
    precision: str = Field("auto", description="precision")
    rows: int = Field(4, ge=1, description="rows")


class Outer(Settings):
    model: str = Field(description="the model")
    rank: int = Field(8, ge=1, description="LoRA rank")
    targets: tuple[str, ...] = ()
    engine: Inner = Inner()


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), min_size=1)


def read(tmp_path: Path, text: str = "model: m", environment=(), flags=()) -> Outer:
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return load(Outer, section="tune", file=file, environment=dict(environment), flags=dict(flags))


def test_flags_beat_environment_beats_file(tmp_path: Path) -> None:
    text = "model: file\nrank: 1\nengine: {rows: 1, precision: file}"
    environment = {"WEIGHTWRIGHT_TUNE__RANK": "2", "WEIGHTWRIGHT_TUNE__ENGINE__ROWS": "2"}
    flags = {("engine", "rows"): 3}
    got = read(tmp_path, text, environment, flags)
    assert (got.model, got.rank, got.engine.rows, got.engine.precision) == ("file", 2, 3, "file")


def test_other_sections_of_the_environment_are_left_alone(tmp_path: Path) -> None:
    assert read(tmp_path, environment={"WEIGHTWRIGHT_SERVE__NOPE": "1", "WEIGHTWRIGHT_HOME": "/x"}).rank == 8


@given(rank=st.integers(1, 99), rows=st.integers(1, 99), targets=st.lists(PRINTABLE, max_size=3))
def test_yaml_round_trip(tmp_path_factory, rank: int, rows: int, targets: list[str]) -> None:
    settings = Outer(model="你好: #x", rank=rank, targets=tuple(targets), engine=Inner(rows=rows))
    file = tmp_path_factory.mktemp("yaml") / "s.yaml"
    file.write_text(to_yaml(settings), encoding="utf-8")
    assert load(Outer, section="tune", file=file, environment={}) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: m\nrnk: 3", "settings.yaml: unknown key 'rnk'; did you mean rank\\?"),
        ("model: m\nengine: {rowz: 3}", "unknown key 'engine.rowz'; did you mean rows\\?"),
        ("model: m\nrank: 0", "settings.yaml: rank=0: Input should be greater than or equal to 1"),
        ("model: m\nrank: many", "rank='many': Input should be a valid integer"),
        ("- 1\n- 2", "must hold `key: value` lines, found list"),
        ("model: [", "is not valid YAML"),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, text)


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WEIGHTWRIGHT_TUNE__RANG; did you mean WEIGHTWRIGHT_TUNE__RANK"):
        read(tmp_path, environment={"WEIGHTWRIGHT_TUNE__RANG": "1"})
    with pytest.raises(SettingsError, match="WEIGHTWRIGHT_TUNE__RANK: rank='x'"):
        read(tmp_path, environment={"WEIGHTWRIGHT_TUNE__RANK": "x"})


def test_what_is_given_nowhere_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="model is required"):
        read(tmp_path, "rank: 3")


@pytest.mark.parametrize("make", ["absent", "folder", "latin-1"])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, make: str) -> None:
    file = tmp_path / "x.yaml"
    if make == "folder":
        file.mkdir()
    elif make == "latin-1":
        file.write_bytes("model: Zwölf".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"cannot read settings from .*x\.yaml"):
        load(Outer, section="tune", file=file, environment={})


def test_leaves_open_nested_settings_in_order() -> None:
    keys = ["model", "rank", "targets", "engine.precision", "engine.rows"]
    assert [leaf.key for leaf in leaves(Outer)] == keys
