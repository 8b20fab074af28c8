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
from typing import Any

from weightwright.errors import AddressError
from weightwright.home import home
from weightwright.options import Precision

_FOUR_BITS, _EIGHT_BITS = "Q4_K_M", "Q8_0"
_PLAIN: Mapping[str, Precision] = {
    "bf16": "bf16", "fp16": "bf16", "f16": "bf16", "f32": "f32", "int8": "int8", "int4": "int4"
}  # fmt: skip
# what Ollama's tags say beside a size, as in 7b-instruct-q4_K_M
_DETAILED = re.compile(r"(?P<size>[^-]+)(?:-(?:instruct|chat|it))?(?:-(?P<tag>[qf][0-9a-z_]+|bf16))?")


# weights of a file in bits each, scales and what stays in more bits included (llama.cpp, tools/quantize/README.md)
_FILE_BITS = {"Q2_K": 3.2, "Q3_K_M": 4.0, "Q4_0": 4.7, "Q4_K_M": 4.9, "Q5_K_M": 5.7, "Q6_K": 6.6, "Q8_0": 8.5}
# conversation templates of models whose repositories have none, by a word in their names (as FastChat finds them)
_BY_WORD = (
    (re.compile(r"vicuna(?!.*v0\b)|longchat|wizardlm-2|wizardlm.*v1\.[12]"), "vicuna"),
    (re.compile(r"llama-?2\b.*chat"), "llama2"),
    (re.compile(r"alpaca"), "alpaca"),
)


@dataclass(frozen=True, slots=True)
class Named:
    """A model of the hub, and its makers' repository of GGUF files ("" where there is none with 4 bits).

    `parameters_b` counts them in 10⁹.
    """

    hub_id: str
    licence: str
    parameters_b: float
    gguf: str = ""

    @property
    def template(self) -> str:
        """The template of its conversations where its files have none; "" where none is known."""
        return template_of(self.hub_id)

    def download_bytes(self, tag: str) -> float:
        """What an address with that tag brings, about: a GGUF file, or the original in 16 bits."""
        bits = _FILE_BITS.get(tag, 1.1 * int(tag[1]) + 0.4 if re.match(r"Q\d", tag) else 16)
        return self.parameters_b * 1e9 * bits / 8

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


def template_of(name: str) -> str:
    """The template in which a model of that name (a hub id, a folder, a file) learnt conversations; "" if unknown.

    Only for models that came out before templates were kept beside a tokenizer.
    """
    words = name.rpartition("/")[2].lower().replace("_", "-")
    return next((template for pattern, template in _BY_WORD if pattern.search(words)), "")


def _sizes(
    name: str,
    licence: str,
    models: Mapping[str, tuple[str, float]],
    *,
    gguf: tuple[str, ...] = (),
    licences: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Named]:
    """Entries `name:size`, and `name` for the first; those sizes that `gguf` names have a repository ID-GGUF, too."""
    made = {
        f"{name}:{size}": Named(
            hub_id, licences.get(size, licence), billions, f"{hub_id}-GGUF" if size in gguf else ""
        )
        for size, (hub_id, billions) in models.items()
    }
    return {name: next(iter(made.values())), **made}


def _numbered(pattern: str, sizes: Mapping[str, float]) -> dict[str, tuple[str, float]]:
    """`7b`: the id with 7 in its pattern, and its parameters in 10⁹."""
    return {f"{size.lower()}b": (pattern.format(size), billions) for size, billions in sizes.items()}


_QWEN_2_5 = {"7": 7.62, "0.5": 0.494, "1.5": 1.54, "3": 3.09, "14": 14.77, "32": 32.76}
_QWEN_LICENCES = {"3b": "qwen-research", "72b": "qwen"}

NAMES: Mapping[str, Named] = MappingProxyType({
    **_sizes("qwen2.5", "apache-2.0", _numbered("Qwen/Qwen2.5-{}B-Instruct", {**_QWEN_2_5, "72": 72.71}),
             gguf=("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"), licences=_QWEN_LICENCES),
    **_sizes("qwen2.5-coder", "apache-2.0", _numbered("Qwen/Qwen2.5-Coder-{}B-Instruct", _QWEN_2_5),
             gguf=("0.5b", "1.5b", "3b", "7b", "14b", "32b"), licences=_QWEN_LICENCES),
    **_sizes("qwen3", "apache-2.0", _numbered("Qwen/Qwen3-{}B", {"8": 8.19, "0.6": 0.596, "1.7": 1.72, "4": 4.02,
                                                                "14": 14.77, "32": 32.76}),
             gguf=("4b", "8b", "14b", "32b")),
    **_sizes("qwen2", "apache-2.0", _numbered("Qwen/Qwen2-{}B-Instruct", {"7": 7.62, "0.5": 0.494, "1.5": 1.54,
                                                                         "72": 72.71}),
             licences={"72b": "tongyi-qianwen"}),
    **_sizes("qwq", "apache-2.0", {"32b": ("Qwen/QwQ-32B", 32.76)}, gguf=("32b",)),
    **_sizes("llama3.3", "llama3.3", {"70b": ("meta-llama/Llama-3.3-70B-Instruct", 70.55)}),
    **_sizes("llama3.2", "llama3.2", _numbered("meta-llama/Llama-3.2-{}B-Instruct", {"3": 3.21, "1": 1.24})),
    **_sizes("llama3.1", "llama3.1", _numbered("meta-llama/Llama-3.1-{}B-Instruct", {"8": 8.03, "70": 70.55})),
    **_sizes("llama3", "llama3", _numbered("meta-llama/Meta-Llama-3-{}B-Instruct", {"8": 8.03, "70": 70.55})),
    **_sizes("llama2", "llama2", _numbered("meta-llama/Llama-2-{}b-chat-hf", {"7": 6.74, "13": 13.02, "70": 68.98})),
    **_sizes("codellama", "llama2", _numbered("codellama/CodeLlama-{}b-Instruct-hf", {"7": 6.74, "13": 13.02,
                                                                                     "34": 33.74})),
    **_sizes("vicuna", "llama2", _numbered("lmsys/vicuna-{}b-v1.5", {"7": 6.74, "13": 13.02})),
    **_sizes("mistral", "apache-2.0", {"7b": ("mistralai/Mistral-7B-Instruct-v0.3", 7.25)}),
    **_sizes("mistral-nemo", "apache-2.0", {"12b": ("mistralai/Mistral-Nemo-Instruct-2407", 12.25)}),
    **_sizes("mixtral", "apache-2.0", {"8x7b": ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46.70),
                                       "8x22b": ("mistralai/Mixtral-8x22B-Instruct-v0.1", 140.63)}),
    **_sizes("yi", "apache-2.0", _numbered("01-ai/Yi-1.5-{}B-Chat", {"6": 6.06, "9": 8.83, "34": 34.39})),
    **_sizes("deepseek-llm", "deepseek", _numbered("deepseek-ai/deepseek-llm-{}b-chat", {"7": 6.91, "67": 67.42})),
    **_sizes("deepseek-r1", "mit", {
        "8b": ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", 8.19),
        **_numbered("deepseek-ai/DeepSeek-R1-Distill-Qwen-{}B", {"7": 7.62, "1.5": 1.78, "14": 14.77, "32": 32.76}),
        "70b": ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", 70.55)}, licences={"70b": "mit, and llama3.3"}),
    **_sizes("phi3", "mit", {"mini": ("microsoft/Phi-3-mini-4k-instruct", 3.82),
                             "3.8b": ("microsoft/Phi-3-mini-4k-instruct", 3.82),
                             "medium": ("microsoft/Phi-3-medium-4k-instruct", 13.96),
                             "14b": ("microsoft/Phi-3-medium-4k-instruct", 13.96)}),
    **_sizes("phi4", "mit", {"14b": ("microsoft/phi-4", 14.66)}),
    **_sizes("phi4-mini", "mit", {"3.8b": ("microsoft/Phi-4-mini-instruct", 3.84)}),
    **_sizes("gemma3", "gemma", _numbered("google/gemma-3-{}b-it", {"4": 4.30, "1": 1.00, "12": 12.19, "27": 27.43})),
    **_sizes("gemma2", "gemma", _numbered("google/gemma-2-{}b-it", {"9": 9.24, "2": 2.61, "27": 27.23})),
    **_sizes("gemma", "gemma", _numbered("google/gemma-{}b-it", {"7": 8.54, "2": 2.51})),
    **_sizes("smollm2", "apache-2.0", {"1.7b": ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.71),
                                       "135m": ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135),
                                       "360m": ("HuggingFaceTB/SmolLM2-360M-Instruct", 0.362)}),
    **_sizes("tinyllama", "apache-2.0", {"1.1b": ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1.10)}),
    **_sizes("zephyr", "mit", {"7b": ("HuggingFaceH4/zephyr-7b-beta", 7.24)}),
    **_sizes("falcon", "apache-2.0", _numbered("tiiuae/falcon-{}b-instruct", {"7": 7.22, "40": 41.84})),
    **_sizes("falcon3", "falcon-llm", _numbered("tiiuae/Falcon3-{}B-Instruct", {"10": 10.31, "1": 1.67, "3": 3.23,
                                                                               "7": 7.46})),
    **_sizes("olmo2", "apache-2.0", _numbered("allenai/OLMo-2-1124-{}B-Instruct", {"7": 7.30, "13": 13.72})),
    **_sizes("glm4", "glm-4", {"9b": ("zai-org/glm-4-9b-chat-hf", 9.40)}),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Own:
    """A name of the user's: the address that it stands for, and the template of its conversations."""

    address: str
    template: str | None = None


def own_names() -> Mapping[str, Own]:
    """The user's short names, each with what it stands for: `names.yaml` under WEIGHTWRIGHT_HOME.

    They go before those of this table. Raises AddressError where the file is no such mapping.
    """
    file = home() / "names.yaml"
    try:
        return _read(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


@lru_cache(maxsize=1)
def _read(file: Path, _changed_ns: int) -> Mapping[str, Own]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AddressError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return {str(name): _own(value) for name, value in values.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise AddressError(
            f"{file} must have lines NAME: ADDRESS, as in mine: Qwen/Qwen3-4B-GGUF:Q8_0, or "
            "NAME: {model: ADDRESS, template: vicuna}"
        ) from error


def _own(value: Any) -> Own:
    """Raises TypeError or ValueError for what is neither an address nor a model with a template."""
    if isinstance(value, str):
        return Own(value)
    model, template = value["model"], value.get("template")
    if (
        set(value) - {"model", "template"}
        or not isinstance(model, str)
        or not isinstance(template, str | None)
    ):
        raise ValueError(value)
    return Own(model, template)


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
