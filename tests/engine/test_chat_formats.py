"""Where answers stop, and in whose chat template a conversation is written."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from weightwright import LLM, SamplingParams

TURNS = [{"role": "user", "content": "Capital?"}]
END, OTHER = 256, 257  # <|im_end|>, which ends the template's turns, and <|pad|>
OWN = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|pad|>{% endfor %}"
    "{% if add_generation_prompt %}[me]{% endif %}"
)


@pytest.fixture(scope="module")
def other_eos(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with another EOS than the one that its template ends turns with."""
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("models") / "other"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(
        {"eos_token": "<|pad|>", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    )
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text()) | {"eos_token_id": OTHER}
        (folder / name).write_text(json.dumps(said))
    return folder


def written(token: int) -> SamplingParams:
    """Nothing but this token, five times at most."""
    return SamplingParams(temperature=0, max_tokens=5, logit_bias={token: 100.0})


def test_an_answer_stops_at_the_end_of_the_templates_turns(other_eos: Path) -> None:
    with LLM(str(other_eos), precision="f32") as llm:
        for token, tokens, reason in ((END, 1, "stop"), (OTHER, 1, "stop"), (65, 5, "length")):
            (output,) = llm.chat(TURNS, written(token))
            assert (len(output.outputs[0].token_ids), output.outputs[0].finish_reason) == (tokens, reason)
        (output,) = llm.generate("Capital?", written(END))
        assert output.outputs[0].finish_reason == "stop"


def test_an_end_that_is_no_token_stops_a_conversation_as_text(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    template = OWN.replace("<|pad|>", "<A>")
    (folder / "chat_template.jinja").write_text(template)
    bias = SamplingParams(temperature=0, max_tokens=5, structured_outputs={"regex": "x<A>y"})
    with LLM(str(folder), precision="f32") as llm:
        (output,) = llm.chat(TURNS, bias)
        answer = output.outputs[0]
        assert (answer.text, answer.finish_reason, answer.stop_reason) == ("x", "stop", None)
        assert llm.generate("Capital?", bias)[0].outputs[0].text == "x<A>y"


def test_the_ends_in_generation_config_are_read(other_eos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(other_eos, tmp_path / "model"))
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [OTHER, 65]}))
    with LLM(str(folder), precision="f32") as llm:
        assert llm.chat(TURNS, written(65))[0].outputs[0].finish_reason == "stop"


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """An adapter with a chat template of its own."""
    from peft import LoraConfig, get_peft_model

    from weightwright.data.render import with_template
    from weightwright.tune.save import save_adapter
    from weightwright.weights.load import load

    loaded = load(str(tiny_model), precision="f32", device="cpu")
    made = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    tokenizer = with_template(loaded.tokenizer, OWN)
    return save_adapter(made, tokenizer, tmp_path / "adapter", base_fingerprint=loaded.fingerprint)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_an_adapters_own_template_is_used_with_it(tiny_model: Path, adapter: Path, caplog) -> None:
    with LLM(str(tiny_model), precision="f32", adapters={"own": adapter}) as llm:
        decode = llm.get_tokenizer().decode
        plain, own = (llm.chat(TURNS, written(OTHER), adapter=name)[0] for name in (None, "own"))
        assert decode(own.prompt_token_ids) == "[user] Capital?<|pad|>[me]"
        assert decode(plain.prompt_token_ids).startswith("<|im_start|>user\nCapital?")
        assert (own.outputs[0].finish_reason, plain.outputs[0].finish_reason) == ("stop", "length")
        assert "another chat template" not in caplog.text
        llm.drop_adapter("own")
        (adapter / "chat_template.jinja").unlink()  # as other programs write adapters
        llm.load_adapter("own", adapter)
        (again,) = llm.chat(TURNS, written(OTHER), adapter="own")
        assert decode(again.prompt_token_ids) == decode(plain.prompt_token_ids)
        assert "another chat template" in caplog.text
