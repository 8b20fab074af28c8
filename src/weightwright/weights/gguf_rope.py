"""The rotary positions that a GGUF file's header and tensors describe, as transformers' `rope_parameters`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Value = Callable[[str], Any]

# what Llama 3.1 and its successors scale by; the original context is found by trying
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_ORIGINAL_CONTEXTS = [2**power for power in range(4, 21)]


def rope_parameters(
    value: Value, factors: Mapping[str, Sequence[float]], head_dim: int, context: int
) -> dict[str, Any]:
    """The parameters for heads of `head_dim` in a model with a context of `context` tokens.

    `value` gives a header's value by its key without the architecture, None where there is none. `factors` are the
    file's tensors `rope_freqs`, `rope_factors_long` and `rope_factors_short`, [rotary width / 2] each, by name.
    """
    width = int(value("rope.dimension_count") or head_dim)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(value("rope.freq_base") or 10000.0)}
    if width < head_dim:
        rope["partial_rotary_factor"] = width / head_dim
    factor = float(value("rope.scaling.factor") or value("rope.scale_linear") or 1.0)
    kind = value("rope.scaling.type") or "linear"
    original = int(value("rope.scaling.original_context_length") or context)
    if "rope_factors_long" in factors and "rope_factors_short" in factors:
        return rope | _long(factors, original, float(value("rope.scaling.attn_factor") or 1.0))
    if kind == "yarn":
        return rope | _yarn(value, factor, original)
    if "rope_freqs" in factors:
        return rope | _of_frequencies(factors["rope_freqs"], rope["rope_theta"], context)
    if kind == "linear" and factor != 1.0:
        return rope | {"rope_type": "linear", "factor": factor}
    return rope


def _yarn(value: Value, factor: float, original: int) -> dict[str, Any]:
    rope: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
    }
    for name, key in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow"),
                      ("attention_factor", "yarn_attn_factor")):  # fmt: skip
        if (said := value(f"rope.scaling.{key}")) is not None and said >= 0:
            rope[name] = float(said)
    if (beside := value("rope.scaling.attn_factor")) is not None:  # times what yarn takes by itself
        rope["attention_factor"] = float(beside) * (0.1 * math.log(factor) + 1 if factor > 1 else 1.0)
    if (logarithm := value("rope.scaling.yarn_log_multiplier")) is not None:
        everywhere = 10 * float(logarithm)  # converters write 0.1 times mscale_all_dim
        rope |= {"mscale": everywhere, "mscale_all_dim": everywhere}
    return rope


def _long(factors: Mapping[str, Sequence[float]], original: int, attention: float) -> dict[str, Any]:
    return {
        "rope_type": "longrope", "long_factor": list(factors["rope_factors_long"]),
        "short_factor": list(factors["rope_factors_short"]), "original_max_position_embeddings": original,
        "attention_factor": attention,
    }  # fmt: skip


def _of_frequencies(divisors: Sequence[float], theta: float, context: int) -> dict[str, Any]:
    """Llama 3.1's scaling, where these divisors of the frequencies are its own; else the divisors themselves."""
    for original in _ORIGINAL_CONTEXTS:
        rope = {"rope_type": "llama3", "factor": max(divisors), **_LLAMA3,
                "original_max_position_embeddings": original}  # fmt: skip
        tried = llama3_divisors(rope, theta, 2 * len(divisors))
        if all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(tried, divisors, strict=True)):
            return rope
    plain = {"rope_factors_long": divisors, "rope_factors_short": divisors}
    return _long(plain, context, 1.0)


def llama3_divisors(rope: Mapping[str, Any], theta: float, width: int) -> list[float]:
    """By what Llama 3.1's scaling divides each frequency, [width / 2] (transformers' `llama3` rope)."""
    factor, low, high = (float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = rope["original_max_position_embeddings"]
    divisors = []
    for i in range(0, width, 2):
        wavelength = 2 * math.pi * theta ** (i / width)
        share = (original / wavelength - low) / (high - low)
        share = min(1.0, max(0.0, share))
        divisors.append(1 / ((1 - share) / factor + share))
    return divisors
