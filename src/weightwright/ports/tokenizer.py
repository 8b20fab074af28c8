"""What is asked of a tokenizer: transformers' have it all."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Tokenizer(Protocol):
    """Text to tokens and back, with the chat template that makes messages a text."""

    @property
    def bos_token_id(self) -> int | None:
        """The token before every text, where there is one."""
        ...

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text, where there is one."""
        ...

    @property
    def unk_token_id(self) -> int | None:
        """The token of what it does not know, where there is one."""
        ...

    @property
    def pad_token_id(self) -> int | None:
        """The token that fills up rows, where there is one."""
        ...

    @property
    def bos_token(self) -> Any:
        """The text of `bos_token_id`."""
        ...

    @property
    def eos_token(self) -> Any:
        """The text of `eos_token_id`."""
        ...

    @property
    def all_special_ids(self) -> list[int]:
        """The tokens with a meaning of their own."""
        ...

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """The tokens beside the vocabulary's, by id: `content`, `special`."""
        ...

    @property
    def is_fast(self) -> bool:
        """Whether it can tell which characters a token covers (`return_offsets_mapping`)."""
        ...

    @property
    def chat_template(self) -> str | Mapping[str, str] | None:
        """The chat template in Jinja, or several by name; None where there is none."""
        ...

    def __call__(
        self,
        text: str,
        *,
        add_special_tokens: bool = True,
        return_offsets_mapping: bool = False,
        verbose: bool = True,
    ) -> Mapping[str, Any]:
        """`input_ids`, and `offset_mapping` ((start, end) in characters, one a token) where it is asked for."""
        ...

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The tokens of a text."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """All tokens by their text, the added ones too."""
        ...

    def convert_ids_to_tokens(self, ids: int) -> Any:
        """The text of a token as the vocabulary has it."""
        ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of tokens."""
        ...

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        **options: Any,
    ) -> Any:
        """The text of messages (with `tokenize` false); raises jinja2's errors."""
        ...

    def save_pretrained(self, save_directory: str) -> Any:
        """Write its files into a folder."""
        ...
