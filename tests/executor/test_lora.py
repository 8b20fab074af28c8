"""LoRA adapters against peft's own output: alone and mixed, over other bases; and what is refused."""

import copy
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from weightwright.errors import ModelError, RequestError
from weightwright.executor.linear import pack, quantize_rows, supported
from weightwright.executor.lora import AdapterBank, BatchRows, read_adapter, wrap
from weightwright.executor.lora_site import LoraSite
from weightwright.kernels import lora, pool
from weightwright.kernels.int8 import int8_kernel
from weightwright.weights.adapter import LoraWeights

LAYER = "model.layers.0.self_attn."
KINDS: dict[str, dict[str, Any]] = {
    "rank1": {"r": 1, "target_modules": ["q_proj"]},
    "rank4": {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "rank13": {"r": 13, "lora_alpha": 7, "target_modules": "all-linear"},
    "rslora": {"r": 9, "lora_alpha": 5, "use_rslora": True, "target_modules": "all-linear"},
    "regex": {"r": 3, "target_modules": r".*\.1\.mlp\.(up|gate)_proj"},
    "one_layer": {"r": 5, "target_modules": ["o_proj", "k_proj"], "layers_to_transform": [1]},
    "patterns": {
        "r": 4,
        "target_modules": ["q_proj", "k_proj", "up_proj", "down_proj"],
        "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 11},
        "alpha_pattern": {"down_proj": 32, "^model.layers.0.self_attn.k_proj": 3},
    },
    "head": {"r": 6, "target_modules": ["lm_head", "gate_proj"]},
    "bias": {"r": 4, "lora_bias": True, "target_modules": ["q_proj", "k_proj", "o_proj", "up_proj"]},
    "dora": {"r": 5, "use_dora": True, "target_modules": "all-linear"},
    "dora_head": {"r": 3, "use_dora": True, "use_rslora": True, "target_modules": ["lm_head", "k_proj"]},
}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=151, hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False, initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=151, n_embd=48, n_layer=2, n_head=4, initializer_range=0.2)
    return GPT2LMHeadModel(config).eval()


def save(folder: Path, model: torch.nn.Module, *, seed: int = 1, **kind: Any) -> Path:
    """An adapter with random weights, as peft makes and saves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's advice about heads, biases and merging
        config = LoraConfig(**{"init_lora_weights": False, "task_type": "CAUSAL_LM"} | kind)
        made = get_peft_model(copy.deepcopy(model), config)
    for name, weight in made.named_parameters():
        if "magnitude" in name:  # else the lengths of the rows as they are
            weight.data *= torch.rand_like(weight) + 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_pretrained(folder)
    return folder


def reference(model: torch.nn.Module, folder: Path | None, ids: torch.Tensor) -> torch.Tensor:
    """What peft computes with one adapter: [batch, tokens, vocab]."""
    from peft import PeftModel

    model = copy.deepcopy(model)
    if folder is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False).eval()
    with torch.no_grad():
        return model(input_ids=ids).logits


class Wrapped:
    """A model with a bank around its linear layers; each row of the batch has its own adapter."""

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.bank = copy.deepcopy(model), AdapterBank(dtype)
        self.paths = wrap(self.model, self.bank)

    def __call__(self, names: list[str | None], ids: torch.Tensor) -> torch.Tensor:
        slots = [self.bank.slot(name) for name in names for _ in range(ids.shape[1])]
        self.bank.rows = self.bank.batch(slots)
        with torch.inference_mode():
            return self.model(input_ids=ids).logits


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an adapter of `KINDS` for the tiny Llama, made once."""
    root, model = tmp_path_factory.mktemp("adapters"), llama()

    def folder(name: str) -> Path:
        if not (root / name).exists():
            save(root / name, model, seed=sorted(KINDS).index(name), **KINDS[name])
        return root / name

    return folder


def tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randint(0, 151, (rows, length), generator=torch.Generator().manual_seed(2))


def close(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("length", [3, 40])  # few rows of an adapter, and many
@pytest.mark.parametrize("kind", list(KINDS))
def test_one_adapter_equals_peft(saved: Callable[[str], Path], kind: str, length: int) -> None:
    model, ids = llama(), tokens(1, length)
    ours = Wrapped(model)
    ours.bank.load(read_adapter("mine", saved(kind)))
    expected = reference(model, saved(kind), ids)
    assert (expected - reference(model, None, ids)).abs().max() > 0.01  # the adapter does something
    close(ours(["mine"], ids), expected)
    close(ours([None], ids), reference(model, None, ids))


@pytest.mark.parametrize("length", [1, 5, 14])
def test_adapters_of_all_kinds_in_one_batch_equal_peft_one_by_one(
    saved: Callable[[str], Path], length: int
) -> None:
    model, ours = llama(), Wrapped(llama())
    for kind in KINDS:
        ours.bank.load(read_adapter(kind, saved(kind)))
    # with length 14, `head` has two long runs and the others are few
    names = [None, *KINDS, "rank4", None, "head", "head", "head", "rank4", "head", "head", "head"]
    ids = tokens(len(names), length)
    got = ours(names, ids)
    for row, name in enumerate(names):
        close(got[row : row + 1], reference(model, name and saved(name), ids[row : row + 1]))


def test_an_adapter_of_gpt2_equals_peft(tmp_path: Path) -> None:
    """GPT-2's Conv1D keeps its weights [in, out]; its vocabulary is no multiple of a chunk."""
    model, ours = gpt2(), Wrapped(gpt2())
    kinds: list[dict[str, Any]] = [
        {"r": 4, "target_modules": ["c_attn"], "fan_in_fan_out": True},
        {"r": 7, "target_modules": ["c_attn", "c_proj", "c_fc", "lm_head"], "fan_in_fan_out": True},
        {"r": 2, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True, "use_dora": True},
    ]
    folders = [save(tmp_path / str(at), model, **kind) for at, kind in enumerate(kinds)]
    for at, folder in enumerate(folders):
        ours.bank.load(read_adapter(str(at), folder))
    ids = tokens(4, 6)
    got = ours(["1", None, "0", "2"], ids)
    for row, folder in enumerate((folders[1], None, folders[0], folders[2])):
        close(got[row : row + 1], reference(model, folder, ids[row : row + 1]))


@pytest.mark.parametrize("length", [4, 40])
def test_a_bf16_base_gives_peft_s_result_within_its_rounding(
    saved: Callable[[str], Path], length: int
) -> None:
    kinds = ["rank13", "bias", "dora"]
    model, ids = llama().bfloat16(), tokens(3, length)
    ours = Wrapped(model, torch.bfloat16)
    for kind in kinds:
        ours.bank.load(read_adapter(kind, saved(kind)))
    got = ours([*kinds], ids)
    assert got.dtype == torch.bfloat16
    exact = [reference(model.float(), saved(kind), ids[[row]]) for row, kind in enumerate(kinds)]
    peft = [reference(llama().bfloat16(), saved(kind), ids[[row]]) for row, kind in enumerate(kinds)]
    ours_off, peft_off = ((x.float() - torch.cat(exact)).square().mean() for x in (got, torch.cat(peft)))
    assert ours_off < 1.5 * peft_off


class ByBytes(torch.nn.Module):
    """A base layer that keeps its weights as int8, as quantised layers do: only its output is looked at."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.packed = (linear.weight.detach() / self.scale).round().to(torch.int8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.packed * self.scale)


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_an_int8_base_gets_the_same_delta(saved: Callable[[str], Path], kind: str) -> None:
    model, rounded = llama(), llama()
    for path, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear):
            model.set_submodule(path, ByBytes(module))
            rounded.get_submodule(path).weight.data = module_weight(model.get_submodule(path))
    ours, ids = Wrapped(model), tokens(2, 5)
    ours.bank.load(read_adapter("mine", saved(kind)))
    close(ours(["mine", "mine"], ids), reference(rounded, saved(kind), ids))


def module_weight(module: ByBytes) -> torch.Tensor:
    return module.packed * module.scale


FUSED = ("rank4", "patterns", "rank13")


@pytest.mark.parametrize("y_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("copies", [1, 5, 33])
@pytest.mark.parametrize("how", ["kernel", "bags", "bias"])
def test_a_fused_site_equals_its_parts(
    saved: Callable[[str], Path],
    copies: int,
    together: bool,
    y_dtype: torch.dtype,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """q, k and v side by side, some without an adapter; rows in any order, few and many of each."""
    parts = [(LAYER + "q_proj", 64), (LAYER + "k_proj", 32), (LAYER + "v_proj", 32)]
    adapters = [read_adapter(kind, saved(kind)) for kind in (*FUSED, *(["bias"] if how == "bias" else []))]
    if how == "bags":
        monkeypatch.setattr(pool, "available", lambda: False)
    bank = bank_of(saved, parts)
    site = bank_site(bank)
    slots = [bank.load(adapter) for adapter in adapters]
    rng = torch.Generator().manual_seed(3)
    order = torch.randperm(5 * copies, generator=rng).tolist()
    rows = [[-1, *slots][at % (len(slots) + 1)] for at in order]
    rows = sorted(rows) if together else rows
    x, plain = torch.randn(len(rows), 64, generator=rng), torch.randn(len(rows), 128, generator=rng)
    scales, base_bias = torch.rand(len(rows), generator=rng) + 0.5, torch.randn(128, generator=rng)
    y, finished = plain.to(y_dtype, copy=True), plain.to(y_dtype, copy=True)
    site.add_(y, x, bank.batch(rows))
    site.add_(finished, x, bank.batch(rows), scales, base_bias)
    for row, slot in enumerate(rows):
        pieces = []
        for path, out in parts:
            found = adapters[slots.index(slot)].modules.get(path) if slot >= 0 else None
            bias = 0 if found is None or found.bias is None else found.bias
            delta = torch.zeros(out) if found is None else found.scale * (found.b @ (found.a @ x[row]) + bias)
            pieces.append(delta)
        started = plain[row].to(y_dtype).float()
        near = 1e-4 if y_dtype == torch.float32 else 2e-2
        close(y[row], (started + torch.cat(pieces)).to(y_dtype), near)
        close(finished[row], (started * scales[row] + base_bias + torch.cat(pieces)).to(y_dtype), 2 * near)


@pytest.mark.parametrize(("rank", "sizes"), [(3, (72,)), (16, (250, 100)), (20, (48, 16, 16))])
@pytest.mark.usefixtures("two_threads")
@pytest.mark.skipif(not pool.available(), reason="no kernels for this machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("plain", [False, True])
def test_the_kernel_takes_any_size(
    rank: int, sizes: tuple[int, ...], dtype: torch.dtype, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against numpy in f64: widths that no vector divides, ranks beyond one, groups of 1 to 4 rows."""
    if plain:  # a CPU without bf16 instructions
        monkeypatch.setattr(lora, "features", frozenset[str])
        lora._form.cache_clear()
    rng = torch.Generator().manual_seed(6)
    inputs, paths = 38, [f"part{at}" for at in range(len(sizes))]
    site = AdapterBank(dtype).site(list(zip(paths, sizes, strict=True)), inputs, torch.nn.Identity())
    adapters = []
    for slot in range(3):
        found = [
            LoraWeights(torch.randn(rank, inputs, generator=rng), torch.randn(size, rank, generator=rng), 0.5)
            for size in sizes
        ]
        put(site, slot, found)
        adapters.append(found)
    slots = [2] * 7 + [0, 1, 1, -1] + [0] * 3
    x = torch.randn(len(slots), inputs, generator=rng).to(dtype)
    y = site.add_(torch.zeros(len(slots), sum(sizes)), x, BatchRows.of(tuple(slots), "cpu"))
    for row, slot in enumerate(slots):
        exact = np.concatenate(
            [
                f.b.to(dtype).double().numpy() @ (f.a.to(dtype).double().numpy() @ x[row].double().numpy()) / 2
                for f in adapters[slot]
            ]
        ) if slot >= 0 else np.zeros(sum(sizes))  # fmt: skip
        near = 1e-4 if dtype == torch.float32 else 5e-2 if not plain else 1e-3  # pairs of bf16 round A x
        np.testing.assert_allclose(y[row].numpy(), exact, atol=near * np.abs(exact).max(initial=1))
    lora._form.cache_clear()


@pytest.mark.parametrize("rows", [2, 40])
def test_a_bf16_bank_takes_f32_rows(saved: Callable[[str], Path], rows: int) -> None:
    bank = AdapterBank(torch.bfloat16)
    site = bank.site([(LAYER + "q_proj", 64)], 64, torch.nn.Identity())
    adapter = read_adapter("mine", saved("rank1"))
    found = adapter.modules[LAYER + "q_proj"]
    put(site, 0, [found])
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(5))
    got = site.add_(torch.zeros(rows, 64), x, bank.batch([0] * rows))
    close(got, found.scale * x @ found.a.t() @ found.b.t(), 5e-2)


def int8_error() -> float:
    """What a product of int8 weights and int8 rows is off by, as a share of its size.

    Rounding to levels 0 ... L moves a number by a step / sqrt(12) in the mean; the step is the largest of a row's
    numbers over L, and of 64 Gaussian ones the largest is about 3 standard deviations. Rows have 127 levels, the
    weights as many as the CPU's kernel is exact with (63 without VNNI).
    """
    levels = int8_kernel().levels
    return 3 / math.sqrt(12) * math.hypot(1 / levels, 1 / 127)


NEAR = {"f32": 1e-5, "bf16": 2e-3, "int4": 5e-2}


@pytest.mark.parametrize("form", ["f32", "bf16", "int8", "int4"])
def test_dora_scales_what_a_packed_layer_makes_but_not_its_bias(form: Any) -> None:
    """The bias is a thousand times the weights: lengths that were read beside it would be noise."""
    if not supported(form):
        pytest.skip(f"no {form} here")
    near = 1.5 * int8_error() if form == "int8" else NEAR[form]  # 64 numbers stray from the mean
    rng = torch.Generator().manual_seed(7)
    weight, bias = torch.randn(96, 64, generator=rng) * 0.02, torch.randn(96, generator=rng) * 20
    a, b = torch.randn(4, 64, generator=rng), torch.randn(64, 4, generator=rng) * 0.02
    magnitude = torch.rand(64, generator=rng) + 0.5
    layer = pack(weight, bias, form, rotated=True)
    bank = AdapterBank(torch.bfloat16 if form == "bf16" else torch.float32)
    site = bank.site([("scaled", 64), ("plain", 32)], 64, layer)
    put(site, 0, [LoraWeights(a, b, 0.5, magnitude=magnitude), None])
    whole = weight.double()
    whole[:64] += 0.5 * b.double() @ a.double()
    factor = magnitude.double() / whole[:64].norm(dim=1)
    assert site.gain is not None
    torch.testing.assert_close(1 + site.gain[0, :64].double(), factor, rtol=near, atol=0)
    assert not site.gain[0, 64:].any()
    if form in ("f32", "int8"):
        x = torch.randn(5, 64, generator=rng)
        whole[:64] *= factor[:, None]
        expected = x.double() @ whole.t() + bias
        expected[4] = x[4].double() @ weight.double().t() + bias  # a row without an adapter
        rows = bank.batch([0] * 4 + [-1])
        found = [site.add_(layer(x), x, rows)]
        if form == "int8":  # as the fused layers call it, before the rows' scales and the bias
            codes, scales = quantize_rows(x, layer.offset, layer.block)
            found.append(site.add_(layer.product(codes), x, rows, scales.flatten(), layer.bias))
        for got in found:
            off = (got.double() - expected).norm() / (expected - bias).norm()
            assert off < near


def bank_of(saved: Callable[[str], Path], parts: list[tuple[str, int]]) -> AdapterBank:
    """A bank with one fused site and a plain one for every other layer of the tiny Llama."""
    bank, fused = AdapterBank(torch.float32), dict(parts)
    bank.site(parts, 64, torch.nn.Identity())
    for path, module in llama().named_modules():
        if isinstance(module, torch.nn.Linear) and path not in fused:
            bank.site([(path, module.out_features)], module.in_features, module)
    return bank


def bank_site(bank: AdapterBank) -> LoraSite:
    return bank._sites[0]


def test_loading_and_dropping_leaves_the_others_as_they_were(saved: Callable[[str], Path]) -> None:
    model, ours, ids = llama(), Wrapped(llama()), tokens(1, 4)
    expected = {kind: reference(model, saved(kind), ids) for kind in ("rank4", "rank13", "bias", "regex")}

    def check(*names: str) -> None:
        got = ours([None, *names], ids.expand(len(names) + 1, -1))
        close(got[:1], reference(model, None, ids))
        for name, row in zip(names, got[1:], strict=True):
            close(row[None], expected[name])

    for kind in ("rank4", "rank13", "bias"):
        ours.bank.load(read_adapter(kind, saved(kind)))
    check("rank4", "rank13", "bias")
    everything = ours.bank.nbytes
    ours.bank.drop("rank13")
    assert ours.bank.nbytes < everything  # the highest rank is gone
    check("bias", "rank4")
    ours.bank.load(read_adapter("regex", saved("regex")))  # into the freed slot, with fewer modules
    check("regex", "bias", "rank4")
    ours.bank.drop("bias")
    ours.bank.drop("rank4")
    check("regex")
    ours.bank.drop("regex")
    assert ours.bank.nbytes == 0
    assert ours.bank.names == ()
    with pytest.raises(RequestError, match="there is no adapter 'regex'; adapters: none loaded"):
        ours.bank.slot("regex")


def test_loading_again_and_again_grows_nothing(saved: Callable[[str], Path]) -> None:
    ours, sizes = Wrapped(llama()), set()
    adapter = read_adapter("mine", saved("rank4"))
    for _ in range(20):
        assert ours.bank.load(adapter) == 0
        sizes.add(ours.bank.nbytes)
        ours.bank.drop("mine")
    assert len(sizes) == 1


def test_a_row_s_result_does_not_depend_on_the_rows_beside_it(saved: Callable[[str], Path]) -> None:
    bank = bank_of(saved, [(LAYER + "q_proj", 64)])
    slots = [bank.load(read_adapter(kind, saved(kind))) for kind in ("rank4", "rank13", "patterns")]
    x = torch.randn(14, 64)
    rows = [*slots, *slots, *[slots[1]] * 6, slots[0], slots[2]]
    together = bank_site(bank).add_(torch.zeros(14, 64), x, bank.batch(rows))
    for row, slot in enumerate(rows):
        alone = bank_site(bank).add_(torch.zeros(1, 64), x[row : row + 1], bank.batch([slot]))
        assert torch.equal(alone[0], together[row])


def test_a_batch_of_the_base_model_asks_for_nothing(saved: Callable[[str], Path]) -> None:
    bank = bank_of(saved, [(LAYER + "q_proj", 64)])
    bank.load(read_adapter("mine", saved("rank4")))
    assert not bank.batch([-1] * 40).active
    ours = Wrapped(llama())
    ours.bank.rows = ours.bank.batch([-1])  # not even counted
    assert ours.model(input_ids=tokens(1, 3)).logits.shape == (1, 3, 151)
    assert bank.batch([-1, 0]).active
    assert bank.batch([-1, 0]) is bank.batch([-1, 0])  # the next step of the same rows prepares nothing


def test_a_long_run_of_one_adapter_is_told_from_the_rest() -> None:
    rows = BatchRows.of((2,) * 32 + (-1, 0, 1, 0), "cpu")
    assert rows.many == [(2, slice(0, 32))]
    assert rows.few == slice(33, 36)
    assert rows.few_slots.tolist() == [0, 1, 0]
    rows = BatchRows.of((1, -1, *[3] * 40, *[-1] * 50, *[3] * 33, 1), "cpu")
    assert rows.many == [(3, slice(2, 42)), (3, slice(92, 125))]
    assert isinstance(rows.few, torch.Tensor)
    assert rows.few.tolist() == [0, 125]


def test_a_wrong_number_of_rows_is_noticed(saved: Callable[[str], Path]) -> None:
    ours = Wrapped(llama())
    ours.bank.load(read_adapter("mine", saved("rank4")))
    ours.bank.rows = ours.bank.batch([0, -1])
    with pytest.raises(AssertionError, match="3 rows for 2 prepared"):
        ours.model(input_ids=tokens(1, 3))


def edited(source: Path, target: Path, config: dict[str, Any], **tensors: torch.Tensor | None) -> Path:
    """A copy of an adapter with other settings and tensors (None: without it)."""
    target.mkdir()
    settings = json.loads((source / "adapter_config.json").read_text()) | config
    (target / "adapter_config.json").write_text(json.dumps(settings))
    weights: dict[str, Any] = load_file(source / "adapter_model.safetensors") | tensors
    kept = {key: tensor.contiguous() for key, tensor in weights.items() if tensor is not None}
    save_file(kept, target / "adapter_model.safetensors")
    return target


KEY = f"base_model.model.{LAYER}q_proj.lora_"
EMBEDDING = "base_model.model.model.embed_tokens."


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({"use_dora": True}, {}, "has no magnitude in the weights and use_dora=true"),
        ({"modules_to_save": ["lm_head"]}, {}, r'modules_to_save=\["lm_head"\] .whole copies'),
        (
            {"target_parameters": ["mlp.experts.down_proj"]},
            {},
            r"target_parameters=.*mlp\.experts\.down_proj.*experts of",
        ),
        ({"trainable_token_indices": [1]}, {}, "embeddings of single tokens"),
        ({"layer_replication": [[0, 2], [1, 2]]}, {}, "layers of the base model repeated"),
        ({"alora_invocation_tokens": [5]}, {}, "activated LoRA"),
        ({"bias": "all"}, {}, "bias='all'.*own biases"),
        ({"init_lora_weights": "pissa_niter_4"}, {}, "'pissa_niter_4', which changes the base weights"),
        ({"r": 5}, {}, "down_proj has rank 4 in the weights and 5 in adapter_config.json"),
        ({"r": "x"}, {}, "rank and alpha of .*down_proj cannot be read"),
        ({"rank_pattern": {"(": 4}}, {}, "rank and alpha of .*down_proj cannot be read"),
        ({}, {KEY + "A.weight": None}, "lacks lora_A of model.layers.0.self_attn.q_proj"),
        ({}, {KEY + "A.weight": torch.zeros(4, 64, dtype=torch.int8)}, "is torch.int8, not f32"),
        ({}, {KEY + "B.weight": torch.zeros(64, 3)}, r"lora_A \[4, 64\] and lora_B \[64, 3\]"),
        ({}, {KEY + "B.bias": torch.zeros(3)}, r"a bias \[3\] for 64 outputs"),
        (
            {},
            {KEY + "magnitude_vector": torch.zeros(64)},
            "has a magnitude in the weights and use_dora=false",
        ),
        ({}, {KEY + "magnitude_vector": torch.zeros(63)}, r"a magnitude \[63\] for 64 outputs"),
        ({}, {KEY + "magnitude_vectors": torch.zeros(64)}, "no part of LoRA or DoRA: .*magnitude_vectors"),
        ({}, {EMBEDDING + "lora_embedding_A": torch.zeros(4, 151)}, "changes the input embeddings"),
        ({}, {EMBEDDING + "weight": torch.zeros(152, 64)}, "changes the input embeddings"),
    ],
)
def test_what_is_not_plain_lora_is_refused(
    saved: Callable[[str], Path], tmp_path: Path, config: dict[str, Any], tensors: Any, message: str
) -> None:
    folder = edited(saved("rank4"), tmp_path / "bad", config, **tensors)
    with pytest.raises(ModelError, match=f"adapter 'bad'.*{message}"):
        read_adapter("bad", folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no adapter_config.json"),
        ({"adapter_config.json": '{"peft_type": "LORA"}'}, "no adapter_model.safetensors;.*safe_ser"),
        ({"adapter_config.json": "[]", "adapter_model.safetensors": ""}, "is not PEFT's adapter_config.json"),
        ({"adapter_config.json": "{", "adapter_model.safetensors": ""}, "is not PEFT's adapter_config.json"),
        ({"adapter_config.json": '{"peft_type": "IA3"}', "adapter_model.safetensors": ""}, "of kind IA3"),
        ({"adapter_config.json": '{"peft_type": "LORA"}', "adapter_model.safetensors": ""}, "cannot be read"),
    ],
)
def test_a_folder_that_holds_no_adapter_is_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=message):
        read_adapter("bad", tmp_path)


def test_an_adapter_without_matrices_is_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    folder = edited(saved("rank4"), tmp_path / "empty", {})
    save_file({}, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="holds no LoRA matrices"):
        read_adapter("bad", folder)


@pytest.mark.parametrize("name", ["a.b", "__base__", ""])
def test_a_name_that_peft_could_not_use_is_refused(saved: Callable[[str], Path], name: str) -> None:
    with pytest.raises(ModelError, match="cannot be used; choose one without dots"):
        read_adapter(name, saved("rank4"))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {f"base_model.model.model.layers.{i}.mlp.gate.lora_{w}.weight": torch.zeros(4, 4)
             for i in range(5) for w in "AB"},
            r"has no linear layer model.layers.0.mlp.gate, .*1.mlp.gate, .*2.mlp.gate and 2 more",
        ),
        (
            {KEY + "A.weight": torch.zeros(4, 32), KEY + "B.weight": torch.zeros(48, 4)},
            r"\[out, in\] differ: model.layers.0.self_attn.q_proj \[48, 32\] for \[64, 64\]",
        ),
        (
            {f"base_model.model.model.layers.0.mlp.experts.0.w1.lora_{w}.weight": torch.zeros(4, 4)
             for w in "AB"},
            r"experts of a mixture .*experts\.0\.w1",
        ),
        (
            {"base_model.model.lm_head.base_layer.weight": torch.zeros(160, 64)},
            r"lm_head \(of another vocabulary\) \[160, 64\] for 151 outputs",
        ),
    ],
)  # fmt: skip
def test_an_adapter_of_another_model_is_refused_and_nothing_changes(
    saved: Callable[[str], Path], tmp_path: Path, tensors: dict[str, Any], message: str
) -> None:
    ours = Wrapped(llama())
    adapter = read_adapter("bad", edited(saved("rank4"), tmp_path / "bad", {}, **tensors))
    with pytest.raises(ModelError, match=message):
        ours.bank.load(adapter)
    assert (ours.bank.names, ours.bank.nbytes) == ((), 0)


def test_names_are_looked_up_and_taken_once(saved: Callable[[str], Path]) -> None:
    ours, adapter = Wrapped(llama()), read_adapter("one", saved("rank4"))
    ours.bank.load(adapter)
    with pytest.raises(ModelError, match="'one' is already loaded; drop it first"):
        ours.bank.load(adapter)
    for call in (ours.bank.slot, ours.bank.drop, ours.bank.digest):
        with pytest.raises(RequestError, match="there is no adapter 'two'; adapters: one"):
            call("two")
    assert (ours.bank.slot(None), ours.bank.slot("one")) == (-1, 0)


def test_the_digest_follows_what_the_adapter_computes(saved: Callable[[str], Path], tmp_path: Path) -> None:
    source = saved("rank4")
    digest = read_adapter("one", source).digest
    assert len(digest) == 32
    same = edited(source, tmp_path / "same", {"base_model_name_or_path": "elsewhere", "lora_dropout": 0.5})
    assert read_adapter("two", same).digest == digest
    alpha = edited(source, tmp_path / "alpha", {"lora_alpha": 17})
    weights = load_file(source / "adapter_model.safetensors")[KEY + "A.weight"]
    weights[3, 5] += 1e-6
    nudged = edited(source, tmp_path / "nudged", {}, **{KEY + "A.weight": weights})
    fewer = edited(source, tmp_path / "fewer", {}, **{KEY + "A.weight": None, KEY + "B.weight": None})
    assert len({digest, *(read_adapter("x", folder).digest for folder in (alpha, nudged, fewer))}) == 4
    ours = Wrapped(llama())
    ours.bank.load(read_adapter("one", source))
    assert (ours.bank.digest("one"), ours.bank.digest(None)) == (digest, b"")


def test_wrap_takes_every_linear_layer_or_those_asked_for() -> None:
    assert len(Wrapped(llama()).paths) == 2 * 7 + 1
    assert len(Wrapped(gpt2()).paths) == 2 * 4 + 1
    model = llama()
    assert wrap(model, AdapterBank(torch.float32), keep=lambda path: path == "lm_head") == ("lm_head",)
    assert model.lm_head.weight.shape == (151, 64)


def put(site: LoraSite, slot: int, found: list[LoraWeights | None]) -> None:
    """Place an adapter's matrices into the last slot of a site."""
    site.put(slot, slot + 1, site.prepare(found, site.lengths(found)))


def test_a_run_s_folder_is_told_where_its_adapter_is(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"holds no adapter_config.json .*; take {tmp_path / 'adapter'}$"):
        read_adapter("mine", tmp_path)
