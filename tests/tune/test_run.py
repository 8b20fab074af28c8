"""Runs on the tiny model: what they leave, how they resume, what they refuse."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from weightwright.errors import DataError, TuneError
from weightwright.tune import checkpoint, loop
from weightwright.tune.dataset import encoded, to_learn
from weightwright.tune.run import tune
from weightwright.weights.load import load_tokenizer


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter" / "adapter_model.safetensors")


def losses(folder: Path) -> list[tuple[float | None, ...]]:
    """Loss, gradient's norm and held-out loss of each line of the log."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [tuple(map(line.get, ("loss", "grad_norm", "eval_loss"))) for line in lines]


def assert_same(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_learns_and_leaves_its_files(make, rows):
    settings = make(epochs=8, learning_rate=5e-3, eval_data=rows)
    result = tune(settings)
    assert result.steps == 32
    assert result.adapter == settings.out / "adapter"
    assert len({file.stat().st_mode for file in result.adapter.iterdir()}) == 1
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in log if "loss" in line]
    evals = [line for line in log if "eval_loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 33))
    assert [line["step"] for line in evals] == [0, 8, 16, 24, 32]
    assert evals[-1]["eval_loss"] == result.eval_loss < 0.7 * evals[0]["eval_loss"]
    assert result.train_loss < 0.7 * steps[0]["loss"]
    assert max(line["learning_rate"] for line in steps) <= 5e-3
    assert (settings.out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((settings.out / "result.json").read_text()) == result.to_json()
    assert result.tokens_per_s > 0
    assert result.peak_bytes > 10_000_000


@pytest.mark.parametrize("packing", [True, False])
def test_rows_across_the_original_context_are_learnt_as_transformers_sees_them_alone(
    make, tiny_model, tmp_path, packing
):
    """Longrope: one row within the original context of 64 tokens, one beyond, in one step."""
    from transformers import AutoModelForCausalLM

    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    pairs = config["hidden_size"] // config["num_attention_heads"] // 2
    config["rope_parameters"] = {
        "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * pairs,
        "long_factor": [4.0 * (n + 1) for n in range(pairs)], "original_max_position_embeddings": 64,
    }  # fmt: skip
    (base / "config.json").write_text(json.dumps(config))
    file = tmp_path / "two.jsonl"
    file.write_text("".join(json.dumps({"text": "ab cd " * count}) + "\n" for count in (6, 30)))
    settings = make(model=str(base), data=file, objective="pretrain", batch=2, max_steps=1, packing=packing)
    found = tune(settings).train_loss
    examples = [*encoded(to_learn(settings)[0], load_tokenizer(str(base)), settings)]
    assert [len(one.rows[0]) > 64 for one in examples] == [False, True]
    alone, tokens = 0.0, 0
    for one in examples:
        ids = torch.tensor([one.rows[0].token_ids])
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        with torch.no_grad():
            alone += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert found == pytest.approx(alone / tokens, rel=1e-5)


def test_a_pinned_run_ends_at_pinned_losses(make, rows):
    """Golden numbers of this loop in f32; they change only when what is computed changes."""
    result = tune(make(epochs=2, learning_rate=1e-3, eval_data=rows))
    losses = [json.loads(line) for line in (make().out / "log.jsonl").read_text().splitlines()]
    found = [line["loss"] for line in losses if "loss" in line]
    assert found[0] == pytest.approx(GOLDEN_FIRST, abs=1e-3)
    assert result.eval_loss == pytest.approx(GOLDEN_EVAL, abs=1e-3)


def test_the_steps_equal_transformers_and_peft_by_hand(make, rows, tiny_model):
    """The same adapter, batches and AdamW written out plainly give the same losses."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from weightwright.data.formats import read_samples
    from weightwright.data.pack import rows_of_step
    from weightwright.data.template import encode

    settings = make(epochs=2, learning_rate=1e-3, schedule="linear")
    tune(settings)
    log = [json.loads(line) for line in (settings.out / "log.jsonl").read_text().splitlines()]

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    encoded = [encode(sample, tokenizer) for sample in read_samples(rows)]
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    torch.manual_seed(settings.seed)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=sorted(names)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], weight_decay=0.01)
    for step, line in enumerate(log):
        total = count = 0
        for n in rows_of_step(step, rows=12, epochs=2, batch=3, seed=0):
            ids = torch.tensor([encoded[n].token_ids])
            labels = torch.where(torch.tensor([encoded[n].labelled]), ids, -100)
            logits = model(input_ids=ids).logits[0, :-1]
            total = total + torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum")
            count += int((labels[0, 1:] != -100).sum())
        loss = total / count
        assert line["loss"] == pytest.approx(loss.item(), abs=1e-3)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / 8)  # 8 steps: a tenth of them is no warm-up
        optimizer.step()


def test_peft_loads_the_adapter_and_gives_the_same_logits(make, tiny_model, monkeypatch):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(30)[None]
    seen = {}
    finish = sys.modules["weightwright.tune.run"]._finish

    def spy(run, whole, loaded):
        with torch.no_grad():
            seen["logits"] = run.model(ids).logits
        return finish(run, whole, loaded)

    monkeypatch.setattr("weightwright.tune.run._finish", spy)
    result = tune(make(learning_rate=1e-2, epochs=4))
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    plain = base(ids).logits
    logits = PeftModel.from_pretrained(base, result.adapter)(ids).logits
    torch.testing.assert_close(logits, seen["logits"], rtol=1e-4, atol=1e-4)
    assert (logits - plain).abs().max() > 0.05
    config = json.loads((result.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert "<|im_start|>" in (result.adapter / "chat_template.jinja").read_text()


def test_a_finished_run_is_not_run_again(make):
    first = tune(make())
    again = tune(make(keep=5))
    assert again.finished_before
    assert again.to_json() == first.to_json()


def test_other_settings_in_the_same_folder_are_refused(make, rows):
    tune(make(max_steps=1))
    with pytest.raises(TuneError, match=r"rank was 4, is 8.*choose another --out"):
        tune(make(max_steps=1, rank=8))
    rows.write_text(rows.read_text() + rows.read_text().splitlines()[0] + "\n")
    with pytest.raises(TuneError, match="data_sha256"):
        tune(make(max_steps=1))


def test_a_folder_that_is_no_run_is_left_alone(make, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(TuneError, match="is no run of this program"):
        tune(make())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_rows_without_a_labelled_token_are_refused(make, rows):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    rows.write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(DataError, match=r"line 1: no answer to learn"):
        tune(make())


def test_fields_that_are_not_read_are_told(make, rows, caplog):
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    rows.write_text("".join(json.dumps(line | {"context": "c"}) + "\n" for line in lines[:6]))
    result = tune(make(max_steps=1))
    said = f"{rows}: filled fields that are not read: context (6 rows); "
    assert result.notes[0].startswith(said)
    assert any(record.getMessage().startswith(said) for record in caplog.records)


def test_a_pair_that_is_cut_to_equal_rows_is_dropped_and_said(make, rows):
    long = "x " * 200
    pairs = [{"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(3)]
    pairs.append({"prompt": "q", "chosen": f"{long} yes", "rejected": f"{long} no"})
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    result = tune(make(objective="dpo", max_length=60, too_long="truncate", max_steps=1, batch=1))
    dropped = f"{rows}: 1 of 4 pairs dropped, whose answers are the same within 60 tokens"
    assert [note.startswith(dropped) for note in result.notes] == [False, True]
    rows.write_text(json.dumps(pairs[-1]) + "\n")
    with pytest.raises(TuneError, match=r"no row of .* is left within 60 tokens"):
        tune(make(objective="dpo", max_length=60, too_long="truncate", out=make().out / "other"))


def test_rows_that_answer_with_a_placeholder_are_told_before_and_after(make, rows, caplog):
    rows.write_text(rows.read_text().replace("answer 3", "I am {{name}}"))
    result = tune(make(max_steps=1))
    said = f"{rows}: 1 of 12 rows answer with a placeholder ({{{{name}}}})"
    assert result.notes[0].startswith(said)
    assert any(record.getMessage().startswith(said) for record in caplog.records)


def test_too_long_rows_need_a_choice(make):
    with pytest.raises(DataError, match=r"of 12 rows are longer than 80 tokens.*--too-long"):
        tune(make(max_length=80))


def test_what_was_dropped_cut_or_bounded_is_said(make, caplog):
    result = tune(make(max_length=80, too_long="drop", warmup_steps=5, max_steps=1))
    dropped, long_warmup = result.notes
    assert re.search(r"rows.jsonl: \d+ of 12 rows dropped at 80 tokens", dropped)
    assert long_warmup == "warm-up is 5 of 1 steps, as asked; at most a tenth (0) is usual"
    assert set(result.notes) <= {record.message for record in caplog.records}


def test_a_loss_that_is_no_number_stops_with_the_last_good_checkpoint(make, monkeypatch):
    update, calls = loop.update_weights, []

    def broken(run, loss):
        calls.append(1)
        return update(run, float("nan") if len(calls) == 3 else loss)

    monkeypatch.setattr(loop, "update_weights", broken)
    settings = make(save_every=1)
    with pytest.raises(TuneError, match=r"step 3: the loss is nan.*step-00000002.*--learning-rate"):
        tune(settings)
    assert checkpoint.checkpoints(settings.out / "checkpoints")[-1].name == "step-00000002"
    assert not (settings.out / "result.json").exists()


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_interrupted_and_resumed_ends_with_the_same_weights(make, tmp_path, dropout):
    options = {"epochs": 2, "dropout": dropout, "save_every": 3}
    tune(make(out=tmp_path / "whole", **options))
    settings = make(out=tmp_path / "parts", **options)

    def interrupt(done, total, note=""):
        if done in (2, 5):
            os.kill(os.getpid(), signal.SIGINT)

    for done in (3, 6):  # the step under way when the signal came is not counted
        with pytest.raises(KeyboardInterrupt):
            tune(settings, progress=interrupt)
        assert checkpoint.checkpoints(settings.out / "checkpoints")[-1].name <= f"step-{done:08d}"
        assert not (settings.out / "result.json").exists()
    tune(settings)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    log = [json.loads(line)["step"] for line in (settings.out / "log.jsonl").read_text().splitlines()]
    assert log == list(range(1, 9))


# Forks once for each place, so that torch is imported only once; nothing is computed before the forks.
KILLED_RUNS = """
import os, signal, sys
from weightwright import files
from weightwright.weights import load
from weightwright.tune import adapt, checkpoint
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings
import peft, transformers

def killing(real, number):
    calls = 0
    def call(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

def run(place, number):
    def progress(done, total, note=""):
        if place == "step" and done == number:
            os.kill(os.getpid(), signal.SIGKILL)
    if place == "write":
        files.sync_file = killing(files.sync_file, number)
    elif place == "tensors":
        files.sync_tree = killing(files.sync_tree, number)
    elif place == "sync":
        files.sync_folder = killing(files.sync_folder, number)
    elif place == "replace":
        files._replace = killing(files._replace, number)
    tune(TuneSettings.model_validate_json(sys.argv[1]), progress=progress)

for where in sys.argv[2:]:
    child = os.fork()
    if not child:
        place, number = where.split(":")
        try:
            run(place, int(number))
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_killed_at_any_moment_and_resumed_ends_with_the_same_weights(make, tmp_path):
    options = {"epochs": 2, "save_every": 2, "keep": 1, "dropout": 0.1}
    tune(make(out=tmp_path / "whole", **options))
    settings = make(out=tmp_path / "killed", **options)
    # before the run has a name, between steps, while a checkpoint is written, before and after it is
    # renamed, while the adapter is put in place
    places = ["write:1", "step:3", "tensors:1", "sync:3", "sync:5", "replace:1"]
    command = [sys.executable, "-c", KILLED_RUNS, settings.model_dump_json(), *places]
    runs = subprocess.run(command, check=False, capture_output=True, text=True)
    assert runs.stdout.split() == [str(-signal.SIGKILL)] * len(places), runs.stderr
    for folder in checkpoint.checkpoints(settings.out / "checkpoints"):
        assert {path.name for path in folder.iterdir()} == {"state.json", "state.safetensors"}
    result = tune(settings)
    assert result.steps == 8
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_full_tuning_writes_a_model_that_loads(make, rows, precision):
    from transformers import AutoModelForCausalLM

    result = tune(make(method="full", precision=precision, learning_rate=1e-3, epochs=2, eval_data=rows))
    assert result.adapter is None
    assert result.model is not None
    AutoModelForCausalLM.from_pretrained(result.model)
    log = [json.loads(line) for line in (make().out / "log.jsonl").read_text().splitlines()]
    assert result.eval_loss < next(line for line in log if "eval_loss" in line)["eval_loss"]


@pytest.mark.parametrize(
    "values",
    [{}, {"dropout": 0.2}, {"packing": False}, {"precision": "bf16"}, {"dora": True, "micro_batch": 1}],
    ids=str,
)
def test_gradient_checkpointing_gives_the_same_losses_and_weights_bit_for_bit(make, rows, tmp_path, values):
    options = {"epochs": 2, "learning_rate": 1e-2, "eval_data": rows, **values}
    tune(make(out=tmp_path / "plain", gradient_checkpointing=False, **options))
    tune(make(out=tmp_path / "saving", gradient_checkpointing="mlp", **options))
    assert losses(tmp_path / "plain") == losses(tmp_path / "saving")
    assert_same(tmp_path / "plain", tmp_path / "saving")


def test_recomputing_whole_layers_learns_the_same(make, rows, tmp_path):
    """Module by module, as two steps: other sums in f32 (and the same, bit for bit, where neither has two steps)."""
    for name, on, dropout in (
        ("steps", False, 0),
        ("modules", True, 0),
        ("plain", False, 0.1),
        ("saving", True, 0.1),
    ):
        tune(make(out=tmp_path / name, epochs=2, eval_data=rows, gradient_checkpointing=on, dropout=dropout))
    steps, modules = (losses(tmp_path / name) for name in ("steps", "modules"))
    for one, other in zip(steps, modules, strict=True):
        assert one == tuple(value and pytest.approx(value, rel=1e-4) for value in other)
    assert_same(tmp_path / "plain", tmp_path / "saving")


@pytest.fixture
def room(make, monkeypatch):
    """Sets the memory between what a run of these settings needs with activations recomputed and without."""
    from weightwright.machine import memory
    from weightwright.plan.memory import estimate
    from weightwright.plan.spec import from_file
    from weightwright.tune import dataset
    from weightwright.tune.memory import plan_settings

    def between(settings, loaded) -> None:
        examples, _ = dataset.to_examples(
            dataset.Rows(settings, dataset.learnt(settings)), loaded, settings, dataset.learnt(settings)
        )
        longest = int(examples.lengths.max())
        needed = [
            estimate(from_file(Path(settings.model)), planned).peak.total_bytes
            for planned in (
                plan_settings(settings.model_copy(update={"gradient_checkpointing": on}), longest=longest)
                for on in (False, True)
            )
        ]
        own = psutil.Process().memory_info().rss
        monkeypatch.setattr(memory, "free_bytes", lambda _: sum(needed) // 2 - own)

    return between


def recomputing(monkeypatch) -> list[str]:
    """What is said to the models of the runs that follow."""
    from transformers import PreTrainedModel

    said: list[str] = []
    for name in ("activation_checkpointing_enable", "activation_checkpointing_disable"):
        real = getattr(PreTrainedModel, name)
        monkeypatch.setattr(
            PreTrainedModel,
            name,
            lambda self, *a, n=name, real=real, **k: (said.append(n), real(self, *a, **k)),
        )
    return said


def test_auto_recomputes_activations_where_only_so_the_run_fits(make, room, tiny_model, monkeypatch, caplog):
    from weightwright.weights.load import load

    settings = make(micro_batch=256, max_steps=1, dropout=0.1)  # layer by layer, with and without
    loaded, said = load(str(tiny_model), precision="f32", device="cpu"), recomputing(monkeypatch)
    assert tune(settings, loaded=loaded).notes == ()
    assert not said
    room(settings, loaded)
    small = settings.model_copy(update={"out": settings.out.with_name("small")})
    (note,) = tune(small, loaded=loaded).notes
    assert re.match(
        r"activations are recomputed \(gradient_checkpointing=auto\): .* GB would be needed without", note
    )
    assert note in caplog.text
    assert said == ["activation_checkpointing_enable", "activation_checkpointing_disable"]
    assert "gradient_checkpointing: auto" in (small.out / "settings.yaml").read_text()
    assert_same(settings.out, small.out)


def test_a_run_goes_on_where_there_is_other_room(make, room, tiny_model, tmp_path, monkeypatch):
    from weightwright.machine import memory
    from weightwright.weights.load import load

    options = {"micro_batch": 256, "epochs": 2, "save_every": 1, "dropout": 0.1}
    tune(make(out=tmp_path / "whole", **options))
    settings, enough = make(out=tmp_path / "parts", **options), memory.free_bytes
    loaded = load(str(tiny_model), precision="f32", device="cpu")

    def stop(done, total, note=""):
        if done == 3:
            raise OSError("stopped")

    room(settings, loaded)
    with pytest.raises(OSError, match="stopped"):
        tune(settings, loaded=loaded, progress=stop)
    monkeypatch.setattr(memory, "free_bytes", enough)
    assert tune(settings, loaded=loaded).notes == ()
    assert_same(tmp_path / "whole", tmp_path / "parts")
    tune(settings.model_copy(update={"gradient_checkpointing": True}))  # no other run


def test_micro_batches_do_not_change_what_is_learnt(make, tmp_path):
    tune(make(out=tmp_path / "one", micro_batch=1))
    tune(make(out=tmp_path / "many"))
    a, b = weights(tmp_path / "one"), weights(tmp_path / "many")
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [0.5, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 0.8536, 0.5, 0.1464]),
    ],
)
def test_learning_rates(schedule, shares):
    found = [loop.rate_share(step, 5, 1, schedule) for step in range(5)]
    assert found == pytest.approx(shares, abs=1e-4)


GOLDEN_FIRST, GOLDEN_EVAL = 6.3185, 6.1565
