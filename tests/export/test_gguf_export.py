"""GGUF files that we write: our own reader gives the model back, token for token, in every architecture."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from weightwright.errors import ModelError, SettingsError
from weightwright.export.gguf.architectures import FAMILIES
from weightwright.export.gguf.vocabulary import cut_name
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.testing.models import CHAT_TEMPLATE, tiny_llama
from weightwright.weights import load
from weightwright.weights.gguf_cuts import CUTS

TEXTS = [
    "The cat sat on the mat, and it sat.",
    "1234 cats\n\n  sat: don't!",
    "Ünïcödé 猫 sat",
    "<|im_start|>user\nhi",
]
CORPUS = [*TEXTS, "the mat and the cat and the hat " * 20, "sat sit set 12 34 don't won't " * 20]
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n{{ m['content'] }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)


def pre_tokenizer(steps: dict[str, Any]) -> Any:
    """A pre-tokenizer from its form in tokenizer.json."""
    empty = json.loads(Tokenizer(models.BPE()).to_str())
    return Tokenizer.from_str(json.dumps(empty | {"pre_tokenizer": steps})).pre_tokenizer


def byte_level(cut: str = "qwen2", *, bos: str | None = None) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained on a few sentences that cuts text by the named rule."""
    steps = {"type": "Sequence", "pretokenizers": list(CUTS[cut].steps)}
    inner = Tokenizer(models.BPE(ignore_merges=CUTS[cut].whole_words))
    inner.pre_tokenizer = pre_tokenizer(steps)
    inner.normalizer = normalizers.NFC() if CUTS[cut].nfc else None
    inner.decoder = decoders.ByteLevel()
    special = ["<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(CORPUS, trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|end_of_text|>", bos_token=bos,
        additional_special_tokens=["<|im_start|>"], clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.add_tokens(["<think>"])
    tokenizer.chat_template = LLAMA_3 if bos else CHAT_TEMPLATE
    return tokenizer


def sentencepiece(*, space_before: bool = True, everywhere: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of sentencepiece's kind: pieces by score, bytes for what is not known.

    The space before text is put behind special tokens, too, or (not `everywhere`) only before the first word.
    """
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    steps: list[Any] = [normalizers.Prepend("▁")] if space_before else []
    normal = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    trained.normalizer = normal
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"])
    trained.train_from_iterator(CORPUS[:1] + CORPUS[-2:], trainer)
    pieces = [token for token, _ in sorted(trained.get_vocab().items(), key=lambda pair: pair[1])][1:]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    scores = {token: -float(i) for i, token in enumerate(pieces)}
    merges = [pair for pair in generate_merges(vocabulary, scores) if len("".join(pair)) > 1]
    inner = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    inner.normalizer = normal if everywhere else None
    if not everywhere:
        inner.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    strip = [decoders.Strip(" ", 1, 0)] if space_before else []
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    inner.add_special_tokens(["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = "{{ bos_token }}" + CHAT_TEMPLATE
    return tokenizer


SHAPE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2,
}  # fmt: skip
GEMMA = SHAPE | {"head_dim": 256, "query_pre_attn_scalar": 256, "initializer_range": 0.1}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
Cased = tuple[str, dict[str, Any], Callable[[], PreTrainedTokenizerFast]]
MODELS: dict[str, Cased] = {
    "llama, byte-level": ("LlamaConfig", SHAPE, lambda: byte_level("llama-bpe", bos="<|begin_of_text|>")),
    "llama, tied, smollm's cuts": (
        "LlamaConfig", SHAPE | {"tie_word_embeddings": True}, lambda: byte_level("smollm"),
    ),
    "llama, sentencepiece": ("LlamaConfig", SHAPE, sentencepiece),
    "llama, a space before the first word only": (
        "LlamaConfig", SHAPE, lambda: sentencepiece(everywhere=False),
    ),
    "yi": ("LlamaConfig", SHAPE | {"rope_parameters": {"rope_type": "default", "rope_theta": 5e6}}, sentencepiece),
    "mistral": ("MistralConfig", SHAPE | {"sliding_window": None, "head_dim": 32}, sentencepiece),
    "qwen2": ("Qwen2Config", SHAPE | {"tie_word_embeddings": True}, byte_level),
    "qwen3": ("Qwen3Config", SHAPE | {"head_dim": 128}, byte_level),
    "phi3": ("Phi3Config", SHAPE | {"pad_token_id": 0}, sentencepiece),
    "mixtral": ("MixtralConfig", SHAPE | {"num_local_experts": 4, "head_dim": 16}, sentencepiece),
    "qwen2_moe": (
        "Qwen2MoeConfig", SHAPE | MIXTURE | {"shared_expert_intermediate_size": 48}, byte_level,
    ),
    "qwen3_moe": ("Qwen3MoeConfig", SHAPE | MIXTURE | {"head_dim": 32, "norm_topk_prob": True}, byte_level),
    "gemma2": ("Gemma2Config", GEMMA, lambda: sentencepiece(space_before=False)),
    "gemma3": (
        "Gemma3TextConfig", GEMMA | {"num_hidden_layers": 7}, lambda: sentencepiece(space_before=False),
    ),
}  # fmt: skip


def model_folder(kind: str, folder: Path, **changes: Any) -> Path:
    """A tiny seeded model of that kind with all its weights at work."""
    name, options, tokenizer_of = MODELS[kind]
    tokenizer = tokenizer_of()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = getattr(transformers, name)(**{"vocab_size": len(tokenizer) + 3, **ids, **options, **changes})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:  # norms and biases, which begin as ones and zeros
                weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 100, 41, 77, 250, 9, 9, 12]])
    with torch.inference_mode():
        return model(input_ids=ids).logits[0].float()


def greedy(loaded: Any, text: str, tokens: int = 12) -> list[int]:
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(tokens):
            ids = torch.cat((ids, loaded.model(input_ids=ids).logits[:, -1:].argmax(-1)), 1)
    return ids[0, start:].tolist()


@pytest.mark.parametrize("kind", MODELS)
def test_our_reader_gives_the_model_back(tmp_path: Path, kind: str) -> None:
    folder = model_folder(kind, tmp_path / "model")
    file = tmp_path / "model.gguf"
    written = write_gguf(whole(str(folder)), file, "f32")
    spaced = kind == "llama, a space before the first word only"
    assert [note[:38] for note in written.notes] == ["llama.cpp puts a space before each text"[:38]] * spaced
    assert written.size_bytes == file.stat().st_size
    source = load.load(str(folder), precision="f32", device="cpu")
    found = load.load(str(file), precision="f32", device="cpu")
    tolerance = 2e-6 if "gemma" in kind else 0  # its norms are stored with one added
    torch.testing.assert_close(logits(found.model), logits(source.model), rtol=0, atol=100 * tolerance)
    for text in TEXTS:
        assert found.tokenizer(text)["input_ids"] == source.tokenizer(text)["input_ids"]
        assert greedy(found, text) == greedy(source, text)
    for name in ("bos_token", "eos_token", "chat_template"):
        assert getattr(found.tokenizer, name) == getattr(source.tokenizer, name)
    assert found.context_tokens == 256


def test_every_family_that_is_named_is_tested() -> None:
    tested = {getattr(transformers, name)().model_type for name, *_ in MODELS.values()}
    assert tested == set(FAMILIES)


@pytest.mark.parametrize("form", ["f16", "bf16", "q8_0", "q4_0"])
def test_forms_are_rounded_as_gguf_says(tmp_path: Path, form: str) -> None:
    folder = model_folder("llama, byte-level", tmp_path / "model")
    file = tmp_path / "model.gguf"
    write_gguf(whole(str(folder)), file, form)
    exact = tmp_path / "exact.gguf"
    write_gguf(whole(str(folder)), exact, "f32")
    before = {tensor.name: tensor for tensor in gguf.GGUFReader(exact).tensors}
    assert len(before) == 3 * 9 + 3
    for tensor in gguf.GGUFReader(file).tensors:
        weight = gguf.dequantize(before[tensor.name].data, before[tensor.name].tensor_type)
        wanted = form.upper()
        if weight.ndim == 1:
            wanted = "F32"
        elif form == "q4_0" and tensor.name in ("token_embd.weight", "output.weight"):
            wanted = "Q8_0"
        assert tensor.tensor_type.name == wanted, tensor.name
        # half a step, in Q8_0 with the rounding of its scale to f16; in Q4_0 a whole one at the end without a code
        steps = {"F32": 0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 254 + 2**-11, "Q4_0": 1 / 8}[wanted]
        largest = np.abs(weight).reshape(-1, 32).max(-1, keepdims=True)
        error = np.abs(gguf.dequantize(tensor.data, tensor.tensor_type) - weight).reshape(-1, 32)
        assert (error <= 1.001 * steps * largest + 1e-7).all(), tensor.name
    source, found = (load.load(str(path), precision="f32", device="cpu") for path in (folder, file))
    limit = {"f16": 3e-3, "bf16": 3e-2, "q8_0": 5e-2, "q4_0": 0.6}[form]
    difference = (logits(found.model) - logits(source.model)).norm() / logits(source.model).norm()
    assert 0 < float(difference) < limit


def test_a_matrix_that_no_block_fits_is_f16(tmp_path: Path) -> None:
    folder = model_folder("qwen2", tmp_path / "model", intermediate_size=72)
    file = tmp_path / "model.gguf"
    write_gguf(whole(str(folder)), file, "q8_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.ffn_up.weight"]) == ("F16", "Q8_0")
    load.load(str(file), device="cpu")


# --- what llama.cpp is told -------------------------------------------------------------------------


def test_bos_is_put_before_a_text_only_where_the_tokenizer_does(tmp_path: Path) -> None:
    with_bos, without = tmp_path / "a.gguf", tmp_path / "b.gguf"
    write_gguf(whole(str(model_folder("llama, byte-level", tmp_path / "a"))), with_bos)
    write_gguf(whole(str(model_folder("qwen2", tmp_path / "b"))), without)
    a, b = fields(with_bos), fields(without)
    assert a["tokenizer.ggml.add_bos_token"] is True
    assert a["tokenizer.ggml.tokens"][a["tokenizer.ggml.bos_token_id"]] == "<|begin_of_text|>"
    assert b["tokenizer.ggml.add_bos_token"] is False
    assert "tokenizer.ggml.bos_token_id" not in b
    for found in (a, b):
        assert found["tokenizer.ggml.add_eos_token"] is False
        assert found["tokenizer.ggml.tokens"][found["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"


def test_a_turn_that_does_not_end_with_eos_has_its_token_named(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    folder = model_folder("mistral", tmp_path / "model")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    written = write_gguf(whole(str(folder)), file)
    found = fields(file)
    tokens = found["tokenizer.ggml.tokens"]
    assert tokens[found["tokenizer.ggml.eos_token_id"]] == "</s>"
    assert tokens[found["tokenizer.ggml.eot_token_id"]] == "<|im_end|>"
    assert "BOS before a text and the chat template does not write it" in " ".join(written.notes)


def test_kinds_of_tokens(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    write_gguf(whole(str(model_folder("qwen2", tmp_path / "model"))), file)
    found = fields(file)
    kinds = dict(zip(found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"], strict=True))
    Kind = gguf.TokenType
    assert kinds["<|im_start|>"] == kinds["<|end_of_text|>"] == Kind.CONTROL
    assert kinds["<think>"] == Kind.USER_DEFINED
    assert kinds["a"] == Kind.NORMAL
    assert [kind for token, kind in kinds.items() if token.startswith("[PAD")] == [
        Kind.UNUSED
    ] * 2  # qwen2 adds one
    spm = tmp_path / "spm.gguf"
    write_gguf(whole(str(model_folder("llama, sentencepiece", tmp_path / "spm"))), spm)
    found = fields(spm)
    kinds = dict(zip(found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"], strict=True))
    assert (kinds["<0x0A>"], kinds["<unk>"], kinds["<s>"]) == (Kind.BYTE, Kind.UNKNOWN, Kind.CONTROL)
    assert found["tokenizer.ggml.add_space_prefix"] is True


@pytest.mark.parametrize("cut", ["llama-bpe", "qwen2", "tekken", "gpt-4o", "gpt-2", "smollm"])
def test_the_rule_that_cuts_text_is_named(cut: str) -> None:
    assert cut_name(json.loads(byte_level(cut).backend_tokenizer.to_str())) == cut


def test_a_token_that_transformers_adds_to_a_full_vocabulary_is_left_out(tmp_path: Path) -> None:
    rows = len(byte_level())
    folder = model_folder("qwen2", tmp_path / "model", vocab_size=rows)
    assert len(load.load_tokenizer(str(folder))) == rows + 1  # the class Qwen2Tokenizer knows <|endoftext|>
    file = tmp_path / "model.gguf"
    write_gguf(whole(str(folder)), file, "f32")
    source, found = (load.load(str(path), precision="f32", device="cpu") for path in (folder, file))
    assert len(fields(file)["tokenizer.ggml.tokens"]) == rows
    assert greedy(found, TEXTS[0]) == greedy(source, TEXTS[0])


def test_the_scaling_of_llama_3_1_is_written(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    folder = model_folder("llama, byte-level", tmp_path / "model", rope_parameters=rope)
    file = tmp_path / "model.gguf"
    assert write_gguf(whole(str(folder)), file).notes == ()
    (factors,) = [t.data for t in gguf.GGUFReader(file).tensors if t.name == "rope_freqs.weight"]
    waves = 2 * np.pi * 1e4 ** (np.arange(0, 16, 2) / 16)
    share = (64 / waves - 1.0) / (4.0 - 1.0)  # 0 at the long end, 1 at the short one
    expected = 1 / ((1 - share) / 8 + share)
    expected = np.where(waves < 64 / 4, 1, np.where(waves > 64, 8, expected))
    np.testing.assert_allclose(factors, expected, rtol=1e-5)


def test_linear_and_yarn_scaling_are_written(tmp_path: Path) -> None:
    for kind, more in (("linear", {}), ("yarn", {"original_max_position_embeddings": 64})):
        rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0, **more}
        folder = model_folder("qwen2", tmp_path / kind, rope_parameters=rope)
        file = tmp_path / f"{kind}.gguf"
        write_gguf(whole(str(folder)), file)
        found = fields(file)
        assert (found["qwen2.rope.scaling.type"], found["qwen2.rope.scaling.factor"]) == (kind, 4.0)
    assert found["qwen2.rope.scaling.original_context_length"] == 64


def test_a_window_is_told(tmp_path: Path) -> None:
    folder = model_folder("mistral", tmp_path / "model", sliding_window=64)
    notes = write_gguf(whole(str(folder)), tmp_path / "model.gguf").notes
    assert any("attends to the last 64 tokens, llama.cpp to all" in note for note in notes)


# --- adapters, and files that are GGUF already -------------------------------------------------------


def test_an_adapter_is_merged_first(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    folder = model_folder("qwen2", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(
            r=4, target_modules=["q_proj", "lm_head"], init_lora_weights=False, task_type="CAUSAL_LM"
        )
        made = get_peft_model(model, config).eval()
        made.save_pretrained(tmp_path / "adapter")
    file = tmp_path / "model.gguf"
    write_gguf(whole(f"{folder}+{tmp_path / 'adapter'}", exact=True), file, "f32")
    found = load.load(str(file), precision="f32", device="cpu")
    torch.testing.assert_close(logits(found.model), logits(made), rtol=1e-5, atol=1e-5)
    assert not torch.equal(found.model.lm_head.weight, found.model.model.embed_tokens.weight)


def test_a_gguf_file_keeps_its_tokenizer_field_by_field(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    write_gguf(whole(str(model_folder("llama, tied, smollm's cuts", tmp_path / "model"))), first, "q8_0")
    notes = write_gguf(whole(str(first), exact=True), second, "f16").notes
    assert "quantised as Q8_0; they were de-quantised first" in notes[0]
    before, after = fields(first), fields(second)
    kept = {name: value for name, value in before.items() if name.startswith("tokenizer.")}
    assert kept == {name: value for name, value in after.items() if name.startswith("tokenizer.")}
    assert kept["tokenizer.ggml.pre"] == "smollm"


@pytest.mark.shared
def test_a_real_model_tells_the_same_story(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "models" / "TinyStories-656K"
    file = tmp_path / "stories.gguf"
    write_gguf(whole(str(source)), file, "bf16")
    a, b = (load.load(str(path), precision="f32", device="cpu") for path in (source, file))
    assert greedy(a, "Once upon a time", 40) == greedy(b, "Once upon a time", 40)


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("llama, byte-level", {"attention_bias": True}, "llama with attention_bias=true cannot be written"),
        ("llama, byte-level", {"hidden_act": "gelu"}, "the activation gelu"),
        (
            "qwen2",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "scaling dynamic",
        ),
        ("gemma2", {"query_pre_attn_scalar": 100}, "query_pre_attn_scalar=100 beside head_dim=256"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "layer_types other than"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused(
    tmp_path: Path, kind: str, changes: dict[str, Any], message: str
) -> None:
    folder = model_folder(kind, tmp_path / "model", **changes)
    with pytest.raises(ModelError, match=message):
        write_gguf(whole(str(folder)), tmp_path / "model.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


def test_other_architectures_are_refused_by_name(tmp_path: Path) -> None:
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=340)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "model")
    byte_level().save_pretrained(tmp_path / "model")
    with pytest.raises(
        ModelError, match=r"architecture gpt2 are not written here; known are llama, mistral, qwen2"
    ):
        write_gguf(whole(str(tmp_path / "model")), tmp_path / "model.gguf")


def test_tokenizers_that_llama_cpp_cannot_follow_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no merges"):
        write_gguf(whole(str(tiny_llama(tmp_path / "bytes"))), tmp_path / "model.gguf")
    inner = json.loads(byte_level("gpt-2").backend_tokenizer.to_str())
    inner["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}  # fmt: skip
    with pytest.raises(
        ModelError, match=r"by a rule \(Split \+ ByteLevel\) that llama.cpp has no known name for"
    ):
        cut_name(inner)


def test_values_too_large_for_f16_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    folder = model_folder("qwen2", tmp_path / "model")
    model = whole(str(folder))
    with torch.no_grad():
        model.model.model.layers[1].mlp.up_proj.weight[3, 3] = 1e5
    with pytest.raises(ModelError, match=r"blk\.1\.ffn_up\.weight holds values beyond what f16 can hold"):
        write_gguf(model, tmp_path / "out" / "model.gguf", "f16")
    assert not list((tmp_path / "out").iterdir())
    write_gguf(model, tmp_path / "out" / "model.gguf", "bf16")


def test_names_and_files_that_are_there(tmp_path: Path) -> None:
    model = whole(str(model_folder("qwen2", tmp_path / "model")))
    with pytest.raises(SettingsError, match=r"must end in \.gguf"):
        write_gguf(model, tmp_path / "model.bin")
    (tmp_path / "there.gguf").write_text("mine")
    with pytest.raises(SettingsError, match="exists; choose another --out"):
        write_gguf(model, tmp_path / "there.gguf")
    assert (tmp_path / "there.gguf").read_text() == "mine"
