"""Chat templates, what ends their turns, and a tokenizer's class in what is written for other programs."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from weightwright import LLM, SamplingParams
from weightwright.export.folder import write_folder
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.testing.models import CHAT_TEMPLATE
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings
from weightwright.weights import gguf_header
from weightwright.weights.ends import end_ids
from weightwright.weights.load import load_tokenizer
from weightwright.weights.templates import read_template

from .test_gguf_export import model_folder

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
TOOL_USE = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}" + CHAT_TEMPLATE
TWO = {"default": CHAT_TEMPLATE, "tool_use": TOOL_USE}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def with_template(model: Path, folder: Path, template: object, *, eos: str = "<|im_end|>") -> Path:
    """The tiny model with another template and EOS."""
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(
        {"eos_token": eos, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text()) | {"eos_token_id": tokenizer.eos_token_id}
        (folder / name).write_text(json.dumps(said))
    return folder


def test_a_folder_and_a_gguf_file_name_the_end_of_the_templates_turns(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = with_template(tiny_model, tmp_path / "base", CHAT_TEMPLATE, eos="<|pad|>")
    model = whole(str(base))
    write_folder(model, tmp_path / "out")
    assert json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"] == [257, 256]
    assert end_ids(tmp_path / "out") == (257, 256)
    end = SamplingParams(temperature=0, max_tokens=4, logit_bias={256: 100.0})
    (tmp_path / "out/chat_template.jinja").unlink()
    with LLM(str(tmp_path / "out"), precision="f32") as llm:  # read from the file, the template is gone
        assert llm.generate("a", end)[0].outputs[0].finish_reason == "stop"


def test_several_templates_are_kept_in_a_gguf_file(tmp_path: Path) -> None:
    folder = model_folder("qwen2", tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TWO
    tokenizer.save_pretrained(folder)
    file = tmp_path / "model.gguf"
    write_gguf(whole(str(folder)), file)
    assert gguf_header.metadata(file)["tokenizer.chat_template"] == CHAT_TEMPLATE
    assert load_tokenizer(str(file)).chat_template == TWO


def test_a_gguf_files_end_of_turn_is_read_back(tmp_path: Path) -> None:
    folder = model_folder("qwen2", tmp_path / "model")
    template = CHAT_TEMPLATE.replace("<|im_end|>", "<|end_of_text|>")  # no EOS of this tokenizer
    (folder / "chat_template.jinja").write_text(template)
    file = tmp_path / "model.gguf"
    write_gguf(whole(str(folder)), file)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turn = tokenizer.convert_tokens_to_ids("<|end_of_text|>")
    assert gguf_header.metadata(file)["tokenizer.ggml.eot_token_id"] == turn
    # and what ends texts by its name (transformers' class for Qwen adds it)
    assert end_ids(file) == (tokenizer.eos_token_id, turn, tokenizer.convert_tokens_to_ids("<|endoftext|>"))


def test_several_templates_are_kept_from_tuning_to_files(tiny_model: Path, tmp_path: Path) -> None:
    base = with_template(tiny_model, tmp_path / "base", TWO)
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows.write_text("".join(json.dumps({"messages": turns, "tools": tools}) + "\n" for tools in ([], [TOOL])))
    out = tmp_path / "run"
    result = tune(
        TuneSettings(model=str(base), data=rows, out=out, precision="f32", rank=2, max_steps=1, device="cpu")
    )
    assert result.adapter is not None
    assert read_template(result.adapter) == TWO
    merged = tmp_path / "merged"
    write_folder(whole(f"{base}+{result.adapter}"), merged)
    assert load_tokenizer(str(merged)).chat_template == TWO
    with LLM(str(base), precision="f32", adapters={"a": result.adapter}) as llm:
        decode, one = llm.get_tokenizer().decode, SamplingParams(max_tokens=1)
        plain, tools = (llm.chat(turns[:1], one, adapter="a", tools=given)[0] for given in (None, [TOOL]))
        assert '"name": "f"' in decode(tools.prompt_token_ids)
        assert '"name": "f"' not in decode(plain.prompt_token_ids)


def test_several_templates_of_an_older_folder_are_one_list(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "old"))
    (folder / "chat_template.jinja").unlink()
    file = folder / "tokenizer_config.json"
    listed = [{"name": name, "template": text} for name, text in TWO.items()]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": listed}))
    assert read_template(folder) == TWO == load_tokenizer(str(folder)).chat_template
    write_folder(whole(str(folder)), tmp_path / "out")
    assert load_tokenizer(str(tmp_path / "out")).chat_template == TWO


def test_templates_without_a_default_are_told_before_the_first_step(tiny_model: Path, tmp_path: Path) -> None:
    from weightwright.errors import DataError

    base = with_template(tiny_model, tmp_path / "base", {"rag": CHAT_TEMPLATE})
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"instruction": "a", "output": "b"}) + "\n")
    (base / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"rows.jsonl, line 1: .*multiple chat templates with no default"):
        tune(TuneSettings(model=str(base), data=rows, out=tmp_path / "run", precision="f32", device="cpu"))
    assert not (tmp_path / "run").exists()


def test_a_tokenizers_class_is_one_that_older_programs_know(tiny_model: Path, tmp_path: Path) -> None:
    assert "TokenizersBackend" in (tiny_model / "tokenizer_config.json").read_text()
    write_folder(whole(str(tiny_model)), tmp_path / "out")
    config = json.loads((tmp_path / "out/tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["additional_special_tokens"] == ["<|im_start|>"]  # a list by the new name is not read there
    before, after = load_tokenizer(str(tiny_model)), load_tokenizer(str(tmp_path / "out"))
    text = "<|im_start|>a é<|im_end|>"
    assert before(text)["input_ids"] == after(text)["input_ids"]
    assert before.all_special_ids == after.all_special_ids
