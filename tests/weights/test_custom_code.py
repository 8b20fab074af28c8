"""A model that brings its own code: refused unless trusted, and then run like any other."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from weightwright import LLM, SamplingParams
from weightwright.errors import ModelError
from weightwright.weights.load import load

CODE = Path(__file__).parent / "custom"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model's folder: code, seeded weights, and the tiny model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "plain"
    shutil.copytree(CODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / name)
    config = {
        "model_type": "plain-fixture", "architectures": ["PlainForCausalLM"], "initializer_range": 0.2,
        "auto_map": {"AutoConfig": "configuration_plain.PlainConfig",
                     "AutoModelForCausalLM": "modeling_plain.PlainForCausalLM"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(folder, trust_remote_code=True), trust_remote_code=True
    )
    made.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_it_needs_trust(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"PlainForCausalLM brings its own code.*--trust-remote-code"):
        LLM(str(folder))


@pytest.mark.usefixtures("exact_int8")
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_it_answers_as_its_own_code_does(folder: Path, precision: str) -> None:
    prompts = [[7, 30, 101], list(range(10, 60))]
    own = load(str(folder), precision="f32", device="cpu", trust_remote_code=True).model
    own.set_attn_implementation("eager")
    expected = []
    for prompt in prompts:
        ids = list(prompt)
        with torch.inference_mode():
            for _ in range(8):
                ids.append(int(own(torch.tensor([ids])).logits[0, -1].argmax()))
        expected.append(tuple(ids[len(prompt) :]))
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    device = "auto" if precision == "f32" else "cpu"
    with LLM(
        str(folder), precision=precision, device=device, trust_remote_code=True, max_num_seqs=4,
        max_num_batched_tokens=16,
    ) as llm:  # fmt: skip
        outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params)
    got = [tuple(output.outputs[0].token_ids) for output in outputs]
    if precision == "f32":
        assert got == expected
    else:
        assert all(len(tokens) == 8 for tokens in got)
        assert got[0][:2] == expected[0][:2]
