"""Write docs/families.md, what can be done with which family of models: `python docs/make_families.py`."""

from pathlib import Path

from weightwright.export.gguf.architectures import FAMILIES as GGUF
from weightwright.hub.mapping.families import FAMILIES as MAPPED
from weightwright.weights.families import ALONE, OWN_CACHES, PAGED, SEEING

PAGE = Path(__file__).with_name("families.md")
HEAD = """# Families of models

What is done with the families that transformers 5.24 knows, by their `model_type` (in a model's `config.json`). Made by
`docs/make_families.py`; each cell is held to transformers by a test on a tiny model (`make test`, and `make test-slow` for the rarer ones): the logits of a batch that is read in
parts, the loss and the gradients of rows, the counts.

- **plan** counts every one of them exactly, and others by building them without memory.
- **chat and serve**: *batched* families attend through the paged cache: sequences share a pass and what they begin with. *together*
  means that each sequence has a cache of its own, as transformers makes it (state-space and hybrid layers, biases for positions, masks
  of other kinds): its prompt is read by itself, and then sequences share a pass for their next tokens. *alone* ones share none. A model of a family that is not here, or with code of its own, is tried when
  it is loaded: it runs where its logits over a cache are those without one, and is refused by name where they are not.
- **tune**: *packed* rows stand one behind the other in a pass and never see each other; *padded* ones have a line each.
- **merge** and `export --format safetensors` write all of them; **GGUF** says which ones `export` writes itself. llama.cpp's
  converter takes the safetensors of others.
- Families that read images or sound as well are used as text; the other parts are loaded, counted, and written again as they were.
- Families whose code comes with the model, and is not run, are mapped [once](models.md#the-local-store) onto one of these: `baichuan` where it rotates
  its keys (7B), `chatglm` from ChatGLM 2 on, GLM-4 included.
"""
PADDED = {"nemotron", "stablelm"}


def _served(name: str, batched: bool) -> str:
    return "batched" if batched else "alone" if name in ALONE else "together"


def families() -> str:
    """The page's text."""
    lines = ["| family | chat, serve | tune | GGUF |", "| --- | --- | --- | --- |"]
    for name in sorted(PAGED | OWN_CACHES):
        batched = name in PAGED
        learnt = "packed" if batched and name not in PADDED else "padded"
        lines.append(
            f"| {name} | {_served(name, batched)} | {learnt} | {'yes' if name in GGUF else ''} |"
        )
    seeing = ["| family that sees | chat, serve |", "| --- | --- |"]
    seeing += [f"| {name} | {_served(name, paged)} |" for name, paged in sorted(SEEING.items())]
    own = ["| family with code of its own | becomes |", "| --- | --- |"]
    own += [f"| {name} | {family.target} |" for name, family in sorted(MAPPED.items())]
    return "\n".join([HEAD, *lines, "", *seeing, "", *own, ""])


if __name__ == "__main__":
    PAGE.write_text(families(), encoding="utf-8")
