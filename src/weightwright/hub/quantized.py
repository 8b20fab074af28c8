"""Checkpoints that come quantised: which can be read, and why the others cannot. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightwright.hub import weight_files

# transformers makes plain weights of these by itself where there is no GPU
_BY_TRANSFORMERS = {"fp8", "mxfp4"}
_NAMES = {
    "gptq": "GPTQ", "awq": "AWQ", "bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed-tensors",
    "hqq": "HQQ", "aqlm": "AQLM", "auto-round": "AutoRound", "fbgemm_fp8": "FBGEMM FP8", "torchao": "torchao",
    "quanto": "quanto", "eetq": "EETQ", "bitnet": "BitNet", "modelopt": "ModelOpt", "quark": "Quark",
}  # fmt: skip
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_REMEDY = ("take the original model (its weights are packed at load: --precision int4 or int8), "
           "a GPTQ or AWQ version in 4 bits, or a GGUF file")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the weights of a GPTQ or AWQ checkpoint are stored.

    `group` inputs share a scale (-1: all), `zero_shift` is added to a stored zero point.
    """

    method: str
    bits: int
    group: int
    zero_shift: int = 0

    def __str__(self) -> str:
        groups = f"in groups of {self.group}" if self.group > 0 else "one scale an output"
        return f"{_NAMES[self.method]}, {self.bits} bits {groups}"


def quantization(folder: Path) -> dict[str, Any]:
    """What a folder says about how its weights are quantised, {} where they are not.

    With `experts` added: whether the model is a mixture of experts.
    """
    return of_config(weight_files.read_json(folder / "config.json"), folder)


def of_config(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same, from the content of the folder's config.json."""
    quantized = config.get("quantization_config") or config.get("compression_config")
    if quantized is None and (folder / "quantize_config.json").is_file():  # GPTQ checkpoints of 2023
        quantized = {"quant_method": "gptq"} | weight_files.read_json(folder / "quantize_config.json")
    return {**quantized, "experts": any(config.get(name) for name in _EXPERTS)} if quantized else {}


def method(values: dict[str, Any]) -> str:
    """The method as transformers names it, "" where nothing is quantised."""
    if not values:
        return ""
    if "quant_method" not in values and ("load_in_4bit" in values or "load_in_8bit" in values):
        return "bitsandbytes"  # before transformers wrote the method
    return str(values.get("quant_method", "unnamed")).lower().removeprefix("intel/")


def scheme(values: dict[str, Any]) -> Scheme | None:
    """How GPTQ or AWQ weights are stored; None for other methods. Only where `refusal` says nothing."""
    if method(values) == "awq":
        return Scheme("awq", 4, int(values.get("group_size", values.get("q_group_size")) or 128))
    if method(values) != "gptq":
        return None
    shift = 0 if values.get("checkpoint_format") == "gptq_v2" else 1  # the first version stored zero - 1
    return Scheme("gptq", int(values["bits"]), int(values.get("group_size") or -1), shift)


def refusal(values: dict[str, Any]) -> str:
    """Why a checkpoint that is quantised so cannot be read, with the remedy; "" where it can."""
    kind = method(values)
    if not kind or kind in _BY_TRANSFORMERS:
        return ""
    why = _unread(kind, values)
    return f"its weights are quantised with {_NAMES.get(kind, kind)}{why}; {_REMEDY}" if why else ""


def _unread(kind: str, values: dict[str, Any]) -> str:
    bits = values.get("bits", values.get("w_bit", 4 if kind == "awq" else None))
    if kind == "awq":
        layout = str(values.get("version", "gemm")).lower()
        if bits != 4:
            return f" in {bits} bits, of which only 4 can be read here"
        if layout != "gemm":
            return f" in the layout {layout.upper()}, of which only GEMM can be read here"
        return "" if values.get("zero_point", True) else " without zero points, which cannot be read here"
    if kind == "gptq":
        layout = "marlin" if values.get("is_marlin_format") else str(values.get("checkpoint_format", "gptq"))
        if bits not in (4, 8):
            return f" in {bits} bits, of which only 4 and 8 can be read here"
        if layout not in ("gptq", "gptq_v2"):
            return f" in the layout {layout}, which only a GPU kernel can read"
        return " with other bits for some layers, which cannot be read here" if values.get("dynamic") else ""
    return ", which cannot be read here"
