"""Short names as Ollama's users know them (`qwen2.5:7b`): which model of the hub each means; adjust them here.

A name alone means the first of its sizes. In this form a model comes in 4 bits, as its users expect: from its makers'
own GGUF files where there are such, else packed while it is read. `:q8` and `:bf16` ask for more.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from weightwright.errors import AddressError
from weightwright.home import home
from weightwright.options import Precision

_FOUR_BITS, _EIGHT_BITS = "Q4_K_M", "Q8_0"
_PLAIN: Mapping[str, Precision] = {
    "bf16": "bf16", "fp16": "bf16", "f16": "bf16", "f32": "f32", "int8": "int8", "int4": "int4"
}  # fmt: skip
# what Ollama's tags say beside a size, as in 7b-instruct-q4_K_M
_DETAILED = re.compile(r"(?P<size>[^-]+)(?:-(?:instruct|chat|it))?(?:-(?P<tag>[qf][0-9a-z_]+|bf16))?")


@dataclass(frozen=True, slots=True)
class Named:
    """A model of the hub, and its makers' repository of GGUF files ("" where there is none with 4 bits)."""

    hub_id: str
    licence: str
    gguf: str = ""

    def tag(self, asked: str) -> str:
        """The tag of an address for what stands behind a name: `q4` (and ""), `q8`, a precision, a quantisation.

        Raises AddressError for what the model is not offered in.
        """
        asked = asked.lower()
        if asked in _PLAIN:
            return _PLAIN[asked]
        if asked.startswith("q8"):
            return _EIGHT_BITS if self.gguf else "int8"
        if asked in ("", "q4") or (asked.startswith("q4") and not self.gguf):
            return _FOUR_BITS if self.gguf else "int4"
        if self.gguf and re.fullmatch(r"q[2-8](_[0-9a-z]+)*", asked):
            return asked.upper()
        raise AddressError(
            f"{self.hub_id} is not known in {asked}; expected q4 (default), q8, bf16 or f32"
            + (", or a quantisation such as Q5_K_M" if self.gguf else "")
        )

    def hub_id_for(self, tag: str | None) -> str:
        """The repository that holds the model with such a tag."""
        return self.gguf if tag and tag.upper() == tag and self.gguf else self.hub_id


def _sizes(
    name: str, licence: str, ids: Mapping[str, str], *, gguf: tuple[str, ...] = ()
) -> dict[str, Named]:
    """Entries `name:size`, and `name` for the first; those sizes that `gguf` names have a repository ID-GGUF, too."""
    made = {
        f"{name}:{size}": Named(hub_id, licence, f"{hub_id}-GGUF" if size in gguf else "")
        for size, hub_id in ids.items()
    }
    return {name: next(iter(made.values())), **made}


def _numbered(pattern: str, *sizes: str) -> dict[str, str]:
    return {f"{size.lower()}b": pattern.format(size) for size in sizes}


NAMES: Mapping[str, Named] = MappingProxyType({
    **_sizes("qwen2.5", "apache-2.0 (3b: qwen-research, 72b: qwen)",
             _numbered("Qwen/Qwen2.5-{}B-Instruct", "7", "0.5", "1.5", "3", "14", "32", "72"),
             gguf=("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b")),
    **_sizes("qwen2.5-coder", "apache-2.0 (3b: qwen-research)",
             _numbered("Qwen/Qwen2.5-Coder-{}B-Instruct", "7", "0.5", "1.5", "3", "14", "32"),
             gguf=("0.5b", "1.5b", "3b", "7b", "14b", "32b")),
    **_sizes("qwen3", "apache-2.0", _numbered("Qwen/Qwen3-{}B", "8", "0.6", "1.7", "4", "14", "32"),
             gguf=("4b", "8b", "14b", "32b")),
    **_sizes("llama3.2", "llama3.2", _numbered("meta-llama/Llama-3.2-{}B-Instruct", "3", "1")),
    **_sizes("llama3.1", "llama3.1", _numbered("meta-llama/Llama-3.1-{}B-Instruct", "8", "70")),
    **_sizes("llama3", "llama3", _numbered("meta-llama/Meta-Llama-3-{}B-Instruct", "8", "70")),
    **_sizes("llama2", "llama2", _numbered("meta-llama/Llama-2-{}b-chat-hf", "7", "13", "70")),
    **_sizes("codellama", "llama2", _numbered("codellama/CodeLlama-{}b-Instruct-hf", "7", "13", "34")),
    **_sizes("vicuna", "llama2", _numbered("lmsys/vicuna-{}b-v1.5", "7", "13")),
    **_sizes("mistral", "apache-2.0", {"7b": "mistralai/Mistral-7B-Instruct-v0.3"}),
    **_sizes("mixtral", "apache-2.0", {"8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
                                       "8x22b": "mistralai/Mixtral-8x22B-Instruct-v0.1"}),
    **_sizes("yi", "apache-2.0", _numbered("01-ai/Yi-1.5-{}B-Chat", "6", "9", "34")),
    **_sizes("deepseek-llm", "deepseek", _numbered("deepseek-ai/deepseek-llm-{}b-chat", "7", "67")),
    **_sizes("deepseek-r1", "mit", {
        **_numbered("deepseek-ai/DeepSeek-R1-Distill-Qwen-{}B", "7", "1.5", "14", "32"),
        **_numbered("deepseek-ai/DeepSeek-R1-Distill-Llama-{}B", "8", "70")}),
    **_sizes("phi3", "mit", {"mini": "microsoft/Phi-3-mini-4k-instruct", "3.8b": "microsoft/Phi-3-mini-4k-instruct",
                             "medium": "microsoft/Phi-3-medium-4k-instruct",
                             "14b": "microsoft/Phi-3-medium-4k-instruct"}),
    **_sizes("phi4", "mit", {"14b": "microsoft/phi-4"}),
    **_sizes("gemma3", "gemma", _numbered("google/gemma-3-{}b-it", "4", "1", "12", "27")),
    **_sizes("gemma2", "gemma", _numbered("google/gemma-2-{}b-it", "9", "2", "27")),
    **_sizes("gemma", "gemma", _numbered("google/gemma-{}b-it", "7", "2")),
    **_sizes("smollm2", "apache-2.0", {"1.7b": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
                                       "135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
                                       "360m": "HuggingFaceTB/SmolLM2-360M-Instruct"}),
    **_sizes("tinyllama", "apache-2.0", {"1.1b": "TinyLlama/TinyLlama-1.1B-Chat-v1.0"}),
    **_sizes("zephyr", "mit", {"7b": "HuggingFaceH4/zephyr-7b-beta"}),
    **_sizes("falcon", "apache-2.0", _numbered("tiiuae/falcon-{}b-instruct", "7", "40")),
    **_sizes("olmo2", "apache-2.0", _numbered("allenai/OLMo-2-1124-{}B-Instruct", "7", "13")),
    **_sizes("glm4", "glm-4", {"9b": "THUDM/glm-4-9b-chat-hf"}),
})  # fmt: skip


def own_names() -> Mapping[str, str]:
    """The user's short names, each with the address that it stands for: `names.yaml` under WEIGHTWRIGHT_HOME.

    They go before those of this table. Raises AddressError where the file is no such mapping.
    """
    file = home() / "names.yaml"
    try:
        return _read(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


@lru_cache(maxsize=1)
def _read(file: Path, _changed_ns: int) -> Mapping[str, str]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AddressError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    good = isinstance(values, dict) and all(isinstance(x, str) for pair in values.items() for x in pair)
    if not good:
        raise AddressError(f"{file} must have lines NAME: ADDRESS, as in mine: Qwen/Qwen3-4B-GGUF:Q8_0")
    return values


def named(text: str) -> tuple[str, str] | None:
    """The name and the tag of an address that begins with a short name, None of another.

    Raises AddressError for a size or tag that the name does not have.
    """
    first, *rest = text.lower().removesuffix(":latest").split(":")
    if first not in NAMES:
        return None
    if not rest:
        return first, NAMES[first].tag("")
    whole = _DETAILED.fullmatch(rest[0])
    if whole and f"{first}:{whole['size']}" in NAMES and len(rest) <= 2 - bool(whole["tag"]):
        name = f"{first}:{whole['size']}"
        return name, NAMES[name].tag(whole["tag"] or (rest[1] if len(rest) > 1 else ""))
    if len(rest) == 1 and (rest[0] in _PLAIN or re.fullmatch(r"i?q[1-8].*", rest[0])):
        return first, NAMES[first].tag(rest[0])
    sizes = [name.partition(":")[2] for name in NAMES if name.startswith(f"{first}:")]
    raise AddressError(
        f"model {text!r}: {first} has the sizes {', '.join(sizes)}, and behind one :q4, :q8 or :bf16"
    )
