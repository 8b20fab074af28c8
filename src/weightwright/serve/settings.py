"""Options of the HTTP server."""

import ipaddress
from typing import Literal, Self

from pydantic import Field, model_validator

from weightwright.config import Settings
from weightwright.engine.settings import EngineSettings
from weightwright.rag.settings import AnswerSettings


class ServeSettings(Settings):
    """What is served, where, and to whom."""

    model: str = Field(description="model address")
    adapter: tuple[str, ...] = Field((), description="NAME=DIR: offer a LoRA adapter as model NAME")
    kb: tuple[str, ...] = Field((), description="NAME=KB: offer a knowledge base as model NAME")
    name: str = Field("", description="name of the base model in the API; default: its address")
    embedder: str = Field("", description="embedder of the knowledge bases; default: their own")
    generation_config: Literal["auto", "none"] = Field(
        "auto",
        description="where a request leaves sampling open: auto takes what the model's files advise, none OpenAI's",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    api_key: str = Field("", description="key that clients must send; needed on a public address")
    max_waiting: int = Field(512, ge=1, description="requests under way before new ones get 503")
    engine: EngineSettings = EngineSettings()
    answer: AnswerSettings = AnswerSettings()

    @model_validator(mode="after")
    def _public_needs_a_key(self) -> Self:
        if not self.api_key and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines; "
                "set api_key (WEIGHTWRIGHT_SERVE__API_KEY) or listen on 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
