"""Models that bring their own code: mapped once onto layers that transformers has, and none of the code is run."""

import itertools
import json
import logging
import sys
from typing import Any

import pytest
import torch
from gguf import GGUFReader

from weightwright.cli.app import main
from weightwright.engine.engine import Engine
from weightwright.engine.settings import EngineSettings
from weightwright.errors import ModelError
from weightwright.hub.converted import converted_folder
from weightwright.hub.mapping import families
from weightwright.hub.mapping.tokenizer import merges_of
from weightwright.hub.models import here
from weightwright.hub.pull import pull
from weightwright.hub.store import locate, remove
from weightwright.plan.params import count_params
from weightwright.plan.spec import from_file
from weightwright.ports import ChatRequest, Message, SamplingParams
from weightwright.weights.describe import describe
from weightwright.weights.load import load, load_tokenizer

from .own_code import CONTEXT, TOKENIZERS, Own, folder_of, own, weights_of

FAMILIES = own()
TARGETS = {"baichuan": "llama", "chatglm": "glm", "qwen": "qwen2", "minicpm": "granite", "orion": "stablelm"}
TEXTS = json.loads((TOKENIZERS / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Own:
    return FAMILIES[request.param]


def test_logits_are_those_of_the_familys_own_formula(own_home, tmp_path, family: Own) -> None:
    folder = folder_of(family, tmp_path / "model")
    loaded = load(str(folder), precision="f32")
    assert loaded.model.config.model_type == TARGETS.get(family.config["model_type"], "llama")
    ids = torch.randint(3, 400, (40,), generator=torch.Generator().manual_seed(1))
    expected = family.logits({name: weight.double() for name, weight in weights_of(family).items()}, ids)
    with torch.inference_mode():
        got = loaded.model(input_ids=ids[None]).logits[0].double()
    assert expected.std() > 0.05
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()
    built = sum(weight.numel() for weight in loaded.model.parameters())
    assert count_params(from_file(folder)) == count_params(from_file(loaded.path)) == built
    assert describe(folder).support.ok


def test_a_head_in_half_precision_is_normalised_without_overflow() -> None:
    """Squares of 300 are beyond what f16 holds."""
    head = torch.tensor([[300.0, 400.0], [0.0, 0.0], [-1e-3, 0.0]], dtype=torch.float16)
    family = families.FAMILIES["baichuan"]
    (made,) = families.mapped_tensors("lm_head.weight", head, family, {}, unit_head=True).values()
    assert made.dtype == torch.float16
    assert torch.allclose(made.float(), torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]), atol=1e-3)


def test_a_folder_is_mapped_once_and_again_where_it_changed(own_home, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, logger="weightwright.progress")
    folder = folder_of(FAMILIES["qwen"], tmp_path / "qwen")
    before = sorted(file.name for file in folder.iterdir())
    shown = describe(folder)
    assert (shown.weights_type, shown.context_tokens) == ("F32, mapped onto qwen2 at its first use", CONTEXT)
    target = pull(str(folder))
    assert "brings its own code, which is not run; converting it once as a qwen2 model" in caplog.text
    assert f"more than {CONTEXT} tokens with another rotary embedding" in caplog.text
    assert load(str(folder), precision="f32").context_tokens == CONTEXT
    assert sorted(file.name for file in folder.iterdir()) == before
    assert not list(target.glob("*.py"))
    stamp = (target / "model.safetensors").stat().st_mtime_ns
    said = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(said | {"top_p": 0.25}))
    assert converted_folder(folder) == target
    assert json.loads((target / "generation_config.json").read_text())["top_p"] == 0.25
    assert (target / "model.safetensors").stat().st_mtime_ns == stamp
    config = FAMILIES["qwen"].config | {"num_attention_heads": 8, "kv_channels": 8}
    (folder / "config.json").write_text(json.dumps(config))
    assert converted_folder(folder) == target
    assert json.loads((target / "config.json").read_text())["num_attention_heads"] == 8
    assert (target / "model.safetensors").stat().st_mtime_ns != stamp
    (row,) = [row for row in here() if row.source == "converted"]
    assert (row.model, row.path) == (str(folder), target)
    assert remove(str(folder)) == row.size_bytes
    assert not target.exists()


def test_a_pulled_model_is_mapped_and_removed_with_what_it_became(hub, own_home, tmp_path) -> None:
    folder = folder_of(FAMILIES["baichuan2"], tmp_path / "model")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    hub.repos["acme/own"] = sys.modules["hub_server"].Repo(files)
    target = pull("acme/own")
    assert json.loads((target / "config.json").read_text())["model_type"] == "llama"
    assert load("acme/own", precision="f32").path == target
    assert [row.path for row in here() if (row.model, row.source) == ("acme/own", "converted")] == [target]
    hub.requests.clear()
    assert pull("acme/own") == target
    assert not hub.requests
    remove("acme/own")
    assert locate("acme/own") is None
    assert not target.exists()


def test_generation_configs_say_what_transformers_knows(own_home, tmp_path) -> None:
    said = {}
    for name in ("baichuan2", "qwen", "chatglm"):
        folder = converted_folder(folder_of(FAMILIES[name], tmp_path / name))
        said[name] = json.loads((folder / "generation_config.json").read_text())
    assert said["baichuan2"] == {"bos_token_id": 1, "eos_token_id": 2, "do_sample": True, "temperature": 0.3,
                                 "top_p": 0.85, "top_k": 5, "max_new_tokens": 2048}  # fmt: skip
    assert said["qwen"]["eos_token_id"] == [485, 487, 486]  # <|endoftext|>, <|im_end|>, <|im_start|>
    assert not {"chat_format", "max_window_size"} & said["qwen"].keys()
    assert said["chatglm"]["eos_token_id"] == [2, 486, 488]  # </s>, <|user|>, <|observation|>


# -- tokenizers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("baichuan2", "baichuan"), ("internlm", "internlm"), ("qwen", "qwen"), ("glm4", "glm4")],
)
def test_ids_are_those_of_sentencepiece_and_tiktoken(own_home, tmp_path, name, kind) -> None:
    """What they say themselves stands beside their files; only marks of special tokens are read as such here."""
    tokenizer = load_tokenizer(str(folder_of(FAMILIES[name], tmp_path / name)))
    compared = 0
    for text, expected in zip(TEXTS["texts"], TEXTS[kind], strict=True):
        if "<s>" in text:
            continue
        got = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert got == expected, text
        compared += 1
    assert compared > 90
    assert tokenizer.decode(tokenizer("会议室 😀 x", add_special_tokens=False)["input_ids"]) == "会议室 😀 x"


def test_texts_begin_as_the_models_code_begins_them(own_home, tmp_path) -> None:
    """ChatGLM's [gMASK] sop, GLM-4's, InternLM's BOS; nothing for Baichuan and Qwen."""
    starts = {"chatglm": [481, 483], "glm4": [487, 489], "internlm": [1], "baichuan2": [], "qwen": []}
    for name, start in starts.items():
        tokenizer = load_tokenizer(str(folder_of(FAMILIES[name], tmp_path / name)))
        bare = tokenizer("garden", add_special_tokens=False)["input_ids"]
        assert tokenizer("garden")["input_ids"] == [*start, *bare], name


def lowest_rank_first(text: bytes, ranks: dict[bytes, int]) -> list[int]:
    """tiktoken's rule: of all neighbours that are a token together, those of the lowest rank become one."""
    parts = [text[i : i + 1] for i in range(len(text))]
    while True:
        made = [(ranks[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
        if not made:
            return [ranks[part] for part in parts]
        at = min(made)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_words_are_cut_as_tiktoken_cuts_them(own_home, tmp_path) -> None:
    from weightwright.hub.mapping.tokenizer import _ranks

    ranks = _ranks(TOKENIZERS / "qwen.tiktoken")
    tokenizer = load_tokenizer(str(folder_of(FAMILIES["qwen"], tmp_path / "qwen")))
    draw = torch.Generator().manual_seed(0)
    letters = "acdeghinoprst"
    for _ in range(200):
        word = "".join(letters[i] for i in torch.randint(len(letters), (30,), generator=draw))
        assert tokenizer(word)["input_ids"] == lowest_rank_first(word.encode(), ranks)


@pytest.mark.shared
def test_merges_are_those_that_qwen_published(shared) -> None:
    """Qwen 2.5 has Qwen 1's vocabulary, with its merges written out: from the ids alone come the same."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    model = json.loads((shared / "data" / "models" / "qwen2.5-tokenizer" / "tokenizer.json").read_text())[
        "model"
    ]
    byte = {letter: value for value, letter in bytes_to_unicode().items()}
    ranks = {bytes(byte[letter] for letter in token): i for token, i in model["vocab"].items()}
    published = [tuple(pair if isinstance(pair, list) else pair.split(" ")) for pair in model["merges"]]
    letters = bytes_to_unicode()
    assert [
        tuple("".join(letters[b] for b in part) for part in pair) for pair in merges_of(ranks)
    ] == published


def test_conversations_are_written_as_the_makers_do(own_home, tmp_path) -> None:
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"},
             {"role": "assistant", "content": "the pond"}, {"role": "user", "content": "会议室"}]  # fmt: skip
    ids = {}
    for name in ("baichuan2", "qwen", "chatglm"):
        tokenizer = load_tokenizer(str(folder_of(FAMILIES[name], tmp_path / name)))
        ids[name] = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)

        def encoded(text: str, tokenizer: Any = tokenizer) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        if name == "baichuan2":  # ids of the roles as build_chat_input puts them between what is said
            said = [encoded(turn["content"]) for turn in turns]
            assert ids[name] == [*said[0], 10, *said[1], 11, *said[2], 10, *said[3], 11]
        elif name == "qwen":
            expected = []
            for turn in turns:
                expected += [
                    486,
                    *encoded(f"{turn['role']}\n"),
                    *encoded(turn["content"]),
                    487,
                    *encoded("\n"),
                ]
            assert ids[name] == [*expected, 486, *encoded("assistant\n")]
            alone = tokenizer.apply_chat_template(turns[1:2], tokenize=False)
            assert alone.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
        else:  # [gMASK] sop, then <|role|>, a new line, what is said
            roles = {"system": 485, "user": 486, "assistant": 487}
            expected = [481, 483]
            for turn in turns:
                expected += [roles[turn["role"]], *encoded("\n"), *encoded(turn["content"])]
            assert ids[name] == [*expected, 487]


# -- what is done with them --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["baichuan2", "qwen", "chatglm"])
def test_plan_tune_chat_merge_export(own_home, tmp_path, name, capsys) -> None:
    folder, run, merged = folder_of(FAMILIES[name], tmp_path / name), tmp_path / "run", tmp_path / "merged"
    talk = [{"messages": [{"role": role, "content": f"{role} {n} says {n * n}."} for n in range(2)
                          for role in ("user", "assistant")]}]  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(talk * 8), encoding="utf-8")
    assert main(["plan", str(folder), "--json"]) == 0
    parameters = sum(weight.numel() for weight in weights_of(FAMILIES[name]).values())
    assert json.loads(capsys.readouterr().out)["parameters"] == parameters
    tuned = [
        "tune",
        str(folder),
        "--data",
        str(tmp_path / "rows.json"),
        "--out",
        str(run),
        "--max-steps",
        "3",
        "--batch",
        "4",
    ]
    assert main([*tuned, "--precision", "f32", "--show", "0"]) == 0
    assert main(["merge", f"{folder}+{run / 'adapter'}", "--out", str(merged)]) == 0
    if name != "chatglm":
        assert main(["export", str(folder), "--out", str(tmp_path / "model.gguf"), "--no-modelfile"]) == 0
        fields = GGUFReader(tmp_path / "model.gguf").fields
        tokens, types = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
        marks = {"baichuan2": ["<reserved_0>", "<reserved_1>"], "qwen": ["<|im_start|>", "<|im_end|>"]}[name]
        kinds = dict(zip(tokens, types, strict=True))
        assert [kinds[mark] for mark in marks] == [3, 3]  # control: llama.cpp reads them as tokens
    greedy = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
    answers = []
    for address, adapter in ((folder, run / "adapter"), (merged, None)):
        engine = Engine(load(str(address), precision="f32"), adapters={"mine": adapter} if adapter else {},
                        settings=EngineSettings(kv_memory="64MB"))  # fmt: skip
        try:
            asked = ChatRequest(
                (Message("user", "What is 3?"),), adapter="mine" if adapter else None, params=greedy
            )
            answers.append(engine.submit(asked).result().completions[0].token_ids)
        finally:
            engine.close()
    assert answers[0] == answers[1]


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("baichuan2", {"max_position_embeddings": None}, r"biases attention by distance \(ALiBi\).*vLLM.*http://"),
        ("qwen", {"rotary_pct": 0.5}, "rotates a part of each head"),
        ("qwen", {"seq_length": None}, r"config\.json does not say what qwen models say"),
        ("qwen", {"quantization_config": {"quant_method": "gptq"}}, "take the unquantised model"),
        ("chatglm", {"multi_query_attention": None}, "attends to its prompt in both directions; take chatglm3-6b"),
        ("chatglm", {"rope_ratio": 50}, "its rope_ratio is not the usual one"),
        ("yi", {"hidden_act": "gelu"}, "its activation is gelu"),
        ("minicpm", {"num_experts": 8}, "a mixture of experts"),
        ("xverse", {"model_type": "deepseek"}, "a mixture of experts of DeepSeek's first form"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_is_named(own_home, tmp_path, name, change, said) -> None:
    folder = folder_of(FAMILIES[name], tmp_path / "model")
    config = {key: value for key, value in (FAMILIES[name].config | change).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=said) as error:
        load(str(folder))
    assert "\n" not in str(error.value)
    assert said.split(r"\(")[0].split(r"\.")[0].split(".*")[0] in describe(folder).support.why
    assert not list((own_home / "models").rglob("*.safetensors"))


@pytest.mark.parametrize("change", ["missing", "more", "other shape"])
def test_tensors_that_are_not_the_configs_are_refused(own_home, tmp_path, change) -> None:
    family = own()["qwen"]
    folder = tmp_path / "model"
    name = "transformer.h.1.attn.c_attn.weight"
    if change == "missing":
        del family.shapes[name]
        said = r"no tensor becomes model\.layers\.1\.self_attn\.k_proj\.weight"
    elif change == "more":
        family.shapes["transformer.h.1.attn.extra.weight"] = (3, 3)
        said = r"its tensor transformer\.h\.1\.attn\.extra\.weight \[3, 3\] has no place there"
    else:
        family.shapes["lm_head.weight"] = (767, 64)
        said = r"lm_head\.weight \[767, 64\] becomes lm_head\.weight, which has \[768, 64\]"
    with pytest.raises(ModelError, match=said):
        load(str(folder_of(family, folder)))
    assert not list((own_home / "models").rglob("*.safetensors"))


def test_a_tokenizer_that_is_none_is_refused(own_home, tmp_path) -> None:
    folder = folder_of(FAMILIES["yi"], tmp_path / "model")
    (folder / "tokenizer.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match=r"tokenizer\.model is neither sentencepiece's nor tiktoken's"):
        load(str(folder))
    (folder / "tokenizer.model").unlink()
    with pytest.raises(ModelError, match="holds no tokenizer that can be read"):
        load(str(folder))
    assert not list((own_home / "models" / "converted").rglob("*.json"))
