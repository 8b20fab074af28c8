"""Loading: safetensors and GGUF, precision, and what is refused with which line."""

import json
import shutil
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from weightwright.address.models import parse_model
from weightwright.errors import DownloadError, ModelError, SettingsError
from weightwright.hub import weight_files
from weightwright.machine import cpu, device
from weightwright.testing.models import tiny_llama
from weightwright.weights import gguf_header, load


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError(f"the network was touched: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.usefixtures("no_network")
def test_a_folder(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    loaded = load.load(f"{tiny_model}+./adapter", precision="f32", device="cpu")
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert loaded.name == str(tiny_model)
    assert loaded.path == tiny_model
    assert loaded.context_tokens == 512
    ids = loaded.tokenizer("Hello", return_tensors="pt").input_ids
    assert loaded.tokenizer.decode(ids[0]) == "Hello"
    assert loaded.model(ids).logits.shape == (1, 5, len(loaded.tokenizer))
    assert load.load(f"{tiny_model}:bf16", precision="f32").model.dtype == torch.bfloat16


def test_the_same_weights_give_the_same_logits_as_plain_transformers(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    ids = torch.arange(20)[None]
    ours = load.load(str(tiny_model), precision="f32", device="cpu").model
    assert torch.equal(ours(ids).logits, plain(ids).logits)


def test_the_fingerprint_follows_content_and_not_place(tiny_model: Path, folder: Path) -> None:
    before = weight_files.fingerprint(folder)
    assert before == weight_files.fingerprint(tiny_model)
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    after = weight_files.fingerprint(folder)
    assert after != before
    change(folder / "config.json", rope_theta=123.0)
    assert weight_files.fingerprint(folder) != after


def test_the_fingerprint_reads_a_file_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = weight_files.fingerprint(folder)
    monkeypatch.setattr(weight_files, "sha256_of", lambda file: pytest.fail("hashed again"))
    assert weight_files.fingerprint(folder) == first


def test_auto_precision_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "features", lambda: ("avx2", "avx512f"))
    assert device.default_precision("cpu") == "f32"
    monkeypatch.setattr(cpu, "features", lambda: ("avx512_bf16",))
    monkeypatch.setattr(device, "measure", lambda: device.Speed(f32_gflops=100, bf16_gflops=250))
    assert device.default_precision("cpu") == "bf16"
    monkeypatch.setattr(device, "measure", lambda: device.Speed(f32_gflops=100, bf16_gflops=90))
    assert device.default_precision("cpu") == "f32"


def test_the_probe_measures() -> None:
    speed = device.measure()
    assert speed.f32_gflops > 0
    assert speed.bf16_gflops > 0
    assert device.measure() is speed


def test_devices() -> None:
    assert device.pick_device("cpu") == "cpu"
    assert device.pick_device("auto") in ("cpu", *device.DEVICES)
    with pytest.raises(SettingsError, match="device='tpu' is not on this machine; here: cpu"):
        device.pick_device("tpu")


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024, "model_type": "gpt2"}, 1024),
        ({"max_position_embeddings": 1000, "rope_parameters": {"rope_type": "linear", "factor": 4.0}}, 4000),
        ({"max_position_embeddings": 32768, "rope_parameters": YARN}, 131072),
        ({"max_position_embeddings": 131072, "rope_parameters": YARN}, 131072),
        ({"max_position_embeddings": 9000, "rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, 9000),
    ],
)
def test_context(values: dict[str, Any], tokens: int) -> None:
    config = type("Config", (), values)()
    assert load.context_tokens(config) == tokens


def test_a_config_without_a_context_length() -> None:
    assert load.context_tokens(type("Config", (), {"model_type": "mamba"})()) == 32_768
    assert load.context_tokens(type("Config", (), {"model_type": "bloom"})()) == 2048


def test_a_value_of_a_wrong_type_is_one_line(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "sixty-four"}))
    with pytest.raises(
        ModelError, match=r"'hidden_size'.*expected int, got str \(value: 'sixty-four'\)"
    ) as raised:
        load.load(str(folder))
    assert "\n" not in str(raised.value)


def test_the_template_of_a_processor(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)
    (folder / "chat_template.jinja").unlink()
    assert load.load_tokenizer(str(folder)).chat_template is None
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert load.load_tokenizer(str(folder)).chat_template == "{{ messages }}"


# --- refused, each with its remedy ----------------------------------------------------------------


def refusal(address: Any, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load.load(str(address), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("tag", ["int8", "int4"])
def test_a_packed_precision_is_kept_for_the_engine(tiny_model: Path, tag: str) -> None:
    assert load.load(f"{tiny_model}:{tag}").precision == tag
    assert load.load(str(tiny_model), precision=tag).precision == tag


def test_not_weights() -> None:
    for address in ("extract", "http://h/v1#x"):
        assert "has no weights to load" in refusal(address)


def test_missing_folder() -> None:
    assert "there is no nowhere/model" in refusal("./nowhere/model").replace("./", "")


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "no config.json in the folder" in refusal(folder)


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/tiny"}')
    assert f"this is a LoRA adapter; write its base model before it: acme/tiny+{tmp_path}" in refusal(
        tmp_path
    )


def test_broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "cannot be read as JSON" in refusal(folder)


def test_pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "is no file that torch.save wrote" in refusal(folder)
    (folder / "pytorch_model.bin").rename(folder / "model.ckpt")
    assert "only pickle weights (model.ckpt), which can run code" in refusal(folder)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refusal(folder)


def test_a_shard_is_missing(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks 1 of 2 weight files, first model-00002-of-00002.safetensors" in refusal(folder)


@pytest.mark.parametrize("size", [0, 7, 100, 5000, -1])
def test_cut_off_safetensors(folder: Path, size: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert "get it again" in refusal(folder)


def test_header_that_lies(folder: Path) -> None:
    file = folder / "model.safetensors"
    body = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": "x"}}).encode()
    file.write_bytes(struct.pack("<Q", len(body)) + body)
    assert "broken header" in refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    change(folder / "config.json", intermediate_size=96)
    assert "lacks 6 weights of its architecture (first model.layers.0.mlp.down_proj.weight)" in refusal(
        folder
    )


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    change(folder / "config.json", num_hidden_layers=3)
    assert "weights of its architecture (first model.layers.2." in refusal(folder)


def test_unknown_architecture(folder: Path) -> None:
    change(folder / "config.json", model_type="martian", architectures=["MartianForCausalLM"])
    said = refusal(folder)
    assert "does not know the architecture MartianForCausalLM; a newer one may" in said


def test_an_encoder_does_not_generate(folder: Path) -> None:
    change(folder / "config.json", model_type="clip", architectures=["CLIPModel"])
    assert "CLIPModel does not generate text" in refusal(folder)


def test_a_model_that_listens_is_not_called_one_that_writes_nothing(folder: Path) -> None:
    change(
        folder / "config.json", model_type="qwen2_audio", architectures=["Qwen2AudioForConditionalGeneration"]
    )
    said = refusal(folder)
    assert "Qwen2AudioForConditionalGeneration reads images or sound beside text" in said
    assert "text-only version" in said


def test_own_code_needs_trust(folder: Path) -> None:
    (folder / "modeling_martian.py").write_text("raise SystemExit('ran')")
    change(folder / "config.json", model_type="martian", architectures=["Martian"],
           auto_map={"AutoModelForCausalLM": "modeling_martian.Martian",
                     "AutoConfig": "modeling_martian.Config"})  # fmt: skip
    assert "brings its own code, which would run here; if you trust it: --trust-remote-code" in refusal(
        folder
    )


def test_no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "the tokenizer of" in refusal(folder)


def test_a_tokenizer_without_template_is_allowed(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert load.load_tokenizer(str(folder)).chat_template is None


def test_a_hub_model_that_is_not_here_is_refused_offline() -> None:
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE forbids downloads"):
        load.load("acme/nothing")


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04zipzip", b"GGUF\x09\x00\x00\x00"])
def test_not_a_gguf_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    assert "GGUF" in refusal(file)


def test_a_gguf_file_with_a_broken_header(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60) + b"\xff" * 64)
    assert "broken GGUF header" in refusal(file)


# --- the real small model -------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.usefixtures("no_network")
def test_smollm2_knows_the_capital_of_france() -> None:
    loaded = load.load("smollm2-135m")
    assert loaded.context_tokens == 8192
    assert loaded.model.num_parameters() == 134_515_008
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = loaded.tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    written = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
    answer = loaded.tokenizer.decode(written[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "Paris" in answer


@pytest.mark.model
def test_the_tokenizer_kept_beside_a_gguf_file_is_the_one_inside() -> None:
    from transformers import AutoTokenizer

    file = load.files_of(parse_model("smollm2-135m"))
    inside = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    kept = load.load_tokenizer("smollm2-135m")
    for text in ("Hello  world\n\nfoo 12345", "中文 テスト é́ 🙂", "<|im_start|>user\nhi<|im_end|>"):
        assert kept(text).input_ids == inside(text).input_ids
        assert kept.decode(kept(text).input_ids) == inside.decode(inside(text).input_ids)
    assert kept.chat_template == inside.chat_template
    assert kept.eos_token_id == inside.eos_token_id


def test_metadata_of_the_package() -> None:
    file = load.files_of(parse_model("smollm2-135m"))
    values = gguf_header.metadata(file)
    assert values["general.license"] == "apache-2.0"
    assert values["llama.context_length"] == 8192
    assert values["parameters"] == 134_515_008
