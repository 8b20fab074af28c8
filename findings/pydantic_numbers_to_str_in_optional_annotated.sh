#!/usr/bin/env bash
# pydantic 2.14: Field(coerce_numbers_to_str=True) works on `str | None`, and is passed over without a word on
# `Annotated[str, AfterValidator(f)] | None`: settings that take a number such as `memory: 24` refuse it as "not a string"
# as soon as the option is checked by a function. The annotation alone, without `| None`, takes the number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pydantic==${PYDANTIC:-2.14.4}"
"$folder/venv/bin/python" - <<'PY'
from typing import Annotated

import pydantic
from pydantic import AfterValidator, BaseModel, Field, ValidationError

Checked = Annotated[str, AfterValidator(lambda text: text)]


class Plain(BaseModel):
    memory: str | None = Field(None, coerce_numbers_to_str=True)


class Required(BaseModel):
    memory: Checked = Field(coerce_numbers_to_str=True)


class Optional(BaseModel):
    memory: Checked | None = Field(None, coerce_numbers_to_str=True)


def outcome(model):
    try:
        return model(memory=24).memory
    except ValidationError as error:
        return error.errors()[0]["type"]


seen = {model.__name__: outcome(model) for model in (Plain, Required, Optional)}
print("pydantic", pydantic.VERSION, seen)
assert seen == {"Plain": "24", "Required": "24", "Optional": "string_type"}, "the behaviour has changed"
PY
