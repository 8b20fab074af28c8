"""Models without a chat template, templates of one's own, and templates that write the date."""

import datetime
import json
import shutil
from pathlib import Path

import pytest

from weightwright import LLM, SamplingParams
from weightwright.data.chat_templates import TEMPLATES, chosen_template
from weightwright.data.render import on_day, render, writes_date
from weightwright.data.template import encode
from weightwright.errors import ModelError, Place, SettingsError, TuneError
from weightwright.export.folder import write_folder
from weightwright.export.merge import whole
from weightwright.ports import Message
from weightwright.testing.models import CHAT_TEMPLATE
from weightwright.tune.preview import before_and_after
from weightwright.tune.run import tune
from weightwright.weights.load import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
TALK = (
    Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "More"),
    Message("assistant", "Yes."),
)  # fmt: skip
DATED = "{{ 'On ' + strftime_now('%d %b %Y') + '\n' }}" + CHAT_TEMPLATE


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model without a chat template."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "whole_text", "labels"),
    [
        (
            "chatml",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello!<|im_end|>\n"
            "<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n",
            ["Hello!<|im_end|>", "Yes.<|im_end|>"],
        ),
        (
            "llama2",
            "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello! <|im_end|>[INST] More [/INST] Yes. <|im_end|>",
            [" Hello! <|im_end|>", " Yes. <|im_end|>"],
        ),
        (
            "vicuna",
            "Be kind. USER: Hi ASSISTANT: Hello!<|im_end|>USER: More ASSISTANT: Yes.<|im_end|>",
            [" Hello!<|im_end|>", " Yes.<|im_end|>"],
        ),
        (
            "alpaca",
            "Be kind.\n\n### Instruction:\nHi\n\n### Response:\nHello!<|im_end|>\n\n"
            "### Instruction:\nMore\n\n### Response:\nYes.<|im_end|>\n\n",
            ["Hello!<|im_end|>", "Yes.<|im_end|>"],
        ),
    ],
)  # fmt: skip
def test_our_templates(base, name, whole_text, labels):
    from weightwright.data.sample import Sample

    tokenizer = chosen_template(name, load_tokenizer(str(base)))
    assert render(TALK, tokenizer, Place()) == whole_text
    answers = tuple(message.role == "assistant" for message in TALK)
    encoded = encode(Sample(TALK, answers, Place("r")), tokenizer)
    learnt = tokenizer.decode(
        [t for t, label in zip(encoded.token_ids, encoded.labelled, strict=True) if label]
    )
    assert learnt == "".join(labels)
    question = (Message("user", "Hi"),)
    asked = render(question, tokenizer, Place(), generation_prompt=True)
    assert render((*question, Message("assistant", "Yes.")), tokenizer, Place()).startswith(asked)
    tool = {"type": "function", "function": {"name": "f"}}
    with pytest.raises(ModelError, match="does not show tools"):
        encode(Sample(TALK, answers, Place("r"), (tool,)), tokenizer)


def test_a_template_is_fitted_to_the_tokenizer(base):
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(str(base))
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    assert "bos_token" not in str(chosen_template("chatml", tokenizer).chat_template)
    inner = tokenizer.backend_tokenizer
    inner.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    for name in TEMPLATES:
        text = render(TALK, chosen_template(name, tokenizer), Place())
        assert text.startswith("<s>")
        assert text.count("<s>") == (2 if name == "llama2" else 1)
    tokenizer = load_tokenizer(str(base))
    tokenizer.eos_token = "<|pad|>"
    assert "<|im_end|>" in render(TALK, chosen_template("chatml", tokenizer), Place())
    tokenizer.eos_token = None
    with pytest.raises(SettingsError, match=r"template=vicuna: .*no end-of-text token"):
        chosen_template("vicuna", tokenizer)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is none of chatml, llama2, vicuna, alpaca, and no file"),
        ("{% for %}", "refuses the row: "),
        ("{{ 1 / 0 }}", r"division by zero \(ZeroDivisionError\)"),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "nothing that a program could stop at"),
    ],
)
def test_a_file_that_is_no_template_is_refused_before_anything_is_written(make, base, tmp_path, text, said):
    file = tmp_path / "mine.jinja"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=said):
        tune(make(model=str(base), template=str(file)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["alpaca", "mine.jinja"])
def test_a_base_model_learns_conversations_and_keeps_their_template(
    make, base, tmp_path, rows, name, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("mine.jinja").write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}<|pad|>{% endfor %}"
                                  "{% if add_generation_prompt %}<assistant>{% endif %}")  # fmt: skip
    with pytest.raises(ModelError, match=r"no chat template.*give one with --template"):
        tune(make(model=str(base)))
    settings = make(model=str(base), template=name, max_steps=1, eval_data=rows, show=1)
    result = tune(settings)
    template = chosen_template(name, load_tokenizer(str(base))).chat_template
    assert (result.adapter / "chat_template.jinja").read_text() == template
    question = [{"role": "user", "content": "Say"}]
    asked = render((Message("user", "Say"),), chosen_template(name, load_tokenizer(str(base))), Place(),
                   generation_prompt=True)  # fmt: skip
    with LLM(str(base), precision="f32", adapters={"a": result.adapter}) as llm:
        (output,) = llm.chat(question, SamplingParams(max_tokens=1), adapter="a")
        assert llm.get_tokenizer().decode(output.prompt_token_ids) == asked
        with pytest.raises(ModelError, match="no chat template"):
            llm.chat(question, SamplingParams(max_tokens=1))
    write_folder(whole(f"{base}+{result.adapter}"), tmp_path / "merged")
    with LLM(str(tmp_path / "merged"), precision="f32") as llm:
        (output,) = llm.chat(question, SamplingParams(max_tokens=1))
        assert llm.get_tokenizer().decode(output.prompt_token_ids) == asked
    shown = before_and_after(result, settings, _open)
    assert [preview.before for preview in shown] == [""]  # the base model cannot be asked
    assert tune(settings).finished_before
    with pytest.raises(TuneError, match="template was"):
        tune(make(model=str(base), template="chatml", max_steps=1, eval_data=rows, show=1))


def test_a_template_replaces_the_models_own(make, tiny_model, tmp_path):
    result = tune(make(template="vicuna", max_steps=1))
    assert "ASSISTANT:" in (result.adapter / "chat_template.jinja").read_text()


def test_texts_and_their_continuations_need_no_template(make, base, tmp_path, rows):
    rows.write_text(
        "".join(json.dumps({"prompt": f"{n} and ", "completion": f"{n + 1}."}) + "\n" for n in range(3))
    )
    settings = make(model=str(base), max_steps=1, eval_data=rows, show=1)
    result = tune(settings)
    assert (result.adapter / "chat_template.jinja").read_text() == ""
    (shown,) = before_and_after(result, settings, _open)
    assert shown.question == "0 and "
    rows.write_text(json.dumps({"prompt": "", "completion": "x"}) + "\n")


def test_the_continuation_is_learnt_up_to_eos(base, tmp_path):
    from weightwright.data.formats import read_samples

    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "1 and ", "completion": "2. "}) + "\n")
    (sample,) = read_samples(file)
    tokenizer = load_tokenizer(str(base))
    encoded = encode(sample, tokenizer)
    assert tokenizer.decode(encoded.token_ids) == "1 and 2. <|im_end|>"
    assert encoded.labelled == (False,) * 6 + (True,) * 4
    assert encode(sample, tokenizer, "all").labelled_tokens == 9
    with_system = json.dumps({"prompt": "1 and ", "completion": "2", "system": "Count."})
    file.write_text(with_system + "\n")
    (told,) = read_samples(file)
    with pytest.raises(ModelError, match="no chat template"):
        encode(told, tokenizer)


def test_the_day_of_a_template_is_kept_with_the_run(make, tiny_model, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "dated"))
    (folder / "chat_template.jinja").write_text(DATED)
    tokenizer = load_tokenizer(str(folder))
    assert writes_date(tokenizer)
    assert not writes_date(load_tokenizer(str(tiny_model)))
    day = datetime.date(2020, 5, 4)
    assert render(TALK, on_day(tokenizer, day), Place()).startswith("On 04 May 2020\n")

    def run(out: str, **changes: object):
        return tune(make(model=str(folder), out=tmp_path / out, epochs=2, **changes))

    days = iter([day, day + datetime.timedelta(days=1)])
    monkeypatch.setattr("weightwright.tune.ownership.today", lambda: next(days))
    one = run("one")
    assert json.loads((tmp_path / "one" / "run.json").read_text())["template_day"] == "2020-05-04"
    other = run("other")  # the day after
    assert one.train_loss != other.train_loss
    monkeypatch.setattr("weightwright.tune.ownership.today", lambda: day)
    tune(make(model=str(folder), out=tmp_path / "paused", epochs=2), share=0.5)
    monkeypatch.setattr("weightwright.tune.ownership.today", lambda: day + datetime.timedelta(days=3))
    resumed = run("paused")
    assert resumed.train_loss == one.train_loss
    file = tmp_path / "paused" / "run.json"  # as an earlier version left it
    before = json.loads(file.read_text())
    del before["template_day"]
    file.write_text(json.dumps(before))
    assert run("paused").finished_before


def test_reference_log_probabilities_are_of_the_day_that_is_kept(make, tiny_model, tmp_path, monkeypatch):
    """DPO on a template that writes the date: what goes on days later compares with the rows of the first day."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "dated"))
    (folder / "chat_template.jinja").write_text(DATED)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(
        json.dumps({"prompt": f"Say {n}", "chosen": f"{n} it is", "rejected": f"no {n}"}) + "\n" for n in range(6)
    ))  # fmt: skip
    day = datetime.date(2020, 5, 4)

    def run(out: str, on: datetime.date, **options: float):
        monkeypatch.setattr("weightwright.tune.ownership.today", lambda: on)
        settings = make(model=str(folder), data=pairs, out=tmp_path / out, objective="dpo", epochs=2)
        tune(settings, **options)
        log = (tmp_path / out / "log.jsonl").read_text().splitlines()
        kept = sorted((tmp_path / out).rglob("*reference*"))
        return [json.loads(line).get("loss") for line in log], [file.read_bytes() for file in kept]

    losses, kept = run("one", day)
    other, _ = run("other", day + datetime.timedelta(days=40))
    assert other != losses  # the date matters
    run("paused", day, share=0.5)
    assert run("paused", day + datetime.timedelta(days=40)) == (losses, kept)


def _open(address, *, adapters=None):
    from weightwright.connect import open_chat
    from weightwright.engine.settings import EngineSettings

    return open_chat(address, adapters=adapters, settings=EngineSettings(precision="f32"))
