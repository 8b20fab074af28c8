"""Time and cost: the work by parts, known accelerators, prices, the verb; the probe against products of its own."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from weightwright.cli.app import main
from weightwright.errors import SettingsError, TuneError
from weightwright.kernels.elementwise import padded_rows
from weightwright.machine.accelerators import KNOWN, accelerator
from weightwright.machine.probe import Shapes, probe
from weightwright.machine.rates import Rates
from weightwright.plan import layout, work
from weightwright.plan.duration import training_time
from weightwright.plan.layout import Rows
from weightwright.plan.price import parse_price
from weightwright.plan.rates import of_accelerator, shapes_of
from weightwright.plan.serving_time import serving_speed
from weightwright.plan.settings import PlanSettings
from weightwright.plan.spec import from_config
from weightwright.plan.timing import timing

LLAMA = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
         "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096}  # fmt: skip
SPEC = from_config(LLAMA)
# a machine of round numbers, where products alone take time
PRODUCTS = Rates("round", 1e12, 1e12, 1e12, 1e30, 1e30, 1e30, 1e30, 0.0)
ROWS = Rows(((512,),) * 64, 64 * 256)


def settings(**values: Any) -> PlanSettings:
    asked = {"model": "x", "task": "lora", "max_length": 512, "batch": 8, "gradient_checkpointing": False}
    return PlanSettings(**{**asked, **values})


def parts(
    rates: Rates = PRODUCTS, rows: Rows = ROWS, held_out: Rows | None = None, **values: Any
) -> dict[str, float]:
    return dict(training_time(SPEC, settings(**values), rates, rows, held_out).parts)


def test_the_products_of_llama_are_two_operations_a_weight():
    # 6,738,415,616 parameters less embedding, head and norms
    layers = 6_738_415_616 - 2 * 32000 * 4096 - 65 * 4096
    assert work.layer_flops(SPEC) == 2 * layers
    assert work.head_flops(SPEC) == 2 * 32000 * 4096
    assert work.adapter_flops(SPEC, settings(rank=8)) == 2 * 19_988_480
    # queries by keys over a row of 512: 2 x 512 x 512 x 4096 in each of 32 layers
    assert work.attention_flops(SPEC) * 512**2 == 32 * 2 * 512 * 512 * 4096


def test_lora_needs_no_gradients_of_the_base_and_full_tuning_does():
    tokens = 64 * 512
    forward = tokens * work.layer_flops(SPEC) / 1e12
    lora, full = parts(), parts(task="full", precision="bf16")
    assert lora["forward products"] == pytest.approx(forward)
    assert lora["backward products"] == pytest.approx(forward)
    assert full["backward products"] == pytest.approx(2 * forward)
    assert "adapter" in lora
    assert "adapter" not in full
    # the head meets labelled tokens only, once more for the gradient of its input, a third time for its own
    head = 64 * 256 * work.head_flops(SPEC) / 1e12
    assert lora["head"] == pytest.approx(2 * head)
    assert full["head"] == pytest.approx(3 * head)


def test_recomputing_is_one_more_forward_pass_or_a_part_and_qlora_unpacks_twice_a_pass():
    rates = Rates("round", 1e12, 1e12, 1e12, 1e12, 1e12, 1e9, 1e30, 0.0)
    plain, again = parts(rates), parts(rates, gradient_checkpointing=True)
    assert again["recomputing"] == plain["forward products"]
    layer = SPEC.kinds[0]
    share = 2 * SPEC.hidden * layer.inner / layer.linear_weights  # gate and up
    part = parts(rates, gradient_checkpointing="mlp")
    assert part["recomputing"] == pytest.approx(share * plain["forward products"])
    assert part["attention"] == plain["attention"]
    assert again["attention"] == pytest.approx(plain["attention"] * 4.5 / 3.5)
    packed = parts(rates, task="qlora")
    passes = 64 * 512 / 1024
    assert packed["unpacking"] == pytest.approx(passes * 2 * SPEC.linear_weights * 2.0 / 1e9)
    assert parts(rates, task="qlora", gradient_checkpointing=True)["unpacking"] == pytest.approx(
        packed["unpacking"] * 1.5
    )


def test_epochs_steps_evaluation_and_the_reference_are_counted():
    once = training_time(SPEC, settings(), PRODUCTS, ROWS)
    assert (once.steps, once.tokens) == (8, 64 * 512)
    thrice = training_time(SPEC, settings(epochs=3), PRODUCTS, ROWS)
    assert (thrice.steps, thrice.tokens) == (24, 3 * 64 * 512)
    assert training_time(SPEC, settings(epochs=3, max_steps=5), PRODUCTS, ROWS).tokens == 5 * 8 * 512
    # before the first step, and after each second of eight
    held_out = Rows(((512,),) * 8, 8 * 512)
    forward = 8 * 512 * (work.layer_flops(SPEC) + work.head_flops(SPEC)) / 1e12
    assert parts(held_out=held_out)["evaluation"] == pytest.approx(5 * forward, rel=1e-6)
    rarely = training_time(SPEC, settings(), PRODUCTS, ROWS, held_out, eval_every=8)
    assert rarely.parts["evaluation"] == pytest.approx(2 * forward, rel=1e-6)
    pairs = Rows(((512, 512),) * 32, 64 * 256)
    assert parts(rows=pairs, objective="dpo")["reference"] > 0
    assert "reference" not in parts(rows=pairs, objective="orpo")


def test_real_lengths_count_packed_or_padded():
    rows = Rows(((1000,), (100,), (100,), (100,)), 1300)
    packed = layout.trained(settings(batch=4, max_length=1000), rows)
    padded = layout.trained(settings(batch=4, max_length=1000, packing=False, micro_batch=4), rows)
    assert packed.tokens == padded.tokens == 1300
    assert packed.computed == 1024 + 320  # of few sizes on a CPU
    assert padded.computed == 1024 + 3 * 112
    assert packed.squares == 1000**2 + 3 * 100**2
    for device, width in (("cpu", 1024), ("cuda", 1000)):
        asked = settings(packing=False, micro_batch=2, device=device)
        one_pass = layout.laid_out(asked, [(1000,), (990,)])
        assert (one_pass.computed, one_pass.squares) == (2 * width, 2 * width**2)


def test_what_all_rows_begin_with_is_computed_once_in_a_pass():
    rows = Rows(((200,),) * 8, 800, common=50)
    asked = settings(batch=8, max_length=1000)
    found = layout.trained(asked, rows)
    assert (found.tokens, found.passes) == (1600, 2)
    assert found.computed == padded_rows(6 * 150 + 50) + padded_rows(2 * 150 + 50)
    for other in ({"objective": "orpo"}, {"dropout": 0.1}, {"packing": False}, {"device": "cuda"}):
        asked = settings(batch=8, max_length=1000, **other)
        assert layout.trained(asked, rows) == layout.trained(asked, replace(rows, common=0))


def test_a_long_run_is_laid_out_in_part_and_scaled():
    lengths = [(100 + n % 300,) for n in range(20_000)]
    rows = Rows(tuple(lengths), 1)
    found = layout.trained(settings(batch=4), rows)
    assert found.tokens == pytest.approx(sum(n for (n,) in lengths), rel=0.05)
    assert found.rows == pytest.approx(20_000)


def test_a_step_of_serving_reads_the_weights_once_for_all_sequences():
    rates = Rates("round", 1e30, 1e30, 1e30, 1e30, 1e30, 1e30, 1e11, 0.0)
    asked = {"task": "serve", "precision": "bf16", "context": 32, "device": "cuda"}
    one = serving_speed(SPEC, settings(**asked, sequences=1), rates)
    ten = serving_speed(SPEC, settings(**asked, sequences=10), rates)
    weights = 2 * (6_738_415_616 - 32000 * 4096)  # of the embedding a row a token
    assert one.decode_tokens_per_s == pytest.approx(1e11 / weights, rel=0.01)
    assert ten.decode_tokens_per_s == pytest.approx(10 * one.decode_tokens_per_s, rel=0.02)
    assert ten.sequence_tokens_per_s == pytest.approx(one.decode_tokens_per_s, rel=0.02)
    computing = Rates("round", 1e12, 1e12, 1e12, 1e30, 1e30, 1e30, 1e30, 0.0)
    prompts = serving_speed(SPEC, settings(**{**asked, "context": 2048}), computing)
    assert prompts.prefill_tokens_per_s == pytest.approx(1e12 / work.layer_flops(SPEC), rel=0.01)


@pytest.mark.parametrize(
    ("written", "name"),
    [("RTX 4090", "rtx-4090"), ("nvidia_l4", "l4"), ("A100", "a100-80gb"), ("rtx4090", "rtx-4090"),
     ("Ascend 910C", "ascend-910c"), ("GeForce RTX 3090", "rtx-3090"), ("H100 SXM", "h100"), ("MI300X", "mi300x"),
     ("4090", "rtx-4090"), ("NVIDIA H200", "h200")],
)  # fmt: skip
def test_accelerators_are_known_however_they_are_spelled(written, name):
    assert accelerator(written).name == name


def test_every_accelerator_has_peaks_that_fit_together_and_a_source():
    for one in KNOWN.values():
        assert one.source, one.name
        assert one.tflops("bf16") >= (one.f32_tflops or 1) > 0, one.name
        assert 100 < one.memory_gb_per_s < 10_000, one.name
        assert 8 <= one.memory_gb <= 300, one.name
    assert accelerator("t4").tflops("bf16") == 8.1  # bf16 is not native there
    shown = of_accelerator("l40s", settings())
    assert shown.forward == 0.5 * 362e12
    assert "50% of 362 TFLOP/s" in shown.source
    with pytest.raises(
        SettingsError, match="no peak of f32 products is published; ask for another --precision"
    ):
        accelerator("gaudi-3").tflops("f32")
    with pytest.raises(SettingsError, match="did you mean h100"):
        accelerator("h1000")


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [("2.49", 2.49, ""), ("2.49 EUR", 2.49, "EUR"), ("$2.49", 2.49, "$"), ("0.80 USD/h", 0.8, "USD"),
     ("12元", 12, "元"), ("¥ 12.5/hour", 12.5, "¥"), ("0", 0, ""), ("100 ₹", 100, "₹"), ("3 CHF / h", 3, "CHF")],
)  # fmt: skip
def test_prices_are_read_in_any_currency(text, amount, currency):
    price = parse_price(text)
    assert (price.per_hour, price.currency) == (amount, currency)
    assert price.of(1800) == amount / 2


@pytest.mark.parametrize(
    "text", ["-1", "-2 EUR", "nan", "inf", "free", "", "1,5 EUR", "$2 EUR", "2 3", "1e5"]
)
def test_what_is_no_price_is_refused(text):
    with pytest.raises(ValueError, match=r"expected what an hour costs|is no number"):
        parse_price(text)


def test_amounts_have_digits_that_say_something():
    price = parse_price("1 EUR")
    assert [price.text(x) for x in (1234.5, 2, 0.0123, 0)] == [
        "1,234.50 EUR",
        "2.00 EUR",
        "0.012 EUR",
        "0.00 EUR",
    ]


def test_the_probe_knows_a_large_product_from_a_thin_one_and_keeps_to_its_budget():
    shapes = shapes_of(SPEC, settings(), ROWS)
    assert shapes.rows == 1024
    assert sum(count for count, *_ in shapes.matrices) == 7 * 32
    small = Shapes("f32", 64, ((2, 64, 96), (1, 96, 64)), 64, 96, 500, (2, 4, 16, 32), rank=4)
    began_s = time.perf_counter()
    found = probe(small, budget_s=0.2)
    assert time.perf_counter() - began_s >= 0.2
    values = found.to_json()
    assert all(value > 0 for value in values.values() if isinstance(value, float))
    assert found.forward > found.adapters  # thin products never reach as much
    assert 0 < found.share <= 1


def test_a_probed_machine_is_not_the_one_that_is_only_described():
    assert settings().measurable
    assert not settings(probe=False).measurable
    assert not settings(device_memory="24GB").measurable
    assert not settings(accelerator="l4").measurable
    assert timing(SPEC, settings(probe=False)) is None


@pytest.fixture
def plan(capsys, tmp_path):
    def run(*options: object, works: bool = True) -> str:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(LLAMA), encoding="utf-8")
        assert (main(["plan", str(file), *map(str, options)]) == 0) == works
        shown = capsys.readouterr()
        return shown.out if works else shown.err

    return run


def test_a_run_on_a_known_accelerator_has_hours_and_a_price(plan):
    asked = ("--task", "lora", "--rows", 52_000, "--epochs", 3, "--batch", 128, "--max-length", 512)
    found = json.loads(plan(*asked, "--accelerator", "H100", "--price", "2.49 EUR", "--json"))
    assert found["fits"]  # into the 80 GB of that card
    said = found["time"]
    assert said["steps"] == 1219
    assert said["tokens"] == 52_000 * 3 * 512
    # 2 products of 13 GFLOP a token at half of 989 TFLOP/s, and what comes to them
    least_s = said["tokens"] * 2 * work.layer_flops(SPEC) / 494.5e12
    assert least_s < said["seconds"] < 2.5 * least_s
    assert said["hours"] == said["seconds"] / 3600
    assert sum(said["parts_s"].values()) == pytest.approx(said["seconds"])
    assert said["cost"]["total"] == pytest.approx(2.49 * said["hours"])
    assert said["cost"]["currency"] == "EUR"
    assert "50% of 989 TFLOP/s" in said["rates"]["source"]
    shown = plan(*asked, "--accelerator", "h100", "--price", "2.49 EUR")
    assert "EUR for 1,219 steps, 79,872,000 tokens" in shown.replace("\n", " ")


def test_without_rows_a_rate_is_said_and_no_hours(plan):
    found = json.loads(plan("--task", "qlora", "--accelerator", "l4", "--price", "0.8", "--json"))["time"]
    assert "seconds" not in found
    assert found["cost"]["per_million_tokens"] == pytest.approx(0.8 / 3600 * 1e6 / found["tokens_per_s"])
    assert "--data or --rows" in plan("--task", "qlora", "--accelerator", "l4")


def test_serving_says_rates_and_the_price_of_a_million_tokens(plan):
    options = ("--task", "serve", "--sequences", 16, "--accelerator", "a100")
    found = json.loads(plan(*options, "--price", "1.9 USD", "--json"))["time"]
    assert found["sequences"] == 16
    assert found["tokens_per_s"] == pytest.approx(16 * found["sequence_tokens_per_s"])
    assert found["prefill_tokens_per_s"] > found["tokens_per_s"]
    assert found["cost"]["per_million_tokens"] > found["cost"]["per_million_prompt_tokens"] > 0
    assert "new tokens/s with 16 sequences" in plan(*options)


def test_where_nothing_is_known_of_the_machine_that_is_said(plan):
    options = ("--task", "lora", "--device-memory", "24GB")
    assert "time" not in json.loads(plan(*options, "--json"))
    assert "name the machine (--accelerator" in plan(*options)
    assert "time: not estimated" in plan("--task", "lora", "--no-probe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--accelerator", "l5"), "accelerator='l5' is not known; known: a10, a100-40gb"),
        (("--accelerator", "l4", "--price=-1"), "expected what an hour costs"),
        (("--price", "2", "--no-probe"), "price needs to know how fast the machine is"),
        (("--price", "2", "--device-memory", "24GB"), "price needs to know how fast the machine is"),
        (("--task", "lora", "--epochs", "0", "--accelerator", "l4"), "epochs"),
        (("--task", "lora", "--rows", "0", "--accelerator", "l4"), "rows"),
        (("--accelerator", "l4", "--device", "cpu"), "device=cpu is no place for accelerator=l4"),
        (("--task", "lora", "--rows", "5", "--data", "rows.jsonl"), "give data or rows, not both"),
        (("--task", "lora", "--objective", "grpo", "--price", "1", "--accelerator", "l4"), "objective=grpo"),
        (("--task", "serve", "--data", "rows.jsonl"), "data means nothing for task=serve"),
        (("--task", "lora", "--eval-data", "rows.jsonl"), "eval_data needs data"),
        (("--task", "lora", "--data", "nowhere.jsonl", "--no-probe"), "nowhere.jsonl"),
    ],
)
def test_what_is_wrong_is_one_clear_line(plan, options, message):
    shown = plan(*options, works=False)
    assert shown.startswith("error: ")
    assert message in shown
    assert shown.count("\n") == 1


def test_this_machine_is_measured_unless_it_is_told_not_to_be(capsys, tmp_path, tiny_model):
    file = tmp_path / "rows.json"
    rows = [{"instruction": "Say " + "yes " * n, "output": "yes " * n} for n in range(1, 9)]
    file.write_text(json.dumps(rows), encoding="utf-8")
    asked = ["plan", str(tiny_model), "--task", "lora", "--data", str(file), "--batch", "4", "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)["time"]
    assert found["steps"] == 2
    assert found["rates"]["source"].startswith("measured here: ")
    assert main([*asked, "--no-probe"]) == 0
    assert "time" not in json.loads(capsys.readouterr().out)
    # the real rows: what a run of the same settings would read
    from weightwright.tune.lengths import planned_rows

    settings = PlanSettings(model=str(tiny_model), task="lora", data=file)
    kept, held_out, notes = planned_rows(settings)
    assert kept is not None
    assert found["tokens"] == kept.tokens > kept.labelled > 0
    assert (len(kept.examples), held_out, notes) == (8, None, ())
    limit = max(map(max, kept.examples)) - 1
    short, _, notes = planned_rows(settings.model_copy(update={"max_length": limit}))
    assert short is not None
    assert max(map(max, short.examples)) == limit
    assert f"1 rows are longer than {limit} tokens" in notes[0]
    with pytest.raises(TuneError, match="is left within 2 tokens"):
        planned_rows(settings.model_copy(update={"max_length": 2}))
