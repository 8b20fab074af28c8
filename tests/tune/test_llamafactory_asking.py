"""LLaMA-Factory's files for chatting and serving: what becomes a setting of `chat` and `serve`, what is said."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from weightwright.config import load
from weightwright.conversation import ChatSettings
from weightwright.errors import SettingsError
from weightwright.serve.settings import ServeSettings
from weightwright.tune import llamafactory_keys
from weightwright.tune.llamafactory_asking import read_llamafactory_chat, read_llamafactory_serve

USUAL = {
    "model_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct", "adapter_name_or_path": "saves/sft", "template": "qwen",
    "infer_backend": "vllm", "infer_dtype": "bfloat16", "vllm_maxlen": 8192, "vllm_gpu_util": 0.8,
    "vllm_enforce_eager": True, "trust_remote_code": True, "temperature": 0.2, "top_p": 0.9, "top_k": 40,
    "max_new_tokens": 300, "repetition_penalty": 1.1, "default_system": "Be brief.", "num_beams": 1,
}  # fmt: skip


def written(folder: Path, values: dict[str, Any]) -> Path:
    file = folder / "infer.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_a_usual_file_for_chat(tmp_path: Path) -> None:
    file = written(tmp_path, USUAL)
    values, notes, unmapped = read_llamafactory_chat(file)
    settings = load(ChatSettings, section="chat", foreign={str(file): values})
    assert (settings.model, settings.adapter, settings.system) == (
        "Qwen/Qwen2.5-0.5B-Instruct", Path("saves/sft"), "Be brief."
    )  # fmt: skip
    assert (settings.temperature, settings.top_p, settings.top_k) == (0.2, 0.9, 40)
    assert (settings.max_tokens, settings.repetition_penalty) == (300, 1.1)
    engine = settings.engine
    assert (engine.precision, engine.max_context, engine.trust_remote_code) == ("bf16", 8192, True)
    assert unmapped == ("vllm_gpu_util: the KV cache's memory is set by --kv-memory",)
    assert [note.partition(" ")[0] for note in notes] == ["infer_backend=vllm", "template=qwen", "not"]


def test_what_a_chat_file_leaves_out_has_their_default(tmp_path: Path) -> None:
    values, notes, unmapped = read_llamafactory_chat(written(tmp_path, {"model_name_or_path": "a/b"}))
    assert values == {
        "model": "a/b", "engine": {"precision": "auto"}, "temperature": 0.95, "top_p": 0.7, "top_k": 50,
        "repetition_penalty": 1.0, "max_tokens": 1024,
    }  # fmt: skip
    assert (notes, unmapped) == ((), ())
    greedy = {"model_name_or_path": "a/b", "do_sample": False, "temperature": 0.3}
    values, _, unmapped = read_llamafactory_chat(written(tmp_path, greedy))
    assert (values["temperature"], unmapped) == (0.0, ())


def test_a_usual_file_for_serve(tmp_path: Path) -> None:
    file = written(tmp_path, USUAL | {"adapter_name_or_path": "saves/sft, saves/dpo"})
    values, notes, unmapped = read_llamafactory_serve(file)
    settings = load(ServeSettings, section="serve", foreign={str(file): values})
    assert settings.adapter == ("sft=saves/sft", "dpo=saves/dpo")
    assert (settings.engine.precision, settings.engine.max_context) == ("bf16", 8192)
    assert any("models of their own in the API" in note for note in notes)
    sent = {"temperature", "top_p", "top_k", "max_new_tokens", "repetition_penalty", "default_system"}
    assert {line.partition(":")[0] for line in unmapped} == sent | {"vllm_gpu_util"}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"infer_dtype": "float16"}, "infer_dtype: float16 is not offered here; there is auto, bf16, f32"),
        ({"num_beams": 4}, "num_beams: beam search is offered by LLM.beam_search"),
        ({"quantization_bit": 4}, "quantization_bit: weights are packed by --precision"),
        (
            {"adapter_name_or_path": "a,b"},
            "adapter_name_or_path: one adapter is taken; merge the others first",
        ),
        ({"temprature": 1}, "temprature: unknown key; did you mean temperature?"),
    ],
    ids=str,
)
def test_what_has_no_counterpart_is_said(tmp_path: Path, given: dict[str, Any], line: str) -> None:
    _, _, unmapped = read_llamafactory_chat(written(tmp_path, {"model_name_or_path": "a/b"} | given))
    assert [said.startswith(line) for said in unmapped] == [True], unmapped


def test_every_key_of_theirs_is_known(tmp_path: Path) -> None:
    for key in llamafactory_keys.LLAMAFACTORY.all - {"model_name_or_path"}:
        for read in (read_llamafactory_chat, read_llamafactory_serve):
            try:
                unmapped = read(written(tmp_path, {"model_name_or_path": "a/b", key: 1}))[2]
            except SettingsError as error:
                assert f"{key}=1 must be a name" in str(error)  # noqa: PT017
            else:
                assert not any("unknown key" in line for line in unmapped), unmapped
