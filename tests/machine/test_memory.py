"""Free memory inside containers: cgroups of both versions, nested, seen from inside and from outside."""

from pathlib import Path

import psutil
import pytest

from weightwright.machine.memory import Memory, main_memory, within_groups

GB = 10**9
MACHINE = Memory(50 * GB, 64 * GB)
FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
UNLIMITED = {2: "max", 1: 9223372036854771712}


def group(folder: Path, version: int, limit: object, taken: int, reclaimable: int = 0) -> None:
    names = FILES[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {reclaimable}\nactive_file 7\n")


def own(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "own"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(params=[1, 2])
def version(request) -> int:
    return request.param


def root_of(tmp_path: Path, version: int) -> Path:
    return tmp_path / "groups" if version == 2 else tmp_path / "groups" / "memory"


def line_of(version: int, path: str) -> str:
    return f"0::{path}" if version == 2 else f"4:memory:{path}"


def within(tmp_path: Path, version: int, path: str) -> Memory:
    beside = ["8:pids:/a/b", "1:name=systemd:/x"] if version == 1 else []
    return within_groups(MACHINE, tmp_path / "groups", own(tmp_path, *beside, line_of(version, path)))


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path, version):
    group(root_of(tmp_path, version), version, 8 * GB, 6 * GB, 5 * GB)
    assert within(tmp_path, version, "/") == (7 * GB, 8 * GB)


def test_a_container_that_reads_the_path_of_outside(tmp_path, version):
    group(root_of(tmp_path, version), version, 8 * GB, 6 * GB)
    assert within(tmp_path, version, "/docker/0123abcd") == (2 * GB, 8 * GB)
    assert within(tmp_path, version, "/../../pod/1") == (2 * GB, 8 * GB)


def test_the_tightest_of_nested_groups_holds_for_each_number(tmp_path, version):
    root = root_of(tmp_path, version)
    group(root / "slice", version, 10 * GB, 9 * GB)  # beside this process others take much of it
    group(root / "slice" / "service", version, 4 * GB, 1 * GB)
    group(root / "slice" / "service" / "task", version, UNLIMITED[version], 1 * GB)
    assert within(tmp_path, version, "/slice/service/task") == (1 * GB, 4 * GB)
    assert within(tmp_path, version, "/slice") == (1 * GB, 10 * GB)


def test_no_limit_or_a_wider_one_leaves_the_machines_memory(tmp_path, version):
    root = root_of(tmp_path, version)
    group(root / "a", version, UNLIMITED[version], 60 * GB)
    assert within(tmp_path, version, "/a") == MACHINE
    group(root / "a", version, 500 * GB, 60 * GB)
    assert within(tmp_path, version, "/a") == MACHINE


def test_more_taken_than_the_limit_leaves_nothing(tmp_path, version):
    group(root_of(tmp_path, version), version, 2 * GB, 3 * GB)
    assert within(tmp_path, version, "/") == (0, 2 * GB)
    group(root_of(tmp_path, version), version, 2 * GB, 1 * GB, 3 * GB)
    assert within(tmp_path, version, "/") == (2 * GB, 2 * GB)


def test_systems_without_groups(tmp_path):
    assert within_groups(MACHINE, tmp_path / "no", tmp_path / "none") == MACHINE
    assert within_groups(MACHINE, tmp_path / "no", own(tmp_path, "0::/")) == MACHINE


def test_this_process_has_memory():
    free, total = main_memory()
    assert 0 < free <= total <= psutil.virtual_memory().total
