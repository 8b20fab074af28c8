"""What a run makes a model forget is measured right, changes nothing, and general rows can be mixed in."""

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from weightwright.errors import SettingsError, TuneError
from weightwright.testing.embedder import HashEmbedder
from weightwright.tune import dataset, general, held_out, preview
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings

Make = Callable[..., TuneSettings]
ROWS = [
    json.loads(line)
    for line in files("weightwright.tune").joinpath(general.FILE).read_text(encoding="utf-8").splitlines()
]


def test_the_questions_are_asked_in_both_languages() -> None:
    assert sum(row["language"] == "en" for row in ROWS) >= 20
    assert sum(row["language"] == "zh" for row in ROWS) >= 15
    asked = [row["messages"][0]["content"] for row in ROWS]
    assert len(set(asked)) == len(asked)
    assert all([m["role"] for m in row["messages"]] == ["user", "assistant"] for row in ROWS)


def reference_loss(model: Path, row: dict[str, Any]) -> tuple[float, int]:
    """Summed loss over the answer and its end, in f64 by transformers alone; the tokens of it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    whole = tokenizer.apply_chat_template(row["messages"], tokenize=False).rstrip("\n")
    prompt = tokenizer.apply_chat_template(row["messages"][:1], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(whole, add_special_tokens=False, return_tensors="pt").input_ids
    start = len(tokenizer(prompt, add_special_tokens=False).input_ids)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64).eval()
    with torch.no_grad():
        logits = network(ids).logits[0, :-1].log_softmax(-1)
    losses = -logits.gather(1, ids[0, 1:, None])[start - 1 :]
    return float(losses.sum()), len(losses)


def test_the_loss_is_that_of_the_answers(make: Make, tiny_model: Path) -> None:
    result = tune(make(max_steps=1, learning_rate=1e-9))
    sums = [reference_loss(tiny_model, row) for row in ROWS if row["language"] == "en"]
    expected = sum(loss for loss, _ in sums) / sum(tokens for _, tokens in sums)
    assert result.general is not None
    assert result.general["questions"] == len(sums)
    # f32 sums of some thousand losses near 6
    assert result.general["before"] == pytest.approx(expected, rel=1e-4)
    assert result.general["after"] == pytest.approx(expected, rel=1e-4)
    assert not [one for one in result.diagnosis if one.startswith("forgetting")]


def test_it_is_said_when_much_is_forgotten(make: Make) -> None:
    result = tune(make(epochs=8, learning_rate=0.02))
    assert result.general is not None
    assert result.general["after"] > result.general["before"] * 1.02
    assert (
        result.general["low"] <= result.general["after"] - result.general["before"] <= result.general["high"]
    )
    (said,) = [one for one in result.diagnosis if one.startswith("forgetting")]
    assert "--mix-data" in said


def test_asking_changes_nothing_of_what_is_learnt(make: Make, tmp_path: Path) -> None:
    folders = [tmp_path / "asked", tmp_path / "not"]
    for folder, asked in zip(folders, (True, False), strict=True):
        result = tune(make(out=folder, general=asked, dropout=0.1))
        assert (result.general is not None) == asked
    one, two = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in folders)
    assert all(one[name].equal(two[name]) for name in one)


def test_a_run_that_goes_on_has_the_same_losses(make: Make, tmp_path: Path) -> None:
    whole = tune(make(out=tmp_path / "whole"))

    def cut(done: int, *_: Any) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(make(save_every=1), progress=cut)
    assert tune(make(save_every=1)).general == whole.general


def test_questions_in_chinese_where_chinese_is_learnt(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "zh.jsonl"
    rows = [{"instruction": f"请说出第{n}个城市的名字", "output": "上海和北京都是大城市"} for n in range(4)]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    result = tune(make(data=file, max_steps=1))
    assert result.general is not None
    assert result.general["questions"] == len(ROWS)


def test_general_rows_are_mixed_in(make: Make, tmp_path: Path) -> None:
    other = tmp_path / "general.jsonl"
    lines = [{"instruction": f"General {n}", "output": str(n)} for n in range(20)]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    rows, notes = dataset.to_learn(make(mix_data=other, mix_share=0.25))
    found = [*rows]
    drawn = [row.messages[0].content for row in found if row.messages[0].content.startswith("General")]
    assert len(found) == 16  # twelve of its own, and four that make a quarter of all
    assert len(drawn) == len(set(drawn)) == 4
    assert "4 of 20 rows mixed in" in notes[0]
    again = [*dataset.to_learn(make(mix_data=other, mix_share=0.25))[0]]
    assert again == found
    different = [*dataset.to_learn(make(mix_data=other, mix_share=0.25, seed=1))[0]]
    assert different != found
    _, notes = dataset.to_learn(make(mix_data=other, mix_share=0.9))
    assert "20 of 20 rows mixed in, 62.5% of all, where 90.0% were asked for" in notes[0]


def test_a_mixed_run_is_another_run(make: Make, tmp_path: Path) -> None:
    other = tmp_path / "general.jsonl"
    other.write_text(json.dumps({"instruction": "General", "output": "x"}) + "\n", encoding="utf-8")
    result = tune(make(mix_data=other))
    assert any("1 of 1 rows mixed in" in note for note in result.notes)
    with pytest.raises(TuneError, match="mix_data_sha256"):
        tune(make())


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_of_all_or_nothing_is_refused(make: Make, share: float) -> None:
    from weightwright import config

    with pytest.raises(SettingsError, match="mix_share"):
        config.load(
            TuneSettings,
            section="tune",
            environment={},
            flags={("model",): "m", ("data",): "d", ("out",): "o", ("mix_share",): share},
        )


def test_held_out_losses_by_kind_of_task(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "kinds.jsonl"
    tasks = [f"Translate the word tree number {n}" for n in range(6)] + [
        f"Count sheep up to {n}" for n in range(4)
    ]
    file.write_text("".join(json.dumps({"instruction": t, "output": "x" * 9}) + "\n" for t in tasks))
    settings = make(eval_data=file, max_steps=2, embedder="hash")
    assert preview.losses_by_kind(make(), lambda _: HashEmbedder()) == []
    tune(settings)
    rows = held_out.read(settings.out)
    found = preview.losses_by_kind(settings, lambda _: HashEmbedder(width=512))
    assert [kind.rows for kind in found] == [6, 4]
    assert [kind.example.split()[0] for kind in found] == ["Translate", "Count"]
    for kind, part in zip(found, (rows[:6], rows[6:]), strict=True):
        whole = sum(row.size for row in part)
        assert kind.after == pytest.approx(sum(row.size * row.after for row in part) / whole)
        assert kind.before == pytest.approx(sum(row.size * (row.before or 0) for row in part) / whole)


def test_kinds_of_questions_asked_beside_the_rows(make: Make, tmp_path: Path) -> None:
    rows, asked = tmp_path / "kinds.jsonl", tmp_path / "asked.txt"
    rows.write_text(
        "".join(json.dumps({"instruction": f"count to {n} now", "output": "one"}) + "\n" for n in range(6))
    )
    asked.write_text("count to 9 now\nbake some bread\n")
    assert preview.asked_kinds(make(data=rows), lambda _: HashEmbedder()) is None
    settings = make(data=rows, asked=asked, embedder="hash")
    found = preview.asked_kinds(settings, lambda _: HashEmbedder(width=512))
    assert found is not None
    assert [(one.questions, one.rows, one.examples) for one in found.kinds] == [
        (1, 6, ("count to 9 now",)),
        (1, 0, ("bake some bread",)),
    ]
