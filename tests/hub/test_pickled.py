"""Models whose weights are pickle files: converted once, checked, and never read when they load."""

import argparse
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from weightwright.errors import ModelError
from weightwright.hub import pickled
from weightwright.hub.converted import converted_folder
from weightwright.hub.models import here
from weightwright.hub.pickled import convert
from weightwright.hub.pull import pull
from weightwright.hub.store import locate, remove
from weightwright.weights.describe import describe
from weightwright.weights.load import load

OLD, BOT, TITLE = "acme/old", "SFconvertbot", "Adding `safetensors` variant of this model"


def saved(values: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(values, stream, **options)
    return stream.getvalue()


@pytest.fixture
def weights(tiny_model: Path) -> dict[str, torch.Tensor]:
    return load_file(tiny_model / "model.safetensors")


@pytest.fixture
def small(tiny_model: Path) -> dict[str, bytes]:
    """The tiny model's files but its weights."""
    return {file.name: file.read_bytes() for file in tiny_model.iterdir() if file.suffix != ".safetensors"}


def shards(weights: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """Two pickle files and their index."""
    names = sorted(weights)
    halves = {f"pytorch_model-0000{n + 1}-of-00002.bin": names[n::2] for n in range(2)}
    files = {file: saved({name: weights[name] for name in half}) for file, half in halves.items()}
    places = {name: file for file, half in halves.items() for name in half}
    return files | {pickled.INDEX: json.dumps({"metadata": {}, "weight_map": places}).encode()}


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def same(folder: Path, weights: dict[str, torch.Tensor]) -> bool:
    found: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)


def repository(hub: Any, files: dict[str, bytes], name: str = OLD) -> Any:
    hub.repos[name] = sys.modules["hub_server"].Repo(files)
    return hub.repos[name]


@pytest.mark.parametrize("sharded", [False, True])
def test_a_pull_converts_once_and_the_model_loads(hub, own_home, small, weights, sharded):
    repository(hub, small | (shards(weights) if sharded else {"pytorch_model.bin": saved(weights)}))
    folder = pull(OLD)
    assert locate(OLD) == folder
    assert same(folder, weights)
    assert not list(folder.rglob("*.bin"))
    loaded = load(OLD, precision="f32")
    for name, value in loaded.model.state_dict().items():
        if name in weights:
            assert torch.equal(value, weights[name].float())
    hub.requests.clear()
    assert pull(OLD, update=True) == folder
    assert hub.fetched() == []


def test_a_new_commit_brings_again_what_changed_alone(hub, own_home, small, weights):
    repo = repository(hub, small | shards(weights))
    folder = pull(OLD)
    changed = {name: value + 1 for name, value in weights.items()}
    repo.files["pytorch_model-00002-of-00002.bin"] = shards(changed)["pytorch_model-00002-of-00002.bin"]
    repo.revision += 1
    hub.requests.clear()
    pull(OLD, update=True)
    assert [name for name, _ in hub.fetched()] == ["pytorch_model-00002-of-00002.bin"]
    names = sorted(weights)
    assert same(folder, {name: (changed if name in names[1::2] else weights)[name] for name in weights})


def test_the_hubs_own_conversion_is_taken(hub, own_home, small, weights, tiny_model):
    whole = {"pytorch_model.bin": saved(weights)}
    repo, types = repository(hub, small | whole), sys.modules["hub_server"]
    ready = {"model.safetensors": (tiny_model / "model.safetensors").read_bytes()}
    stale = {"model.safetensors": b"old" * 1000, "pytorch_model.bin": saved({})}
    repo.offers = {
        3: types.Offer(
            "somebody", TITLE, types.Repo(small | whole | {"model.safetensors": b"bad" * 1000}, 33)
        ),
        4: types.Offer(BOT, TITLE, types.Repo(small | stale, 34)),  # of weights that were replaced since
        5: types.Offer(BOT, TITLE, types.Repo(small | whole | ready, 35)),
    }
    folder = pull(OLD)
    fetched = [name for name, _ in hub.fetched()]
    assert "pytorch_model.bin" not in fetched
    assert (folder / "model.safetensors").read_bytes() == ready["model.safetensors"]


def test_a_mirror_without_requests_is_no_obstacle(hub, own_home, small, weights):
    repository(hub, small | {"pytorch_model.bin": saved(weights)}).with_requests = False
    assert same(pull(OLD), weights)


def test_a_folder_is_converted_into_the_store(own_home, tmp_path, small, weights, caplog):
    caplog.set_level("INFO", logger="weightwright.progress")
    folder = folder_of(tmp_path / "old", small | {"pytorch_model.bin": saved(weights)})
    target = pull(str(folder))
    assert target.is_relative_to(own_home)
    assert same(target, weights)
    assert "converting it once" in caplog.text
    assert sorted(file.name for file in folder.iterdir()) == sorted([*small, "pytorch_model.bin"])
    before = (target / "model.safetensors").stat().st_mtime_ns
    (folder / "generation_config.json").write_text('{"max_new_tokens": 7}')
    assert converted_folder(folder) == target
    assert (target / "model.safetensors").stat().st_mtime_ns == before
    assert (target / "generation_config.json").read_text() == '{"max_new_tokens": 7}'
    assert load(str(folder), precision="f32").path == target


def test_tensors_of_every_kind(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    values = {
        "a": base, "tied": base, "turned": base.t(), "part": base[1:, 2:], "bf16": base.bfloat16(),
        "f16": base.half(),
        "count": torch.tensor(7), "none": torch.empty(0, 4), "mask": base > 3, "weight": torch.nn.Parameter(base),
    }  # fmt: skip
    for legacy in (False, True):
        (tmp_path / "x.bin").write_bytes(saved(values, _use_new_zipfile_serialization=not legacy))
        convert("x.bin", tmp_path / "x.bin", tmp_path / "x.safetensors")
        found = load_file(tmp_path / "x.safetensors")
        assert found.keys() == values.keys()
        assert all(torch.equal(found[name], value.detach()) for name, value in values.items())
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert opened.metadata()["source_sha256"] == pickled.weight_files.sha256_of(tmp_path / "x.bin")


class Runs:
    """What runs code when it is unpickled: harmless here."""

    def __reduce__(self) -> Any:
        return print, ("it ran",)


def shortened() -> bytes:
    """A file whose tensor says that it has more numbers than there are."""
    stream = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(1000)})))
    with zipfile.ZipFile(stream, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry.filename, content[:100] if entry.filename.endswith("data/0") else content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved({"a": torch.ones(2), "x": Runs()}), "holds .*print, which is no tensor and could run code"),
        (saved({"x": argparse.Namespace(a=1)}), "holds argparse.Namespace, which is no tensor"),
        (saved({"a": torch.ones(2), "step": 3}), "holds 'step' as int, which is no tensor"),
        (saved({"model": {"a": torch.ones(2)}}), "holds 'model' as dict, which is no tensor"),
        (saved([torch.ones(2)]), "holds list instead of named tensors"),
        (saved({3: torch.ones(2)}), "names a tensor 3"),
        (saved({"a": torch.eye(3).to_sparse()}), "holds 'a' as float32 sparse_coo"),
        (saved({"a": torch.ones(1000)})[:-100], "is cut off"),
        (saved({"a": torch.ones(1000)}, _use_new_zipfile_serialization=False)[:-100], "cannot be read"),
        (shortened(), "cannot be read"),
        (b"", "cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no file that torch.save wrote: it begins with b'vers"),
    ],
)  # fmt: skip
def test_what_is_no_weights_is_one_line_and_nothing_is_written(own_home, tmp_path, small, content, said):
    folder = folder_of(tmp_path / "old", small | {"pytorch_model.bin": content})
    with pytest.raises(ModelError, match=rf"old/pytorch_model\.bin {said}") as error:
        load(str(folder))
    assert "\n" not in str(error.value)
    assert not list((own_home / "models").rglob("*.safetensors"))
    assert not list((own_home / "models" / "converted").rglob("*.json"))


def test_a_refused_download_leaves_no_model(hub, own_home, small, weights):
    repo = repository(hub, small | {"pytorch_model.bin": saved({"x": argparse.Namespace(a=1)})})
    with pytest.raises(ModelError, match=r"acme/old/pytorch_model\.bin holds argparse\.Namespace"):
        pull(OLD)
    assert locate(OLD) is None
    repo.files["pytorch_model.bin"], repo.revision = saved(weights), 2
    assert same(pull(OLD), weights)


@pytest.mark.parametrize("change", ["swapped", "missing", "more"])
def test_an_index_that_says_otherwise_is_refused(own_home, tmp_path, small, weights, change):
    files = shards(weights)
    index = json.loads(files[pickled.INDEX])
    places, name = index["weight_map"], sorted(weights)[0]
    if change == "swapped":
        places[name] = "pytorch_model-00002-of-00002.bin"
    elif change == "missing":
        del places[name]
    else:
        places["more"] = places[name]
    files[pickled.INDEX] = json.dumps(index).encode()
    wrong = "more" if change == "more" else name
    with pytest.raises(ModelError, match=rf"index\.json says that {wrong} is in .*1 such"):
        load(str(folder_of(tmp_path / "old", small | files)))
    assert not list((own_home / "models").rglob("*.safetensors"))


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("parts", [1, 2])
def test_parts_load_with_an_index_and_without(hub, own_home, tmp_path, small, weights, parts, index):
    """One part of one, too, and also from a hub."""
    names = sorted(weights)
    files = {
        f"pytorch_model-0000{n + 1}-of-0000{parts}.bin": {name: weights[name] for name in names[n::parts]}
        for n in range(parts)
    }
    content = small | {file: saved(values) for file, values in files.items()}
    if index:
        places = {name: file for file, values in files.items() for name in values}
        content[pickled.INDEX] = json.dumps({"weight_map": places}).encode()
    repository(hub, content)
    for address in (str(folder_of(tmp_path / "old", content)), OLD):
        loaded = load(address, precision="f32")
        assert same(loaded.path, weights)
        name = "model.embed_tokens.weight"
        assert torch.equal(loaded.model.state_dict()[name], weights[name].float())


def test_a_part_that_is_missing_is_told(own_home, tmp_path, small, weights):
    files = shards(weights)
    del files["pytorch_model-00002-of-00002.bin"]
    with pytest.raises(
        ModelError, match=r"says that .* is in model-00002-of-00002\.safetensors, and it is in none"
    ):
        load(str(folder_of(tmp_path / "old", small | files)))
    del files[pickled.INDEX]
    with pytest.raises(ModelError, match=r"bare has 1 of 2 weight files"):
        load(str(folder_of(tmp_path / "bare", small | files)))


def test_an_index_beside_whole_weights_is_of_no_matter(hub, own_home, tmp_path, small, weights):
    content = small | {pickled.INDEX: shards(weights)[pickled.INDEX], "pytorch_model.bin": saved(weights)}
    repository(hub, content)
    for address in (str(folder_of(tmp_path / "old", content)), OLD):
        assert same(load(address, precision="f32").path, weights)


def test_weights_that_changed_are_converted_again(own_home, tmp_path, small, weights):
    folder = folder_of(tmp_path / "old", small | {"pytorch_model.bin": saved(weights)})
    other = folder_of(tmp_path / "x", {})
    first = converted_folder(folder)
    more = {name: value + 1 for name, value in weights.items()}
    (folder / "pytorch_model.bin").write_bytes(saved(more))
    assert converted_folder(folder) == first
    assert same(first, more)
    twin = folder_of(
        other / "old", small | {"pytorch_model.bin": saved(more)}
    )  # of the same name and weights
    (twin / "generation_config.json").write_text('{"max_new_tokens": 3}')
    assert converted_folder(twin) != first
    assert (first / "generation_config.json").read_bytes() == small["generation_config.json"]


def test_a_child_that_takes_too_much_is_stopped(monkeypatch, tmp_path):
    """The limits hold: a child that may use next to nothing ends, and is told apart from a bad file."""
    (tmp_path / "x.bin").write_bytes(saved({"a": torch.ones(4)}))
    if sys.platform == "linux":
        with monkeypatch.context() as patched:
            patched.setattr(pickled, "_MEMORY_BYTES", 1 << 20)
            with pytest.raises(ModelError, match=r"x\.bin "):
                convert("x.bin", tmp_path / "x.bin", tmp_path / "x.safetensors")
        assert not (tmp_path / "x.safetensors").exists()
    monkeypatch.setattr(pickled, "_CPU_S", 0)
    with pytest.raises(ModelError, match=r"took more memory or time|was not read within 0 s"):
        convert("x.bin", tmp_path / "x.bin", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_conversion_is_shown_listed_and_removed(own_home, tmp_path, small, weights):
    folder = folder_of(tmp_path / "old", small | {"pytorch_model.bin": saved(weights)})
    before = describe(folder)
    assert before.support.ok
    assert before.weights_type == "pickle (pytorch_model.bin), converted to safetensors at its first use"
    assert before.weights_bytes == (folder / "pytorch_model.bin").stat().st_size
    target = converted_folder(folder)
    assert describe(folder) == describe(target)
    (row,) = [row for row in here() if row.source == "converted"]
    assert (row.model, row.path) == (str(folder.resolve()), target)
    assert remove(str(folder)) == row.size_bytes
    assert not target.exists()
    assert (folder / "pytorch_model.bin").is_file()
    with pytest.raises(ModelError, match="only models that were pulled can be removed"):
        remove(str(folder))
