"""The wheel, installed alone: what a user of the package index gets, not what lies in this checkout."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from weightwright import __version__

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, sees the installed requirements, and not the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(folder.glob("*.whl"))
    venv.create(folder / "env", with_pip=False)
    site = next((folder / "env" / "lib").glob("python*")) / "site-packages"
    # a .pth inside a folder that a .pth names is not read, so the editable checkout stays out
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
    install += ["--prefix", folder / "env", "--ignore-installed", "--quiet", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "env"


def run(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bare / "bin" / arguments[0], *arguments[1:]], capture_output=True, text=True, cwd=bare, check=False
    )


def test_the_commands_run_from_the_wheel(bare: Path) -> None:
    for command in ("weightwright", "ww"):
        shown = run(bare, command, "--version")
        assert (shown.returncode, shown.stdout.strip()) == (0, f"weightwright {__version__}")
    where = run(bare, "python", "-c", "import weightwright; print(weightwright.__file__)")
    assert where.stdout.startswith(str(bare))


def test_data_files_are_in_the_wheel(bare: Path) -> None:
    written = run(bare, "weightwright", "init", "tune", "--out", "tune.yaml")
    assert written.returncode == 0, written.stderr
    assert "learning_rate" in (bare / "tune.yaml").read_text()
