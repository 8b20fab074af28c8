"""LoRA adapters over one set of weights: loaded by name, different ones in one batch (through peft)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightwright.errors import ModelError, RequestError

_BASE = "__base__"  # peft's name for "no adapter" in a mixed batch


class Adapters:
    """A model and its adapters; `forward` applies to each row the adapter that it names."""

    def __init__(self, model: Any, folders: Mapping[str, Path]) -> None:
        self._model = model
        self._active: str | None = None
        self.names: tuple[str, ...] = ()
        for name, folder in folders.items():
            self.load(name, folder)

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self._model.device

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter in PEFT's format. Raises ModelError when it cannot be used here."""
        from peft import PeftModel

        kind = _check(name, folder)
        try:
            if not self.names:
                self._model = PeftModel.from_pretrained(
                    self._model, str(folder), adapter_name=name, autocast_adapter_dtype=False
                )
            else:
                self._model.load_adapter(str(folder), adapter_name=name, autocast_adapter_dtype=False)
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            raise ModelError(
                f"adapter {name!r} ({kind}) at {folder} does not fit this model: {error}"
            ) from error
        self.names += (name,)
        self._model.eval()
        dtype = next(self._model.get_base_model().parameters()).dtype
        for key, parameter in self._model.named_parameters():
            if f".{name}." in key:
                parameter.data = parameter.data.to(dtype)
        self._active = name
        self._switch(None)

    def forward(self, names: Sequence[str | None], **inputs: Any) -> Any:
        """The model's forward pass; row i goes through adapter `names[i]`, None is the base model."""
        import torch

        with torch.inference_mode():
            if len(set(names)) == 1:
                self._switch(names[0])
                return self._model(**inputs)
            self._model.base_model.enable_adapter_layers()
            self._active = ""  # neither the base nor one adapter alone
            return self._model(**inputs, adapter_names=[name or _BASE for name in names])

    def check(self, name: str | None) -> None:
        """Raise RequestError when there is no such adapter."""
        if name is not None and name not in self.names:
            known = ", ".join(self.names) or "none loaded"
            raise RequestError(f"there is no adapter {name!r}; adapters: {known}")

    def _switch(self, name: str | None) -> None:
        if not self.names or name == self._active:
            return
        if name is None:
            self._model.base_model.disable_adapter_layers()
        else:
            self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(name)
        self._active = name


def _check(name: str, folder: Path) -> str:
    """The adapter's kind, after looking at what would fail later with a worse message."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise ModelError(f"adapter {name!r}: {folder} holds no adapter_config.json (PEFT's format)")
    if "." in name or name == _BASE:
        raise ModelError(f"adapter name {name!r} cannot be used; choose one without dots")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"adapter {name!r}: {folder} holds no adapter_model.safetensors; "
            "pickled weights are not read, save it with safe_serialization=True"
        )
    try:
        kind = str(json.loads(file.read_text(encoding="utf-8"))["peft_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"adapter {name!r}: {file} is not PEFT's adapter_config.json") from error
    if kind != "LORA":
        raise ModelError(f"adapter {name!r} is of kind {kind}; this engine applies LoRA adapters")
    return kind
