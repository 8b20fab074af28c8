"""What peft's LoRA can be × tied, own and grown embeddings × engine, merge and GGUF: peft's own logits, or refused.

The reference is base model and adapter together in peft: its own merge changes a shared matrix twice.
"""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import EvaConfig, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from weightwright.errors import ModelError
from weightwright.executor.lora import AdapterBank, wrap
from weightwright.export.folder import write_folder
from weightwright.export.gguf.write import write_gguf
from weightwright.export.merge import whole
from weightwright.weights import load
from weightwright.weights.adapter import read_adapter

NEAR = 2e-6  # of the logits' norm
NEW_TOKENS = ["<new>", "<newer>"]
BASES = ("tied", "untied", "grown tied", "grown untied")
ATTENTION = ["q_proj", "v_proj"]
MERGE = "merge it into its base model"
EMBEDDED = "changes the input embeddings .*" + MERGE
COPIES = "modules_to_save=.*whole copies.*" + MERGE
SINGLE = "embeddings of single tokens"
START = "which changes the base weights, differently each time; save it as plain LoRA"
NEVER = "which is neither applied nor merged here"
ROWS = "trained with .* embeddings and the base model has"


@dataclass(frozen=True)
class Kind:
    """An adapter, why the engine or all of them refuse it, and on which bases a merge has not all rows."""

    options: dict[str, Any]
    engine: str = ""
    everywhere: str = ""
    merge: str = ""
    lacks_rows: tuple[str, ...] = ()
    told: dict[str, Any] | None = None  # what stands in the file and needs more than a config to be trained


def plain(**options: Any) -> dict[str, Any]:
    return {"target_modules": ATTENTION, **options}


KINDS = {
    "all-linear": Kind({"target_modules": "all-linear"}),
    "some layers": Kind(plain(layers_to_transform=[1])),
    "all but one": Kind({"target_modules": "all-linear", "exclude_modules": ["q_proj"]}),
    "embedding": Kind(plain(target_modules=["q_proj", "embed_tokens"]), EMBEDDED, lacks_rows=("grown untied",)),
    "head": Kind(plain(target_modules=["q_proj", "lm_head"]), lacks_rows=("grown untied",)),
    "both": Kind({"target_modules": ["embed_tokens", "lm_head"]}, EMBEDDED),
    "both, kept tied": Kind({"target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}, EMBEDDED),
    "saved embedding": Kind(plain(modules_to_save=["embed_tokens"]), COPIES),
    "saved head": Kind(plain(modules_to_save=["lm_head"]), COPIES),
    "both saved": Kind(plain(modules_to_save=["embed_tokens", "lm_head"]), COPIES),
    "saved embedding, kept tied": Kind(plain(modules_to_save=["embed_tokens"], ensure_weight_tying=True), COPIES),
    "saved head, kept tied": Kind(plain(modules_to_save=["lm_head"], ensure_weight_tying=True), COPIES),
    "saved norms": Kind(plain(modules_to_save=["norm"]), COPIES),
    "tokens": Kind(plain(trainable_token_indices=[3, 9]), SINGLE),
    "tokens, kept tied": Kind(plain(trainable_token_indices=[3, 9], ensure_weight_tying=True), SINGLE),
    "tokens of each": Kind(plain(trainable_token_indices={"embed_tokens": [3, 9], "lm_head": [3, 8]}), SINGLE),
    "tokens, and the head": Kind(
        plain(target_modules=["q_proj", "lm_head"], trainable_token_indices=[3, 9]), SINGLE
    ),
    "patterns": Kind(plain(rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 5})),
    "rslora": Kind(plain(use_rslora=True)),
    "dora": Kind({"target_modules": ["q_proj", "down_proj"], "use_dora": True}),
    "dora, head": Kind(
        {"target_modules": ["q_proj", "lm_head"], "use_dora": True, "use_rslora": True}, lacks_rows=("grown untied",)
    ),
    "lora_bias": Kind(plain(lora_bias=True), merge="layers without one .*serve it as an adapter"),
    "bias": Kind(plain(bias="all"), "bias='all': it changes"),
    "pissa": Kind(plain(init_lora_weights="pissa"), "changes the base weights; save it as plain LoRA.*" + MERGE),
    "olora": Kind(plain(init_lora_weights="olora"), "changes the base weights; save it as plain LoRA.*" + MERGE),
    "eva": Kind(plain(init_lora_weights="eva", eva_config=EvaConfig())),
    "orthogonal": Kind(plain(init_lora_weights="orthogonal")),
    "mica": Kind(plain(init_lora_weights="mica")),
    "pissa_niter": Kind(plain(init_lora_weights="pissa_niter_4"), everywhere=START),
    "corda": Kind(plain(), everywhere=START, told={"init_lora_weights": "corda"}),
    "loftq": Kind(plain(), everywhere=START, told={"init_lora_weights": "loftq"}),
    "lora_ga": Kind(plain(), everywhere=START, told={"init_lora_weights": "lora_ga"}),
    "layers repeated": Kind(plain(layer_replication=[[0, 2], [1, 2]]), everywhere=NEVER),
    "activated": Kind(plain(alora_invocation_tokens=[3, 9]), everywhere=NEVER),
    "qalora": Kind(plain(), everywhere=NEVER, told={"use_qalora": True}),
}  # fmt: skip


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two tiny Llamas with a tokenizer that GGUF files can hold; head and embedding share a matrix, or do not."""
    root, tokenizer = tmp_path_factory.mktemp("bases"), neighbour("test_gguf_export").byte_level("qwen2")
    for name in ("tied", "untied"):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2,
            tie_word_embeddings=name == "tied", eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in ("tied", "untied")}


def neighbour(name: str) -> Any:
    """The module of another file of tests."""
    spec = importlib.util.spec_from_file_location(f"neighbour_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(base: Path, rows: int | None = None) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=ids).logits[0].float()


def trained(kind: Kind, base: Path, folder: Path, rows: int | None) -> None:
    """Write an adapter that was moved away from its start; with `rows`, one whose last tokens are new."""
    options = dict(kind.options)
    if rows and (tokens := options.get("trainable_token_indices")):
        new = [rows - 2, rows - 1]
        options["trainable_token_indices"] = (
            {**tokens, "embed_tokens": new} if isinstance(tokens, dict) else new
        )
    torch.manual_seed(1)
    made = get_peft_model(opened(base, rows), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for weight in made.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    made.save_pretrained(folder)
    if kind.told:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | kind.told))


def in_the_engine(base: Path, folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model, bank = opened(base), AdapterBank(torch.float32)
    wrap(model, bank)
    bank.load(read_adapter("mine", folder))
    bank.rows = bank.batch([0] * ids.shape[1])
    return logits(model, ids)


def agrees(compute: Callable[[], torch.Tensor], expected: torch.Tensor, refusal: str) -> str:
    """Hold what is computed to `expected`, or the refusal to its words; what it said."""
    if refusal:
        with pytest.raises(ModelError, match=refusal) as raised:
            compute()
        return str(raised.value)
    got = compute()
    assert all((one - expected).norm() < NEAR * expected.norm() for one in got.view(-1, *expected.shape))
    return ""


@pytest.mark.parametrize("on", BASES)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_computes_what_it_does_in_peft_or_is_refused(
    bases: dict[str, Path], tmp_path: Path, name: str, on: str
) -> None:
    kind, base, grown = KINDS[name], bases[on.rpartition(" ")[2]], on.startswith("grown")
    rows = opened(base).config.vocab_size + len(NEW_TOKENS) if grown else None
    adapter = tmp_path / "adapter"
    trained(kind, base, adapter, rows)
    if grown:
        tokenizer = load.load_tokenizer(str(base))
        tokenizer.add_tokens(NEW_TOKENS)
        tokenizer.save_pretrained(adapter)
    ids = torch.tensor([[3, 100, 41, rows - 1 if rows else 77, 250, 9, 9, 12]])
    lacks_rows = ROWS if on in kind.lacks_rows else ""
    merge = kind.everywhere or kind.merge or lacks_rows
    expected = torch.empty(0)
    if not (kind.everywhere or lacks_rows):
        expected = logits(
            PeftModel.from_pretrained(opened(base, rows), str(adapter), torch_device="cpu"), ids
        )
        assert (
            expected - logits(opened(base, rows), ids)
        ).norm() > 1e-2 * expected.norm()  # it does something

    def merged() -> torch.Tensor:
        """A merged folder and the GGUF file of the same model, opened again."""
        model = whole(f"{base}+{adapter}", precision="f32")
        write_gguf(model, tmp_path / "merged.gguf", "f32")
        write_folder(model, tmp_path / "merged")
        head, embedding = model.model.get_output_embeddings(), model.model.get_input_embeddings()
        config = json.loads(
            (tmp_path / "merged" / "config.json").read_text()
        )  # vLLM and transformers 4 go by it
        assert config["tie_word_embeddings"] is (head.weight is embedding.weight)
        gguf = load.load(str(tmp_path / "merged.gguf"), precision="f32", device="cpu").model
        return torch.stack([logits(opened(tmp_path / "merged"), ids), logits(gguf, ids)])

    engine = kind.everywhere or kind.engine or ("adapter 'mine'" if grown else "")
    refused = agrees(lambda: in_the_engine(base, adapter, ids), expected, engine)
    said = agrees(merged, expected, merge)
    if kind.everywhere:
        assert refused.replace("adapter 'mine'", f"the adapter at {adapter}") == said
