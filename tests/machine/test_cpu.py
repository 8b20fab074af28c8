"""The CPU's features, and acting as a CPU that has fewer."""

import json
import os
import subprocess
import sys

import pytest

from weightwright.cli.app import main
from weightwright.errors import SettingsError
from weightwright.machine import cpu

ALL = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
PRODUCTS = """
import weightwright, torch, json, os
from weightwright.machine import cpu
from numba.core.registry import cpu_target
print(json.dumps({
    "features": cpu.features(),
    "torch": torch.backends.cpu.get_cpu_capability(),
    "numba": str(cpu_target.target_context.codegen().magic_tuple()),
}))
torch.ops.mkldnn._linear_pointwise(torch.ones(8, 64), torch.ones(64, 64), None, "none", [], "")
"""


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch):
    """A CPU with the given features that acts as the named one."""

    def set_to(*features: str, acts_as: str = "") -> None:
        monkeypatch.setattr(cpu, "own_features", lambda: features)
        monkeypatch.setenv(cpu.VARIABLE, acts_as)
        cpu._features.cache_clear()

    yield set_to
    cpu._features.cache_clear()


@pytest.mark.parametrize(
    ("name", "used"),
    [("", ALL), ("avx2", ALL[:1]), ("avx512", ALL[:2]), ("avx512_vnni", ALL[:3])],
)
def test_features_are_those_of_the_cpu_that_is_acted_as(has, name: str, used: tuple[str, ...]) -> None:
    has(*ALL, acts_as=name)
    assert cpu.features() == used


def test_what_cannot_be_acted_as_is_refused_and_limits_nothing(has) -> None:
    for features, name, says in (
        (ALL, "avx3", "known: avx2, avx512, avx512_vnni"),
        (("avx2",), "avx512", "needs avx512f, which this CPU lacks"),
        (("asimd",), "avx2", "needs avx2, which this CPU lacks"),
    ):
        has(*features, acts_as=name)
        environment = {cpu.VARIABLE: name}
        cpu.act_as(environment)
        assert environment == {cpu.VARIABLE: name}
        with pytest.raises(SettingsError, match=says):
            cpu.features()


@pytest.mark.skipif("avx2" not in cpu.own_features(), reason="this CPU has no AVX2 to act with")
def test_every_library_is_held_to_it() -> None:
    """torch's operators, oneDNN and numba each say what they use."""
    environment = os.environ | {cpu.VARIABLE: "avx2", "ONEDNN_VERBOSE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True, env=environment
    )
    first, *verbose = run.stdout.splitlines()
    found = json.loads(first)
    assert found["features"] == ["avx2"]
    assert found["torch"] == "AVX2"
    assert "haswell" in found["numba"]
    assert "avx512" not in found["numba"]
    [isa] = [line for line in verbose if "info,cpu,isa" in line]
    assert "AVX2" in isa
    assert "AVX-512" not in isa


def test_doctor_says_what_is_kept_from_use(has, capsys: pytest.CaptureFixture[str]) -> None:
    has(*ALL, acts_as="avx2")
    assert main(["doctor"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "features avx2 (WEIGHTWRIGHT_CPU keeps from use: avx512f avx512_vnni avx512_bf16 amx_bf16)" in shown
    )
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cpu"]["features"] == ["avx2"]
    has(*ALL, acts_as="avx3")
    assert main(["doctor"]) == 1
    assert "WEIGHTWRIGHT_CPU='avx3' is no CPU to act as" in capsys.readouterr().err
