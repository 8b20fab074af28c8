"""`LLM` in the shape of vLLM's offline API."""

from pathlib import Path

import pytest

import weightwright
from weightwright import LLM, SamplingParams
from weightwright.errors import SettingsError


@pytest.fixture(scope="module")
def llm(tiny_model: Path):
    with LLM(model=str(tiny_model), dtype="float32") as opened:
        yield opened


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
        ({"tensor_parallel_size": 2}, "serve with vLLM"),
    ],
)
def test_what_this_engine_does_not_do_is_refused(tiny_model: Path, arguments: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LLM(model=str(tiny_model), **arguments)


def test_two_parameters_for_three_prompts_are_refused(llm: LLM) -> None:
    with pytest.raises(SettingsError, match="2 sampling parameters for 3 prompts"):
        llm.generate(["a", "b", "c"], [SamplingParams(), SamplingParams()])


@pytest.mark.model
def test_a_real_model_knows_the_capital_of_france() -> None:
    with LLM(model="smollm2-135m") as llm:
        question = [{"role": "user", "content": "What is the capital of France?"}]
        answer = llm.chat(question, SamplingParams(temperature=0, max_tokens=20))[0].outputs[0]
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
