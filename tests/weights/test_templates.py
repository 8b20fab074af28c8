"""Which chat template a model's conversations are written in: asked for, the user's own, the model's, its name's."""

import logging
import shutil
from pathlib import Path

import pytest

from weightwright import LLM, SamplingParams
from weightwright.errors import ModelError, SettingsError
from weightwright.weights.describe import ShowSettings, show
from weightwright.weights.load import load_tokenizer

TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Who are you?"},
]
# as FastChat's conversation `vicuna_v1.1` writes them; the tokenizer's end is <|im_end|>
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: Hello ASSISTANT: Hi<|im_end|>USER: Who are you? ASSISTANT:"
)


@pytest.fixture
def vicuna(tiny_model: Path, tmp_path: Path) -> Path:
    """A model whose name is known, and whose files say nothing of a template."""
    folder = tmp_path / "vicuna-7b-v1.5"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").unlink()
    return folder


def written(address: str, **options: str) -> str:
    return load_tokenizer(address, **options).apply_chat_template(
        TURNS, tokenize=False, add_generation_prompt=True
    )


def test_a_model_without_a_template_speaks_as_its_name_is_known_for(
    vicuna: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert written(str(vicuna)) == VICUNA
    (said,) = caplog.messages
    assert said == (f"{vicuna} has no chat template of its own; by its name its conversations are written as "
                    "vicuna's (--template takes another)")  # fmt: skip
    assert show(ShowSettings(model=str(vicuna)))["template_by_name"] == "vicuna"


def test_what_is_asked_for_goes_before_the_name_and_the_model_s_own(
    vicuna: Path, tiny_model: Path, own_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert written(str(vicuna), template="alpaca").endswith(
        "### Instruction:\nWho are you?\n\n### Response:\n"
    )
    assert written(str(tiny_model)).endswith(
        "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert written(str(tiny_model), template="vicuna") == VICUNA
    (own_home / "names.yaml").write_text(
        f"old: {{model: {tiny_model}, template: vicuna}}\nnew: {tiny_model}\n"
    )
    assert written("old") == VICUNA
    assert written("old", template="chatml") == written("new") == written(str(tiny_model))
    assert not caplog.messages
    (own_home / "names.yaml").write_text(f"old: {{model: {tiny_model}, template: vikuna}}\n")
    with pytest.raises(SettingsError, match="template='vikuna' is none of chatml, llama2, vicuna, alpaca"):
        load_tokenizer("old")


def test_a_name_says_nothing_where_the_model_has_a_template(tiny_model: Path, tmp_path: Path) -> None:
    named = tmp_path / "vicuna"
    shutil.copytree(tiny_model, named)
    assert written(str(named)) == written(str(tiny_model))


def test_the_engine_answers_in_it(vicuna: Path) -> None:
    params = SamplingParams(max_tokens=6, temperature=0, ignore_eos=True)
    with LLM(str(vicuna), precision="f32", device="cpu", speculate=0) as llm:
        said = llm.chat(TURNS, params)[0]
        assert llm.get_tokenizer().decode(said.prompt_token_ids) == VICUNA
    with LLM(str(vicuna), precision="f32", device="cpu", speculate=0, template="chatml") as llm:
        asked = llm.chat(TURNS, params)[0].prompt_token_ids
        assert llm.get_tokenizer().decode(asked).startswith("<|im_start|>user\nHello<|im_end|>\n")


@pytest.mark.parametrize(("name", "facts"), [
    ("vicuna", r"6\.74 billion parameters, licence llama2; about 13\.5 GB to download; its weights take about 4\.7"),
    ("qwen2.5:3b", r"3\.09 billion parameters, licence qwen-research; about 1\.9 GB to download"),
])  # fmt: skip
def test_size_and_fit_are_known_without_the_hub(
    name: str, facts: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from weightwright.errors import DownloadError
    from weightwright.hub import huggingface
    from weightwright.hub.pull import pull

    def unreachable(self: object, hub_id: str) -> None:
        assert facts.split(",", maxsplit=1)[0].replace("\\", "") in caplog.text  # said before
        raise DownloadError("no network")

    monkeypatch.setattr(huggingface.HuggingFace, "listing", unreachable)
    with caplog.at_level(logging.WARNING), pytest.raises(DownloadError):
        pull(name)
    with pytest.raises(
        ModelError, match=f"is not on this machine: {facts}.* GB are free here.*; run: weightwright pull"
    ):
        show(ShowSettings(model=name))
