"""How tokens are chosen: `SamplingParams` and the forms an answer can be held to, with vLLM's names."""

import json as jsonlib
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

Schema = dict[str, Any] | str

_GREEDY_BELOW = 1e-5  # vLLM's: a lower temperature is greedy, and dividing by it would overflow


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StructuredOutputs:
    """The form an answer must have: exactly one of `json`, `json_object`, `regex`, `choice`, `grammar`.

    `json` is a JSON schema, as a dict or as text; `grammar` is written in llguidance's dialect of Lark
    (GBNF, llama.cpp's notation, is not read). Raises pydantic's ValidationError.
    """

    # a dataclass and no BaseModel, whose old method `json` would stand in the way of vLLM's name
    json: Schema | None = None
    json_object: bool = False
    regex: str | None = None
    choice: tuple[str, ...] | None = None
    grammar: str | None = None
    disable_any_whitespace: bool = False

    @field_validator("json")
    @classmethod
    def _schema_is_json(cls, schema: Schema | None) -> Schema | None:
        if isinstance(schema, str):
            try:
                parsed = jsonlib.loads(schema)
            except ValueError as error:
                raise ValueError(f"the JSON schema is not JSON: {error}") from error
            if not isinstance(parsed, dict):
                raise ValueError(f"a JSON schema is an object, got {schema[:60]!r}")
        return schema

    @field_validator("choice")
    @classmethod
    def _some_choice(cls, choice: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if choice is not None and (not choice or "" in choice):
            raise ValueError(f"choice={list(choice)} must hold at least one text, and no empty one")
        return choice

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = self.given
        if len(given) != 1:
            raise ValueError(
                "structured_outputs needs exactly one of json, json_object, regex, choice, grammar; "
                f"got {', '.join(given) or 'none'}"
            )
        return self

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the forms that are set."""
        values = {
            "json": self.json is not None,
            "json_object": self.json_object,
            "regex": self.regex is not None,
            "choice": self.choice is not None,
            "grammar": self.grammar is not None,
        }
        return tuple(name for name, is_set in values.items() if is_set)


StructuredOutputsParams = StructuredOutputs  # vLLM's name


_NOT_FOR_BEAMS = (
    "repetition_penalty", "frequency_penalty", "presence_penalty", "logit_bias", "allowed_token_ids", "bad_words",
    "logprobs",
)  # fmt: skip


class SamplingParams(BaseModel):
    """How tokens are chosen, with vLLM's names and meanings (`best_of` and beams: vLLM up to 0.6)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int | None = Field(16, ge=1, description="new tokens; None: to the end of the context")
    min_tokens: int = Field(0, ge=0, description="new tokens before the completion may end")
    temperature: float = Field(1.0, ge=0, allow_inf_nan=False, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus: smallest set with this probability")
    top_k: int = Field(0, ge=-1, description="only the k likeliest tokens; 0 or -1: all")
    min_p: float = Field(0.0, ge=0, le=1, description="drop tokens below min_p x the likeliest")
    repetition_penalty: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="above 1: tokens of prompt and output become less likely"
    )
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="subtracted per occurrence in the output")
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="subtracted from tokens of the output")
    logit_bias: dict[int, float] | None = Field(None, description="added to tokens' logits, -100 to 100")
    allowed_token_ids: tuple[int, ...] | None = Field(None, description="only these tokens are chosen")
    bad_words: tuple[str, ...] = Field((), description="texts that are not written")
    n: int = Field(1, ge=1, description="completions for one prompt")
    best_of: int | None = Field(None, ge=1, description="completions made, of which the likeliest n stay")
    use_beam_search: bool = Field(False, description="search with best_of beams (or n) at temperature 0")
    length_penalty: float = Field(
        1.0, ge=-10, le=10, description="beams: log-probability is divided by length to this power"
    )
    early_stopping: bool | Literal["never"] = Field(
        False, description="beams: end when there are enough; False: when better is unlikely; never: surely"
    )
    seed: int | None = Field(None, description="same seed, same text, whatever runs beside it; -1: none")
    stop: tuple[str, ...] = Field((), description="texts that end the completion, not included")
    stop_token_ids: tuple[int, ...] = Field((), description="token ids that end the completion")
    include_stop_str_in_output: bool = Field(False, description="leave the stop text in the completion")
    ignore_eos: bool = Field(False, description="go on after the model's end token")
    skip_special_tokens: bool = Field(True, description="leave special tokens out of the text")
    logprobs: int | None = Field(None, ge=0, le=20, description="so many alternatives per token")
    prompt_logprobs: int | None = Field(None, ge=0, le=20, description="the same for the prompt's tokens")
    structured_outputs: StructuredOutputs | None = Field(None, description="the form the answer must have")

    @property
    def greedy(self) -> bool:
        """The likeliest token is taken, nothing is drawn."""
        return self.temperature < _GREEDY_BELOW

    @property
    def width(self) -> int:
        """How many sequences are worked on: the beams, or `best_of`, or `n`."""
        return self.best_of or self.n

    @model_validator(mode="before")
    @classmethod
    def _one_text_is_a_list(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        single = {key: (values[key],) for key in ("stop", "bad_words") if isinstance(values.get(key), str)}
        # vLLM takes None for nothing, and -1 for no seed
        lists = ("stop", "stop_token_ids", "bad_words")
        empty = {key: () for key in lists if key in values and not values[key]}
        seed = {"seed": None} if values.get("seed") == -1 else {}
        return {**values, **single, **empty, **seed}

    @field_validator("logit_bias")
    @classmethod
    def _bias_in_range(cls, bias: dict[int, float] | None) -> dict[int, float] | None:
        for token, value in (bias or {}).items():
            if not -100 <= value <= 100:
                raise ValueError(f"the bias {value} of token {token} must lie between -100 and 100")
        return bias

    @field_validator("allowed_token_ids")
    @classmethod
    def _some_allowed(cls, ids: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if ids is not None and not ids:
            raise ValueError("allowed_token_ids is empty, so nothing could be written; name some")
        return ids

    @field_validator("bad_words")
    @classmethod
    def _words_say_something(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if any(not word.strip() for word in words):
            raise ValueError(f"bad_words={list(words)} holds an empty text; leave it out")
        return words

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError(f"best_of={self.best_of} is below n={self.n}; raise it or leave it out")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens={self.min_tokens} is above max_tokens={self.max_tokens}; raise max_tokens"
            )
        self._check_beams() if self.use_beam_search else self._check_no_beams()
        return self

    def _check_beams(self) -> None:
        if self.width < 2:
            raise ValueError(
                f"use_beam_search with {self.width} beam searches nothing; set best_of to 2 or more"
            )
        if not self.greedy:
            raise ValueError(
                f"use_beam_search draws nothing, so temperature must be 0, got {self.temperature:g}"
            )
        if self.top_p < 1 or self.top_k > 0 or self.min_p > 0:
            raise ValueError("use_beam_search draws nothing; leave out top_p, top_k and min_p")
        if self.structured_outputs is not None:
            raise ValueError("structured_outputs cannot be combined with use_beam_search; leave out one")
        fields = type(self).model_fields
        given = [name for name in _NOT_FOR_BEAMS if getattr(self, name) != fields[name].default]
        if given:
            raise ValueError(
                f"use_beam_search searches the model's own likelihoods; leave out {', '.join(given)}"
            )

    def _check_no_beams(self) -> None:
        if self.early_stopping is not False or self.length_penalty != 1:
            raise ValueError("early_stopping and length_penalty are for beams; set use_beam_search=True")
        if self.greedy and self.width > self.n:
            raise ValueError(
                f"best_of={self.best_of} at temperature 0 makes the same text each time; "
                "raise temperature or set use_beam_search=True"
            )
