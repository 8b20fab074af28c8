"""`LLM` in the shape of vLLM's offline API."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import weightwright
import weightwright.hub.pull
import weightwright.weights.load
from weightwright import LLM, SamplingParams, hub, weights
from weightwright.connect import open_chat
from weightwright.engine.outputs import LoRARequest
from weightwright.errors import MemoryLimitError, SettingsError
from weightwright.machine import memory
from weightwright.options import Precision


@pytest.fixture(scope="module")
def llm(tiny_model: Path):
    with LLM(model=str(tiny_model), dtype="float32") as opened:
        yield opened


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter for the tiny model."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder)
    return folder


def test_the_package_offers_llm_without_importing_torch_at_once() -> None:
    assert set(weightwright.__all__) <= set(dir(weightwright))
    assert weightwright.LLM is LLM


def test_generate_keeps_the_order_of_prompts(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=5, ignore_eos=True)
    outputs = llm.generate(["Hello, my name is", "a", "The future of AI is"], params)
    assert [o.prompt for o in outputs] == ["Hello, my name is", "a", "The future of AI is"]
    assert all(len(o.outputs[0].token_ids) == 5 for o in outputs)
    alone = llm.generate("a", params)
    assert alone[0].outputs[0].text == outputs[1].outputs[0].text


def test_prompts_may_be_tokens_and_parameters_one_per_prompt(llm: LLM) -> None:
    ids = llm.get_tokenizer().encode("Hello")
    params = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in (3, 6)]
    outputs = llm.generate([{"prompt_token_ids": ids}, "Hello"], params)
    first, second = (o.outputs[0].token_ids for o in outputs)
    assert outputs[0].prompt_token_ids == ids
    assert (len(first), len(second)) == (3, 6)
    assert second[:3] == first


def test_chat_takes_one_conversation_or_several(llm: LLM) -> None:
    turns = [{"role": "user", "content": "Hello"}]
    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
    one = llm.chat(turns, params)
    two = llm.chat([turns, turns], params)
    assert [o.outputs[0].text for o in two] == [one[0].outputs[0].text] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float8"}, "dtype='float8' is not known; use one of"),
        ({"quantization": "awq"}, "use precision="),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size=2: this engine runs a model on one device"),
        (
            {"pipeline_parallel_size": 2},
            "pipeline_parallel_size=2 is not supported; tensor_parallel_size with",
        ),
    ],
)
def test_what_this_engine_does_not_do_is_refused(tiny_model: Path, arguments: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LLM(model=str(tiny_model), **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 999}, "block_size=999 is not supported: the KV cache has blocks of 16 tokens"),
        (
            {"cpu_offload_gb": 5},
            "cpu_offload_gb=5 is not supported: weights stay where they are; use precision",
        ),
        ({"swap_space": 16}, "swap_space=16 is not supported: nothing is swapped"),
        (
            {"gpu_memory_utilization": 0.3},
            r"gpu_memory_utilization=0.3 is not supported: say .* kv_memory='2GB'",
        ),
        ({"num_gpu_blocks_override": 100}, "num_gpu_blocks_override=100 is not supported"),
        ({"kv_cache_dtype": "fp8"}, "kv_cache_dtype='fp8' is not supported; use 'auto' or 'int8'"),
        (
            {"enable_prefix_cache": True},
            "has no option 'enable_prefix_cache'; did you mean enable_prefix_caching",
        ),
    ],
)
def test_an_option_that_means_something_is_done_or_refused(options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LLM("smollm2-135m", **options)


def test_options_of_vllm_are_honoured_or_ask_for_nothing(tiny_model: Path) -> None:
    with LLM(
        str(tiny_model), block_size=16, swap_space=4, cpu_offload_gb=0, gpu_memory_utilization=0.9,
        enforce_eager=True, enable_prefix_caching=None, max_num_batched_tokens=64, kv_cache_dtype="int8",
        max_num_seqs=8, max_model_len=99,
    ) as opened:  # fmt: skip
        settings = opened._chat.settings
    assert (settings.share_prefixes, settings.step_tokens, settings.kv_precision) == (True, 64, "int8")
    assert (settings.max_sequences, settings.max_context) == (8, 99)


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(weights.load, "load", lambda *_, **__: pytest.fail("it was loaded"))
    for door in (lambda: LLM(str(tiny_model)), lambda: open_chat(str(tiny_model))):
        with pytest.raises(MemoryLimitError, match=r"serve needs .* GB are free"):
            door()


def test_an_address_is_resolved_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    located = hub.store.locate
    for module in (hub.store, hub.pull, weights.load):
        monkeypatch.setattr(module, "locate", lambda *given: (calls.append(1), located(*given))[1])
    open_chat(str(tiny_model)).close()
    assert len(calls) == 1


def test_each_prompt_may_have_its_own_adapter(tiny_model: Path, adapter: Path) -> None:
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    turns = [{"role": "user", "content": "Hello"}]
    with LLM(str(tiny_model), dtype="float32", adapters={"a": adapter}) as opened:

        def texts(**given) -> list[str]:
            return [o.outputs[0].text for o in opened.generate(["Hello"] * 3, params, **given)]

        plain, adapted = texts()[0], texts(adapter="a")[0]
        assert plain != adapted
        assert texts(adapter=[None, "a", None]) == [plain, adapted, plain]
        request = LoRARequest("b", 1, str(adapter))
        assert texts(lora_request=[request, None, request]) == [adapted, plain, adapted]
        assert texts(lora_request=request) == [adapted] * 3
        chats = [o.outputs[0].text for o in opened.chat([turns] * 2, params, adapter=["a", None])]
        assert chats == [opened.chat(turns, params, adapter=name)[0].outputs[0].text for name in ("a", None)]
        for given, words in (
            ({"adapter": ["a", None]}, "2 adapters for 3 prompts; give one or 3"),
            ({"lora_request": [request]}, "1 lora_requests for 3 prompts"),
            ({"adapter": "a", "lora_request": request}, "lora_request or adapter, not both"),
            ({"lora_request": LoRARequest("b", 2, "elsewhere")}, "'b' is already loaded from"),
        ):
            with pytest.raises(SettingsError, match=words):
                texts(**given)


def test_two_parameters_for_three_prompts_are_refused(llm: LLM) -> None:
    with pytest.raises(SettingsError, match="2 sampling parameters for 3 prompts"):
        llm.generate(["a", "b", "c"], [SamplingParams(), SamplingParams()])


@pytest.mark.model
@pytest.mark.parametrize("precision", ["f32", "auto"])
def test_a_real_model_knows_the_capital_of_france(kept_home: Path, precision: Precision) -> None:
    """What rounding changes is far below the margins of this answer, which are looked at."""
    params = SamplingParams(temperature=0, max_tokens=8, stop=["."], logprobs=2)
    with LLM(model="smollm2-135m", precision=precision) as llm:
        answer = llm.generate("The capital of France is", params)[0].outputs[0]
    assert (answer.text, answer.finish_reason, answer.stop_reason) == (" Paris", "stop", ".")
    for token in answer.logprobs:
        (_, _, first), (_, _, second) = token.top
        assert first - second > 0.75
