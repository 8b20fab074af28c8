"""What an adapter was trained on, kept in its folder, and whether the model that it is put on is the same."""

from pathlib import Path

from weightwright.hub import weight_files
from weightwright.weights.templates import TEMPLATE_FILE, Template, template_hash

ORIGIN_FILE = "weightwright.json"


def differences(folder: Path, fingerprint: str, template: Template | None) -> list[str]:
    """What an adapter's folder says about its base model that does not hold for this one; nothing where it says none.

    `fingerprint` is that of the weights (`Loaded.fingerprint`), `template` the chat template that will be used.
    """
    if not (folder / ORIGIN_FILE).is_file():
        return []
    origin, lines = weight_files.read_json(folder / ORIGIN_FILE), []
    trained_on = origin.get("base_fingerprint")
    if trained_on and trained_on != fingerprint:
        lines.append(
            f"the adapter was trained on a base model with the fingerprint {trained_on}, and this one has "
            f"{fingerprint}; with other weights or another tokenizer its answers change"
        )
    known = origin.get("template_sha256")
    if known and known != template_hash(template):
        lines.append(
            "the adapter was trained with another chat template than the one in use; its own is "
            f"{folder / TEMPLATE_FILE}"
        )
    return lines
