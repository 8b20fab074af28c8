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


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("vicuna", "vicuna"),
        ("vicuna:13b:bf16", "vicuna"),
        ("lmsys/vicuna-7b-v1.3", "vicuna"),
        ("TheBloke/vicuna-7B-v1.5-GGUF:Q4_0", "vicuna"),
        ("lmsys/vicuna-7b-delta-v0", ""),  # had ### before its turns
        ("lmsys/longchat-7b-v1.5-32k", "vicuna"),
        ("./models/Vicuna_7b", "vicuna"),
        ("./vicuna-tests/gpt2", ""),
        ("./wizardlm-13b-v1.2.Q4_K_M.gguf", "vicuna"),
        ("WizardLM/WizardCoder-15B-V1.0", ""),
        ("TheBloke/Llama-2-7B-Chat-GGUF:Q4_0", "llama2"),
        ("meta-llama/Llama-2-7b-hf", ""),
        ("chavinlo/alpaca-native", "alpaca"),
        ("Qwen/Qwen2.5-7B", ""),
        ("qwen2.5", ""),
    ],
)
def test_the_template_that_a_name_is_known_for(name: str, template: str) -> None:
    assert parse_model(name).usual_template == template


LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vicuna:7b", {**LLAMA, "vocab_size": 32000, "intermediate_size": 11008}),
        ("vicuna:13b", {**LLAMA, "vocab_size": 32000, "hidden_size": 5120, "intermediate_size": 13824,
                        "num_attention_heads": 40, "num_hidden_layers": 40}),
        ("llama3.1:8b", {**LLAMA, "vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8}),
        ("llama3.3", {**LLAMA, "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
                      "num_attention_heads": 64, "num_key_value_heads": 8, "num_hidden_layers": 80}),
        ("llama3.2:3b", {**LLAMA, "vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192,
                         "head_dim": 128,
                         "num_attention_heads": 24, "num_key_value_heads": 8, "num_hidden_layers": 28,
                         "tie_word_embeddings": True}),
        ("yi:34b", {**LLAMA, "vocab_size": 64000, "hidden_size": 7168, "intermediate_size": 20480,
                    "num_attention_heads": 56, "num_key_value_heads": 8, "num_hidden_layers": 60}),
        ("mistral", {**LLAMA, "model_type": "mistral", "vocab_size": 32768, "intermediate_size": 14336,
                     "num_key_value_heads": 8}),
        ("mixtral", {**LLAMA, "model_type": "mixtral", "vocab_size": 32000, "intermediate_size": 14336,
                     "num_key_value_heads": 8}),
        ("qwen2.5:7b", {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
                        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
                        "tie_word_embeddings": False}),
        ("qwen2.5:0.5b", {"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
                          "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
                          "tie_word_embeddings": True}),
        ("qwen3:8b", {"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
                      "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                      "tie_word_embeddings": False}),
        ("gemma2:9b", {"model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336,
                       "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
                       "head_dim": 256}),
    ],
)  # fmt: skip
def test_the_sizes_of_the_table_are_those_of_the_architectures(name: str, config: dict) -> None:
    from weightwright.plan.params import count_params
    from weightwright.plan.spec import from_config

    assert NAMES[name].parameters_b == pytest.approx(count_params(from_config(config)) / 1e9, rel=0.005)


def test_sizes_and_what_is_downloaded() -> None:
    for name, one in NAMES.items():
        size = name.partition(":")[2]
        if size[:-1].replace(".", "").isdigit():  # the name rounds
            said = float(size[:-1]) / (1000 if size.endswith("m") else 1)
            assert one.parameters_b == pytest.approx(said, rel=0.35) or name == "falcon3:1b", name
    # GGUF files as their repositories list them, in GB
    assert NAMES["qwen2.5:7b"].download_bytes("Q4_K_M") / 1e9 == pytest.approx(4.68, rel=0.03)
    assert NAMES["qwen2.5:7b"].download_bytes("Q8_0") / 1e9 == pytest.approx(8.10, rel=0.03)
    assert NAMES["vicuna:7b"].download_bytes("int4") / 1e9 == pytest.approx(13.48, rel=0.01)


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
    own.write_text("old: {model: ./models/old, template: vicuna}\n", encoding="utf-8")
    assert (parse_model("old").base, parse_model("old+./a").template) == ("./models/old", "vicuna")
    for wrong in ("[a]", "{template: vicuna}", "{model: ./a, temple: b}", "3"):
        own.write_text(f"house: {wrong}", encoding="utf-8")
        with pytest.raises(AddressError, match=r"names.yaml must have lines NAME: ADDRESS.*template: vicuna"):
            parse_model("house")
    own.write_text("house: [", encoding="utf-8")
    with pytest.raises(AddressError, match=r"names.yaml is not YAML"):
        parse_model("house")
    own.write_text("house: house", encoding="utf-8")
    with pytest.raises(AddressError, match="unknown model name 'house'"):
        parse_model("house")
