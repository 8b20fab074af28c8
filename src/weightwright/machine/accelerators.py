"""Known accelerators: their published peaks, dense (without sparsity), and where each is published."""

from dataclasses import dataclass

from weightwright.config import nearest
from weightwright.errors import SettingsError

_NVIDIA = "https://www.nvidia.com/en-us/data-center/"
_ADA = "NVIDIA Ada GPU architecture whitepaper, appendix A"
_AMPERE = "NVIDIA Ampere GA102 GPU architecture whitepaper, appendix A"
_BLACKWELL = "NVIDIA RTX Blackwell GPU architecture whitepaper, appendix A"
_AMD = "https://www.amd.com/en/products/accelerators/instinct/"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """Published peaks: products in TFLOP/s with f32 sums, memory in GB/s and GB (10⁹ bytes).

    `bf16_tflops` is None where bf16 is not computed natively: f32 is taken there. `f32_tflops` is None where none
    is published.
    """

    name: str
    bf16_tflops: float | None
    f32_tflops: float | None
    memory_gb_per_s: float
    memory_gb: float
    source: str

    def tflops(self, precision: str) -> float:
        """The peak in `f32`, else in bf16 where there is one. Raises SettingsError where none is published."""
        peak = self.f32_tflops if precision == "f32" or self.bf16_tflops is None else self.bf16_tflops
        if peak is None:
            raise SettingsError(
                f"accelerator={self.name}: no peak of f32 products is published; ask for another --precision, or "
                "plan without --accelerator"
            )
        return peak


_ALL = (
    Accelerator("b200", 2250, 75, 8000, 180, "NVIDIA DGX B200 datasheet, an eighth of it"),
    Accelerator("h200", 989, 67, 4800, 141, f"{_NVIDIA}h200/"),
    Accelerator("h100", 989, 67, 3350, 80, f"{_NVIDIA}h100/ (SXM)"),
    Accelerator("h100-pcie", 756, 51, 2000, 80, "NVIDIA H100 PCIe product brief PB-11133"),
    Accelerator("h100-nvl", 835, 60, 3900, 94, f"{_NVIDIA}h100/ (NVL)"),
    Accelerator("h20", 148, 44, 4000, 96, "NVIDIA H20 datasheet, as quoted by its vendors"),
    Accelerator("a100-80gb", 312, 19.5, 2039, 80, f"{_NVIDIA}a100/ (SXM)"),
    Accelerator("a100-40gb", 312, 19.5, 1555, 40, f"{_NVIDIA}a100/ (SXM)"),
    Accelerator("l40s", 362, 91.6, 864, 48, f"{_NVIDIA}l40s/"),
    Accelerator("l4", 121, 30.3, 300, 24, f"{_NVIDIA}l4/"),
    Accelerator("a10", 125, 31.2, 600, 24, f"{_NVIDIA}products/a10-gpu/"),
    Accelerator("a40", 149.7, 37.4, 696, 48, f"{_NVIDIA}a40/"),
    Accelerator("a6000", 154.8, 38.7, 768, 48, "NVIDIA RTX A6000 datasheet"),
    Accelerator("rtx-6000-ada", 364.2, 91.1, 960, 48, "NVIDIA RTX 6000 Ada datasheet"),
    Accelerator("rtx-5090", 209.5, 104.8, 1792, 32, _BLACKWELL),
    Accelerator("rtx-4090", 165.2, 82.6, 1008, 24, _ADA),
    Accelerator("rtx-3090", 71, 35.6, 936, 24, _AMPERE),
    Accelerator("v100", None, 15.7, 900, 32, "NVIDIA V100 datasheet (SXM2)"),
    Accelerator("t4", None, 8.1, 320, 16, "NVIDIA T4 datasheet"),
    Accelerator("mi325x", 1307.4, 163.4, 6000, 256, f"{_AMD}mi300/mi325x.html"),
    Accelerator("mi300x", 1307.4, 163.4, 5300, 192, f"{_AMD}mi300/mi300x.html"),
    Accelerator("mi250x", 383, 47.9, 3277, 128, f"{_AMD}mi200/mi250x.html"),
    Accelerator("gaudi-2", 432, None, 2450, 96, "Intel Gaudi 2 white paper"),
    Accelerator("gaudi-3", 1835, None, 3700, 128, "Intel Gaudi 3 white paper"),
    Accelerator("ascend-910c", 752, None, 3200, 128, "Huawei CloudMatrix384 (arXiv 2506.12708), both dies"),
)  # fmt: skip
_ALIASES = {
    "a100": "a100-80gb",
    "h100-sxm": "h100",
    "4090": "rtx-4090",
    "3090": "rtx-3090",
    "5090": "rtx-5090",
}
KNOWN = {one.name: one for one in _ALL}


def accelerator(name: str) -> Accelerator:
    """The accelerator of that name, however it is spelled (`RTX 4090`). Raises SettingsError naming those known."""
    key = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    key = key.removeprefix("nvidia-").removeprefix("amd-").removeprefix("geforce-")
    key = _ALIASES.get(key, key)
    joined = {known.replace("-", ""): known for known in KNOWN}  # rtx4090
    key = joined.get(key.replace("-", ""), key)
    if key not in KNOWN:
        raise SettingsError(f"accelerator={name!r} is not known{nearest(key, KNOWN)}")
    return KNOWN[key]
