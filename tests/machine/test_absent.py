"""Why a device cannot be used: what torch lacks, told apart by what this machine has."""

import pytest
import torch

from weightwright.errors import SettingsError
from weightwright.machine import absent
from weightwright.machine.device import pick_device
from weightwright.machine.facts import _accelerators, facts


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of one's choice: driver, torch's builds, system."""

    def make(*, driver=False, cuda=None, hip=None, xpu=False, system="Linux", processor="x86_64"):
        monkeypatch.setattr(absent, "_NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
        monkeypatch.setattr(absent.shutil, "which", lambda name: None)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(torch.xpu, "_is_compiled", lambda: xpu)
        monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(absent.platform, "system", lambda: system)
        monkeypatch.setattr(absent.platform, "machine", lambda: processor)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return make


@pytest.mark.parametrize(
    ("kind", "there", "said"),
    [
        ("cuda", {}, "is built without CUDA; install the build"),
        ("cuda", {"driver": True}, "is built without CUDA; install the build"),
        ("cuda", {"cuda": "13.0"}, "no NVIDIA driver.*--gpus all"),
        ("cuda", {"cuda": "13.0", "driver": True}, "built for CUDA 13.0, sees no card; nvidia-smi says why"),
        ("cuda", {"hip": "7.0"}, "built for ROCm, sees no card; rocminfo"),
        ("mps", {}, "MPS is macOS's on Apple silicon"),
        ("mps", {"system": "Darwin"}, "needs Apple silicon and a Python for it"),
        ("mps", {"system": "Darwin", "processor": "arm64"}, "needs macOS 14 or newer"),
        ("xpu", {}, "is built without XPU; install the build"),
        ("xpu", {"xpu": True}, "sees no Intel card.*setvars.sh"),
    ],
)
def test_what_is_missing(machine, kind, there, said):
    machine(**there)
    with pytest.raises(
        SettingsError, match=f"device='{kind}' is not on this machine: .*{said}.*; here: cpu"
    ) as error:
        pick_device(kind)
    assert "\n" not in str(error.value)


def test_hidden_cards_are_named(machine, monkeypatch):
    machine(cuda="13.0", driver=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' hides cards" in absent.why_absent("cuda")


@pytest.mark.parametrize(
    ("there", "unused"),
    [({}, []), ({"driver": True}, ["cuda"]), ({"system": "Darwin", "processor": "arm64"}, ["mps"])],
)
def test_doctor_names_hardware_that_torch_does_not_use(machine, there, unused):
    machine(**there)
    assert absent.unused() == unused
    assert list(facts()["device"]["unused"]) == unused


def test_doctor_names_cards_of_every_kind(monkeypatch):
    found = type("Properties", (), {"total_memory": 16 * 2**30})()
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda i: f"Arc {i}")
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda i: found)
    assert _accelerators() == [{"name": f"Arc {i}", "memory_bytes": 16 * 2**30} for i in range(2)]
