"""Short names in Ollama's form: what stands behind them, in how many bits, and the user's own."""

from pathlib import Path

import pytest

from weightwright.address.models import parse_model
from weightwright.address.names import NAMES
from weightwright.errors import AddressError


@pytest.mark.parametrize(
    ("text", "hub_id", "tag"),
    [
        ("qwen2.5:7b", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5:latest", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q4_K_M"),
        ("Qwen2.5:7B", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q4_K_M"),
        ("qwen2.5:7b:q8", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q8_0"),
        ("qwen2.5:7b:bf16", "Qwen/Qwen2.5-7B-Instruct", "bf16"),
        ("qwen2.5:7b-instruct-q5_K_M", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q5_K_M"),
        ("qwen2.5:7b-instruct-fp16", "Qwen/Qwen2.5-7B-Instruct", "bf16"),
        ("qwen2.5:q8", "Qwen/Qwen2.5-7B-Instruct-GGUF", "Q8_0"),
        ("yi:6b", "01-ai/Yi-1.5-6B-Chat", "int4"),
        ("yi:6b:q8", "01-ai/Yi-1.5-6B-Chat", "int8"),
        ("yi:bf16", "01-ai/Yi-1.5-6B-Chat", "bf16"),
        ("mixtral", "mistralai/Mixtral-8x7B-Instruct-v0.1", "int4"),
        ("deepseek-llm", "deepseek-ai/deepseek-llm-7b-chat", "int4"),
        ("phi3", "microsoft/Phi-3-mini-4k-instruct", "int4"),
        ("phi3:mini", "microsoft/Phi-3-mini-4k-instruct", "int4"),
        ("qwen3:0.6b", "Qwen/Qwen3-0.6B", "int4"),
    ],
)
def test_names(text: str, hub_id: str, tag: str) -> None:
    address = parse_model(text)
    assert (address.kind, address.hub_id, address.tag) == ("short", hub_id, tag)
    assert parse_model(str(address)) == address


def test_every_name_is_read_again() -> None:
    for name, one in NAMES.items():
        assert parse_model(name).hub_id in (one.hub_id, one.gguf)
        assert parse_model(str(parse_model(f"{name}:bf16"))).hub_id == one.hub_id
        assert one.licence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("qwen2.5:8b", r"qwen2.5 has the sizes 7b, 0.5b, 1.5b.*:q4, :q8 or :bf16"),
        ("qwen2.5:7b:q9", r"not known in q9; expected q4 \(default\), q8, bf16 or f32, or a quantisation"),
        ("yi:6b:q5_K_M", r"01-ai/Yi-1.5-6B-Chat is not known in q5_k_m"),
        ("yi:6b:q4:q4", "yi has the sizes"),
        ("qwen2.6:7b", "unknown tag|unknown model name"),
        ("qwen25", "unknown model name 'qwen25'.*qwen2.5"),
    ],
)
def test_what_a_name_does_not_have(text: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        parse_model(text)


def test_an_adapter_behind_a_name() -> None:
    address = parse_model("qwen2.5:7b+./runs/first/adapter")
    assert address.adapter == Path("runs/first/adapter")
    assert parse_model(str(address)) == address


def test_the_user_s_own_names(own_home: Path) -> None:
    own = own_home / "names.yaml"
    own.write_text("house: Qwen/Qwen3-4B-GGUF:Q8_0\nqwen2.5: ./models/mine\n", encoding="utf-8")
    assert str(parse_model("house")) == "Qwen/Qwen3-4B-GGUF:Q8_0"
    assert parse_model("qwen2.5").kind == "folder"
    assert parse_model("qwen2.5:7b").kind == "short"
    assert parse_model("house+./a").adapter == Path("a")
    own.write_text("house: [a]", encoding="utf-8")
    with pytest.raises(AddressError, match=r"names.yaml must have lines NAME: ADDRESS"):
        parse_model("house")
    own.write_text("house: [", encoding="utf-8")
    with pytest.raises(AddressError, match=r"names.yaml is not YAML"):
        parse_model("house")
    own.write_text("house: house", encoding="utf-8")
    with pytest.raises(AddressError, match="unknown model name 'house'"):
        parse_model("house")
