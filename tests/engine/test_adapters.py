"""Adapters of a running engine: mixed in one batch, loaded and dropped between steps; against peft's own output."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError, RequestError
from weightwright.executor import lengths
from weightwright.executor import lora as bank
from weightwright.executor.lora_site import LoraSite
from weightwright.ports import ChatRequest, SamplingParams
from weightwright.testing.models import tiny_llama
from weightwright.weights.load import load
from weightwright.weights.origin import template_hash

from ..executor.families import tiny_config

pytestmark = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")

GREEDY = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
PROMPT = tuple(range(10, 40))


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory) -> dict[str, Path]:
    """Adapters of different ranks and targets, the last of them with magnitudes (DoRA)."""
    folder = tmp_path_factory.mktemp("adapters")
    made = {}
    for number, (rank, targets) in enumerate(
        ((4, "all-linear"), (8, ["q_proj", "down_proj"]), (2, ["lm_head", "up_proj"]), (4, "all-linear"))
    ):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, init_lora_weights=False,
                            use_dora=number == 3)  # fmt: skip
        made_by_peft = get_peft_model(model, config)
        for name, weight in made_by_peft.named_parameters():
            if "magnitude" in name:
                weight.data *= torch.rand_like(weight) + 0.5
        made_by_peft.save_pretrained(folder / f"a{number}", save_embedding_layers=False)
        made[f"a{number}"] = folder / f"a{number}"
    return made


def expected(tiny_model: Path, adapter: Path | None) -> tuple[int, ...]:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    ids = list(PROMPT)
    with torch.inference_mode():
        for _ in range(GREEDY.max_tokens):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return tuple(ids[len(PROMPT) :])


def opened(tiny_model: Path, adapters: dict[str, Path], **settings) -> Engine:
    loaded = load(str(tiny_model), precision="f32")
    return Engine(loaded, adapters=adapters, settings=EngineSettings(precision="f32", **settings))


def test_rows_of_different_adapters_in_one_batch_are_each_their_own(tiny_model, adapters) -> None:
    engine = opened(tiny_model, adapters, step_tokens=40)
    try:
        names = [None, "a0", "a1", "a2", "a3", "a1", None, "a0", "a3"]
        replies = [
            engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter=name)) for name in names
        ]
        got = [reply.result().completions[0].token_ids for reply in replies]
        wanted = {name: expected(tiny_model, adapters.get(name)) for name in set(names)}
        assert got == [wanted[name] for name in names]
        assert len(set(got)) == 5  # no adapter read another's blocks
    finally:
        engine.close()


def test_loaded_and_dropped_while_others_answer(tiny_model, adapters) -> None:
    engine = opened(tiny_model, {"a0": adapters["a0"]})
    try:
        long = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)
        first = engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=long, adapter="a0"))
        engine.load_adapter("a1", adapters["a1"])
        second = engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter="a1"))
        assert second.result().completions[0].token_ids == expected(tiny_model, adapters["a1"])
        engine.drop_adapter("a1")
        assert engine.adapters == ("a0",)
        with pytest.raises(RequestError, match="there is no adapter 'a1'; adapters: a0"):
            engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter="a1")).result()
        assert first.result().completions[0].token_ids[:16] == expected(tiny_model, adapters["a0"])
        with pytest.raises(ModelError, match="holds no adapter_config"):
            engine.load_adapter("nothing", tiny_model / "absent")
    finally:
        engine.close()


def test_dropping_an_adapter_fails_the_requests_that_use_it(tiny_model, adapters) -> None:
    engine = opened(tiny_model, adapters)
    try:
        long = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)
        reply = engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=long, adapter="a0"))
        engine.drop_adapter("a0")
        with pytest.raises(RequestError, match="'a0' was dropped while the request ran"):
            reply.result()
        assert engine.stats.free_blocks == engine.stats.blocks
    finally:
        engine.close()


def test_scoring_with_an_adapter_that_is_dropped_before_its_turn_fails_alone(tiny_model, adapters) -> None:
    engine = opened(tiny_model, adapters)
    try:
        check = engine._bank.slot
        engine._bank.slot = lambda name: 0  # as if the adapter went between the check and the engine's turn
        engine._post(lambda: (setattr(engine._bank, "slot", check), engine._bank.drop("a0")))
        with pytest.raises(RequestError, match="there is no adapter 'a0'"):
            engine.score("a", ["b"], adapter="a0")
        assert engine.score("a", ["b"])[0].tokens == 1  # the engine's thread lives
    finally:
        engine.close()


def test_an_adapter_of_another_base_or_template_is_told(tiny_model, adapters, caplog) -> None:
    engine = opened(tiny_model, {})
    folder = adapters["a0"]
    origin = folder / "weightwright.json"
    template = engine.tokenizer.chat_template
    same = {"base_fingerprint": engine._fingerprint, "template_sha256": template_hash(template)}
    try:
        for change, words in (
            ({}, ""),
            ({"base_fingerprint": "else"}, "fingerprint else"),
            ({"template_sha256": template_hash("else")}, "another chat template"),
        ):
            origin.write_text(json.dumps(same | change), encoding="utf-8")
            caplog.clear()
            engine.load_adapter("one", folder)
            engine.drop_adapter("one")
            assert (words in caplog.text) if words else not caplog.text
    finally:
        origin.unlink()
        engine.close()


@pytest.fixture
def dora(adapters, tmp_path: Path) -> Path:
    """A DoRA adapter whose row lengths nobody has worked out."""
    return Path(
        shutil.copytree(adapters["a3"], tmp_path / "dora", ignore=shutil.ignore_patterns("row_lengths*"))
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sites whose row lengths are worked out, and in which thread."""
    found: list[str] = []
    lengths = LoraSite.lengths

    def noted(site: LoraSite, weights):
        known = lengths(site, weights)
        found.extend([threading.current_thread().name] * bool(known))
        return known

    monkeypatch.setattr(LoraSite, "lengths", noted)
    return found


def test_row_lengths_are_worked_out_aside_and_kept_beside_the_adapter(
    tiny_model, dora: Path, counted
) -> None:
    wanted = expected(tiny_model, dora)

    def answer(engine: Engine) -> tuple[int, ...]:
        asked = ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter="dora")
        return engine.submit(asked).result().completions[0].token_ids

    for times in range(3):
        engine = opened(tiny_model, {})
        try:
            if times == 2:  # by whatever cause it is broken
                (kept,) = dora.glob("row_lengths.*")
                kept.write_bytes(kept.read_bytes()[:100])
            engine.load_adapter("dora", dora)
            assert answer(engine) == wanted
        finally:
            engine.close()
        assert len(list(dora.glob("row_lengths.*.safetensors"))) == 1
        if times == 0:
            assert len(counted) == 2 * 4
            assert not any(name == "weightwright-engine" for name in counted)
        if times == 1:
            assert len(counted) == 2 * 4, "they were read"
    assert len(counted) == 4 * 4, "a file that cannot be read is made anew"


def test_row_lengths_of_another_base_or_another_adapter_are_not_taken(
    tiny_model, dora: Path, tmp_path, counted
) -> None:
    for base in (tiny_model, tiny_llama(tmp_path / "other", seed=5)):
        opened(base, {"dora": dora}).close()
    assert len(counted) == 2 * 8
    weights = load_file(dora / "adapter_model.safetensors")
    save_file({name: tensor * 1.5 for name, tensor in weights.items()}, dora / "adapter_model.safetensors")
    opened(tiny_model, {"dora": dora}).close()
    assert len(counted) == 3 * 8


def test_row_lengths_stand_at_home_where_the_folder_cannot_be_written(
    tiny_model, dora: Path, own_home, monkeypatch: pytest.MonkeyPatch, counted
) -> None:
    write = lengths.write_whole

    def guarded(path: Path, content: bytes) -> None:
        if path.parent == dora:
            raise PermissionError(13, "Permission denied", str(path))
        write(path, content)

    monkeypatch.setattr(lengths, "write_whole", guarded)
    for _ in range(2):
        opened(tiny_model, {"dora": dora}).close()
    assert len(counted) == 8
    assert len(list((own_home / "row_lengths").iterdir())) == 1


def test_an_adapter_goes_in_between_the_steps_of_others(tiny_model, adapters, monkeypatch) -> None:
    monkeypatch.setattr(bank, "_PLACED_BYTES", 0)  # as if its matrices were large
    engine = opened(tiny_model, {"a0": adapters["a0"]})
    try:
        order: list[str] = []
        run, put = engine._runner.run, LoraSite.put
        monkeypatch.setattr(engine._runner, "run", lambda batch: (order.append("step"), run(batch))[1])
        monkeypatch.setattr(LoraSite, "put", lambda *given: (order.append("put"), put(*given))[1])
        long = SamplingParams(temperature=0, max_tokens=400, ignore_eos=True)
        reply = engine.submit(ChatRequest(prompt_token_ids=PROMPT, params=long, adapter="a0"))
        next(iter(reply))
        engine.load_adapter("a3", adapters["a3"])
        engine.drop_adapter("a3")
        engine.load_adapter("a1", adapters["a1"])
        assert not reply.usage.completion_tokens, "it has not ended before"
        puts = [at for at, what in enumerate(order) if what == "put"]
        assert len(puts) > 8
        assert all(order[at + 1] == "step" for at in puts[:-1])
        free = tuple(reply.result().completions[0].token_ids)
        asked = ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter="a1")
        assert engine.submit(asked).result().completions[0].token_ids == expected(tiny_model, adapters["a1"])
        assert free[:16] == expected(tiny_model, adapters["a0"])
    finally:
        engine.close()


def test_an_adapter_that_fails_half_way_leaves_nothing(tiny_model, adapters, monkeypatch) -> None:
    engine = opened(tiny_model, {"a0": adapters["a0"]})
    put, calls = LoraSite.put, []

    def failing(*given) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("no room")
        put(*given)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(LoraSite, "put", failing)
            with pytest.raises(MemoryError):
                engine.load_adapter("a3", adapters["a3"])
        assert engine.adapters == ("a0",)
        for name in ("a2", "a0"):
            if name == "a2":
                engine.load_adapter(name, adapters[name])  # fewer modules, into the same slot
            asked = ChatRequest(prompt_token_ids=PROMPT, params=GREEDY, adapter=name)
            assert engine.submit(asked).result().completions[0].token_ids == expected(
                tiny_model, adapters[name]
            )
    finally:
        engine.close()


def test_a_layer_between_the_layers_and_the_head_has_the_adapter_of_its_row(tmp_path: Path) -> None:
    """It sees the rows whose logits are wanted, as many as there are, in another order."""
    folder = tiny_llama(tmp_path / "model")  # for its tokenizer
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("modernbert-decoder"), dtype=torch.float32)
    model.save_pretrained(folder)
    made = {}
    for name in ("one", "two"):
        config = LoraConfig(r=4, lora_alpha=32, target_modules=["dense"], init_lora_weights=False)
        get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).save_pretrained(tmp_path / name)
        made[name] = tmp_path / name
    engine = Engine(
        load(str(folder), precision="f32"), adapters=made, settings=EngineSettings(kv_memory="64MB")
    )
    try:
        asked = [ChatRequest(prompt_token_ids=PROMPT, adapter=name, params=GREEDY) for name in ("two", "one")]
        alone = [engine.submit(one).result().completions[0].token_ids for one in asked]
        together = [reply.result().completions[0].token_ids for reply in engine.submit_together(asked)]
    finally:
        engine.close()
    assert alone[0] != alone[1]
    assert together == alone
