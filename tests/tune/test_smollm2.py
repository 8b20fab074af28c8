"""A real small model learns in bf16 or f32, whichever this machine computes fast."""

import json

import pytest

from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings

pytestmark = pytest.mark.model


def test_it_learns_a_manner_of_answering(tmp_path):
    rows = tmp_path / "rows.jsonl"
    cities = ("Lima", "Oslo", "Cairo", "Quito", "Hanoi", "Accra", "Sofia", "Dakar")
    lines = [
        {"question": f"Where does {name} live?", "passages": [f"{name} lives in {city}."],
         "answer": f"In {city} [1]."}
        for name, city in zip(("Ann", "Bo", "Cy", "Di", "Ed", "Flo", "Gus", "Hal"), cities, strict=True)
    ]  # fmt: skip
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    settings = TuneSettings(
        model="smollm2-135m", data=rows, eval_data=rows, out=tmp_path / "run", rank=16, epochs=4,
        batch=4, learning_rate=1e-3, eval_every=8,
    )  # fmt: skip
    result = tune(settings)
    first = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])["eval_loss"]
    assert result.steps == 8
    assert result.eval_loss < 0.4 * first
    assert result.diagnosis[0].startswith("leak: 8 of 8 held-out rows")
    assert result.diagnosis[1].startswith("fine")
