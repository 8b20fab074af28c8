"""From an address to a loaded model: safetensors or GGUF, through transformers, on one device.

Adapters are not applied here: the engine does that, so that one set of weights serves many. For the engine the
weights of linear layers may stay in their files until it packs them (`deferred`).
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from weightwright.address.models import ModelAddress, parse_model
from weightwright.errors import ModelError, SettingsError
from weightwright.hub import quantized, weight_files
from weightwright.hub.converted import converted_folder
from weightwright.hub.pull import pull
from weightwright.hub.store import locate
from weightwright.machine.device import default_precision, pick_device
from weightwright.options import Precision
from weightwright.ports import Progress, silent
from weightwright.weights import gguf_folder, gguf_header, support
from weightwright.weights.empty import place
from weightwright.weights.ends import end_ids
from weightwright.weights.incomplete import incomplete, missing_experts
from weightwright.weights.quiet import quiet
from weightwright.weights.templates import with_known_template

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from weightwright.weights.source import WeightSource

__all__ = ["Loaded", "context_tokens", "files_of", "in_process", "load", "load_tokenizer", "pick_device"]

log = logging.getLogger(__name__)

# what configs call the length of the context
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length",
                  "seq_length")  # fmt: skip
_UNSAID = {"bloom": 2048}
_UNLIMITED = 32_768


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode on its device, with its tokenizer.

    `name` is the address without its adapter, `path` its folder or GGUF file, `fingerprint` changes when its
    weights, config or tokenizer do, `context_tokens` is how many tokens it can attend to. `precision` is what was
    asked for: the weights here are bf16 or f32, the engine packs them into int8 or int4. Where there is a `source`,
    the model's linear layers have no weights yet (they are on the meta device) and take them from it. `end_ids` are
    the tokens that end a text, as the files say.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    path: Path
    fingerprint: str
    context_tokens: int
    precision: Precision = "auto"
    source: "WeightSource | None" = None
    end_ids: tuple[int, ...] = ()


def load(
    address: str | ModelAddress,
    *,
    precision: Precision = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    template: str | None = None,
    progress: Progress = silent,
    deferred: bool = False,
    path: Path | None = None,
) -> Loaded:
    """Load the model at `address`, which is pulled first when it is not on this machine.

    `path` is where its files are, when that is known (`files_of`), `template` the chat template to write
    conversations in (`templates.with_known_template`). A precision in the address (`:bf16`) goes before
    `precision`. With `deferred` the weights of linear layers are
    left to `Loaded.source` where that is possible, which on a CPU it mostly is. Raises ModelError where the model
    cannot be loaded, DownloadError where it cannot be pulled.
    """
    address = in_process(address)
    wanted = _precision(address, precision)
    dtype_name = _compute(wanted, device)
    path = path or files_of(address, progress)
    support.require(path, trust_remote_code=trust_remote_code)
    for file in weight_files.weight_files(path):
        weight_files.check_whole(file)
    tokenizer = with_known_template(_tokenizer(path, trust_remote_code), address, template)
    dtype = _dtype(dtype_name)
    placed = pick_device(device)
    own_code = (
        trust_remote_code and path.is_dir() and "auto_map" in weight_files.read_json(path / "config.json")
    )
    # what is packed for a card need not be there whole first
    defer = deferred and (placed == "cpu" or wanted in ("int8", "int4"))
    materialised = None if own_code else _from_source(path, dtype, defer=defer)
    model, source = materialised or (_model(path, dtype, trust_remote_code), None)
    return Loaded(
        model=place(model, placed).eval(),
        tokenizer=tokenizer,
        name=str(ModelAddress(address.kind, address.base, address.name, address.tag)),
        path=path,
        fingerprint=weight_files.fingerprint(path),
        context_tokens=context_tokens(model.config),
        precision=wanted,
        source=source,
        end_ids=end_ids(path),
    )


def load_tokenizer(
    address: str | ModelAddress,
    *,
    trust_remote_code: bool = False,
    template: str | None = None,
    progress: Progress = silent,
) -> "PreTrainedTokenizerBase":
    """Only the tokenizer, with the chat template that `load` gives it (`tokenizer.chat_template` is None if none)."""
    address = in_process(address)
    return with_known_template(_tokenizer(files_of(address, progress), trust_remote_code), address, template)


def context_tokens(config: Any) -> int:
    """How many tokens a model can attend to, from its transformers config.

    YaRN's and linear scaling's factor is multiplied in, as they count from the original length; other rope
    types already say the scaled length. A config without a length (ALiBi, state-space layers) sets no limit: then
    32,768, and Bloom's 2,048, which it was trained on.
    """
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    values = (getattr(config, name, None) for name in _CONTEXT_NAMES)
    tokens = next((value for value in values if isinstance(value, int) and value > 0), None)
    if tokens is None:
        return _UNSAID.get(getattr(config, "model_type", ""), _UNLIMITED)
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else None
    if kind == "linear":
        return int(tokens * float(rope.get("factor", 1)))
    if kind == "yarn":
        original = rope.get("original_max_position_embeddings") or tokens
        return max(tokens, int(original * float(rope.get("factor", 1))))
    return int(tokens)


def in_process(address: str | ModelAddress) -> ModelAddress:
    """The address of a model with weights. Raises ModelError for a server or `extract`."""
    address = parse_model(address) if isinstance(address, str) else address
    if address.kind in ("extract", "server"):
        raise ModelError(f"{address} has no weights to load; expected a hub id, a local path or a short name")
    return address


def files_of(address: ModelAddress, progress: Progress = silent) -> Path:
    """The folder or GGUF file of a model, pulled when it is not here. Raises ModelError, DownloadError."""
    if address.path is not None and not address.path.exists():
        raise ModelError(f"there is no {address.path}; a hub model is written OWNER/NAME without ./")
    if address.path is None:
        return pull(address, progress=progress)
    path = locate(address)
    if path is None:
        raise ModelError(f"{address.path} holds no GGUF file for {address.tag}")
    return converted_folder(path, progress)


def _precision(address: ModelAddress, precision: Precision) -> Precision:
    """The precision of the weights: the address's own, or the setting's."""
    wanted = address.precision or precision
    known = get_args(Precision)
    if wanted not in known:
        raise SettingsError(f"precision={wanted!r}: expected one of {', '.join(known)}")
    return wanted


def _compute(wanted: Precision, device: str) -> Literal["f32", "bf16"]:
    """What is computed in between products, and in which the weights are read."""
    if wanted in ("f32", "bf16"):
        return wanted
    return default_precision(pick_device(device))


def _tokenizer(path: Path, trust_remote_code: bool) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        with quiet():
            if path.is_file():  # as it was built: the family's own class would put rules of its own in place
                tokenizer = PreTrainedTokenizerFast.from_pretrained(str(gguf_folder.side_folder(path)))
            else:
                tokenizer = AutoTokenizer.from_pretrained(
                    str(path), local_files_only=True, trust_remote_code=trust_remote_code
                )
    except _raised() as error:
        raise ModelError(f"the tokenizer of {path} cannot be loaded: {_first_line(error)}; the folder needs "
                         "tokenizer.json or tokenizer.model") from error  # fmt: skip
    beside = path / "chat_template.json"  # a processor's, where models that see keep it
    if tokenizer.chat_template is None and beside.is_file():
        tokenizer.chat_template = weight_files.read_json(beside).get("chat_template")
    named = gguf_header.named_templates(path) if path.is_file() else {}
    if named:
        tokenizer.chat_template = {"default": tokenizer.chat_template} | named
    return tokenizer


def _dtype(name: str) -> "torch.dtype":
    import torch

    return {"f32": torch.float32, "bf16": torch.bfloat16}[name]


def _from_source(
    path: Path, dtype: "torch.dtype", *, defer: bool
) -> "tuple[PreTrainedModel, WeightSource | None] | None":
    """The model, read by our own readers: what transformers cannot read (GPTQ, AWQ) and what is deferred.

    With the source of the weights that it still lacks. None where transformers shall load the model whole.
    """
    said = {} if path.is_file() else quantized.quantization(path)
    scheme = quantized.scheme(said)
    if scheme is None and path.is_dir() and (said or not defer):
        return None
    from transformers import AutoConfig

    from weightwright.weights.empty import deferrable, empty, fill, lacking
    from weightwright.weights.experts import ExpertWeights, stacked_names
    from weightwright.weights.gguf_tensors import GgufWeights
    from weightwright.weights.safetensors import QuantizedWeights, SafetensorsWeights

    try:
        folder = gguf_folder.side_folder(path) if path.is_file() else path
        model = empty(AutoConfig.from_pretrained(str(folder), local_files_only=True), dtype)
        known = deferrable(model)
        if not known and path.is_dir() and scheme is None:
            return None
        defer = defer and known
        source: WeightSource | None
        plain: SafetensorsWeights | QuantizedWeights
        if path.is_file():
            source = GgufWeights.open(path, model, dtype)
        else:
            plain = SafetensorsWeights.open(path, dtype)
            plain = plain if scheme is None else QuantizedWeights(plain, scheme)
            source = ExpertWeights.open(plain, model) if stacked_names(model) else plain
        if scheme is not None and (source is None or not known):
            raise ModelError(f"{path} holds {scheme} of a model whose layers are not read here from such files "
                             f"({type(model).__name__}); take a GGUF file or the plain weights")  # fmt: skip
        # other names or forms transformers may know how to convert
        if source is None or (
            isinstance(source, SafetensorsWeights | ExpertWeights)
            and scheme is None
            and lacking(model, source)
        ):
            return None
        fill(model, source, path, defer=defer)
    except _raised() as error:
        raise ModelError(f"{path} cannot be loaded: {_first_line(error)}") from error
    return model, source if defer else None


def _model(path: Path, dtype: "torch.dtype", trust_remote_code: bool) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    from weightwright.weights.families import model_class

    options: dict[str, Any] = {
        "dtype": dtype, "local_files_only": True, "output_loading_info": True,
        "trust_remote_code": trust_remote_code, "ignore_mismatched_sizes": True,
    }  # fmt: skip
    if path.is_file() and len(weight_files.weight_files(path)) > 1:
        raise ModelError(f"{path} is one part of several, and transformers, which reads this architecture, takes one "
                         "file; join them with llama.cpp's llama-gguf-split --merge")  # fmt: skip
    try:
        if path.is_file():
            config = AutoConfig.from_pretrained(str(gguf_folder.side_folder(path)), local_files_only=True)
            options |= {"gguf_file": path.name, "config": config}
            with gguf_header.quick_reader(keep_tokenizer=False), quiet():
                model, report = AutoModelForCausalLM.from_pretrained(
                    str(path.parent), quantization_config=GgufConfig(dequantize=True), **options
                )
        else:
            with quiet():
                config = AutoConfig.from_pretrained(
                    str(path), local_files_only=True, trust_remote_code=trust_remote_code
                )
                made = model_class(config)
                model, report = made.from_pretrained(str(path), use_safetensors=True, **options)
            if made is not AutoModelForCausalLM:
                log.warning(
                    "%s reads images or sound as well; here it reads and writes text alone", path.name
                )
    except _raised() as error:
        if path.is_dir() and (experts := missing_experts(path)):
            raise incomplete(path, experts) from error
        raise ModelError(f"{path} cannot be loaded: {_first_line(error)}") from error
    missing = sorted(report["missing_keys"]) + sorted(str(key[0]) for key in report["mismatched_keys"])
    if missing or path.is_file():
        missing = missing_experts(path) or missing
    if missing:
        raise incomplete(path, missing)
    return model


def _raised() -> tuple[type[Exception], ...]:
    """What transformers raises for files that it cannot use, the last for a config with values of wrong types."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return (
        OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError, StrictDataclassError
    )  # fmt: skip


def _first_line(error: BaseException) -> str:
    if type(error).__name__.startswith(
        "StrictDataclass"
    ):  # the first line says the field, the second what is wrong
        return " ".join(str(error).split())
    return str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
