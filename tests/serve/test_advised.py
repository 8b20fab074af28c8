"""What a request leaves open is sampled as the model's files advise, unless the server is told otherwise."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from weightwright.ports import silent
from weightwright.serve.offers import open_offers
from weightwright.serve.settings import ServeSettings


@pytest.fixture(scope="module")
def advised(tiny_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("advised") / "model"
    shutil.copytree(tiny_model, folder)
    said = {"do_sample": True, "temperature": 0.7, "top_k": 1, "repetition_penalty": 1.5}
    (folder / "generation_config.json").write_text(json.dumps(said))
    return folder


def test_fields_left_open_are_the_models_and_given_ones_the_requests(advised, serving):
    settings = ServeSettings(model=f"{advised}:f32", name="m")  # answers are compared: no rounding but f32's
    with closing(open_offers(settings, silent)) as offers:
        params = offers.named("m").params
        assert (params.temperature, params.top_k, params.repetition_penalty) == (0.7, 1, 1.5)
        assert (params.top_p, params.max_tokens) == (1.0, None)
        address = serving(list(offers))

        def answer(**fields: object) -> str:
            body = {"model": "m", "prompt": "Once upon", "max_tokens": 24, "seed": 5, **fields}
            reply = httpx.post(f"{address}/v1/completions", json=body, timeout=60)
            return reply.json()["choices"][0]["text"]

        own = answer()
        assert own == answer(temperature=0, repetition_penalty=1.5)  # top_k 1 leaves no choice
        assert own != answer(repetition_penalty=1)
        assert own != answer(top_k=0, temperature=2)


def test_none_leaves_openais_defaults(advised):
    settings = ServeSettings(model=str(advised), name="m", generation_config="none")
    with closing(open_offers(settings, silent)) as offers:
        params = offers.named("m").params
    assert (params.temperature, params.top_k, params.repetition_penalty) == (1.0, 0, 1.0)


def test_the_models_advice_does_not_reach_a_model_without_files():
    with closing(open_offers(ServeSettings(model="extract", name="m"), silent)) as offers:
        assert offers.named("m").params.temperature == 1.0
