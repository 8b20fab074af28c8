"""The grammar of addresses: every form reads, prints and reads back the same; wrong ones say why."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weightwright.address.models import ModelAddress, parse_embedder, parse_model
from weightwright.address.stores import parse_store
from weightwright.errors import AddressError

MODELS = {
    "extract": ("extract", "extract", None, None, None),
    "smollm2-135m": ("short", "smollm2-135m", None, None, None),
    "smollm2-135m:INT8": ("short", "smollm2-135m", None, "int8", None),
    "Qwen/Qwen2.5-0.5B-Instruct": ("hub", "Qwen/Qwen2.5-0.5B-Instruct", None, None, None),
    "a/b:q4_k_m": ("hub", "a/b", None, "Q4_K_M", None),
    "a/b:UD-Q4_K_XL": ("hub", "a/b", None, "UD-Q4_K_XL", None),
    "a/b:bf16+./runs/first/adapter": ("hub", "a/b", None, "bf16", Path("runs/first/adapter")),
    "a/b+/abs/x": ("hub", "a/b", None, None, Path("/abs/x")),
    "./runs/first": ("folder", "./runs/first", None, None, None),
    "../x+y/z": ("folder", "../x+y/z", None, None, None),
    "./a+./b+../c": ("folder", "./a+./b", None, None, Path("../c")),
    "./2024:first": ("folder", "./2024:first", None, None, None),
    "./folder:Q8_0": ("folder", "./folder", None, "Q8_0", None),
    "/m/model.Q4_1.GGUF": ("gguf", "/m/model.Q4_1.GGUF", None, None, None),
    "./model.gguf:f32": ("gguf", "./model.gguf", None, "f32", None),
    "C:\\models\\x": ("folder", "C:\\models\\x", None, None, None),
    "C:/models/x.gguf:bf16+D:/adapter": ("gguf", "C:/models/x.gguf", None, "bf16", Path("D:/adapter")),
    "http://host:8000/v1#name": ("server", "http://host:8000/v1", "name", None, None),
    "https://h/v1#org/model:Q4+x": ("server", "https://h/v1", "org/model:Q4+x", None, None),
    "HTTP://[::1]:80/v1/": ("server", "http://[::1]:80/v1", None, None, None),
}


@pytest.mark.parametrize("text", MODELS)
def test_every_form_of_a_model_address(text: str) -> None:
    kind, base, name, tag, adapter = MODELS[text]
    address = parse_model(text)
    assert address == ModelAddress(kind, base, name, tag, adapter)  # type: ignore[arg-type]
    assert parse_model(str(address)) == address


def test_home_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    address = parse_model("~/models/x+~/adapter")
    assert address.path == Path("/home/me/models/x")
    assert address.adapter == Path("/home/me/adapter")
    assert parse_store("~/kb.db").path == Path("/home/me/kb.db")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("ftp://h/x", "unknown scheme 'ftp'; known: http, https"),
        ("htp://h/x", "did you mean http?"),
        ("http://", "names no host"),
        ("http://h:99999/v1#x", "Port out of range"),
        ("http://h/v1#", "name after # is empty"),
        ("http://u:secret@h/v1#x", "must not hold a user or password"),
        ("http://h/v1#base+./adapter", "a server holds its adapters"),
        ("gpt2", "a hub id is OWNER/NAME"),
        ("smollm2-135", "did you mean smollm2-135m?"),
        ("model.gguf", "./model.gguf"),
        ("a/b/c", "write ./a/b/c"),
        ("../..:x/../y/..", None),
        ("a/..", "not a hub id"),
        ("a/b--c", "not a hub id"),
        ("runs/first+runs/adapter", "not a hub id"),
        ("a/b+adapter", "the path of an adapter begins with"),
        ("a/b:latest", "unknown tag 'latest'"),
        ("./m.gguf:Q4_0", "one quantisation already"),
        ("extract:int8", "neither a tag nor an adapter"),
        ("a/b\x00c", "cannot be printed"),
    ],
)
def test_wrong_model_addresses_say_what_is_expected(text: str, says: str | None) -> None:
    if says is None:
        assert parse_model(text).kind == "folder"
        return
    with pytest.raises(AddressError) as caught:
        parse_model(text)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind", "base", "name"),
    [
        ("minilm", "short", "minilm", None),
        ("sentence-transformers/all-MiniLM-L6-v2", "hub", "sentence-transformers/all-MiniLM-L6-v2", None),
        ("./my/embedder", "folder", "./my/embedder", None),
        ("http://h:1/v1#e5", "server", "http://h:1/v1", "e5"),
    ],
)
def test_embedders(text: str, kind: str, base: str, name: str | None) -> None:
    address = parse_embedder(text)
    assert (address.kind, address.base, address.name) == (kind, base, name)
    assert parse_embedder(str(address)) == address


def test_unknown_embedder_has_a_near_miss() -> None:
    with pytest.raises(AddressError, match=r"did you mean minilm\?"):
        parse_embedder("minilmm")


@pytest.mark.parametrize(
    ("text", "scheme", "path", "url"),
    [
        ("kb.db", "sqlite", "kb.db", ""),
        ("./kb", "sqlite", "kb", ""),
        ("sqlite:///kb.db", "sqlite", "kb.db", ""),
        ("sqlite:////abs/kb.db", "sqlite", "/abs/kb.db", ""),
        ("SQLite:///C:/kb.db", "sqlite", "C:/kb.db", ""),
        ("milvus:///kb.milvus", "milvus", "kb.milvus", ""),
        ("milvus://h:19530", "milvus", None, "milvus://h:19530"),
        ("rediss://h:6379/0", "redis", None, "rediss://h:6379/0"),
        ("elasticsearch://h:9200/kb", "elasticsearch", None, "elasticsearch://h:9200/kb"),
        ("mongodb+srv://h/db", "mongodb", None, "mongodb+srv://h/db"),
        ("postgresql://u:p@h/db", "postgresql", None, "postgresql://u:p@h/db"),
    ],
)
def test_stores(text: str, scheme: str, path: str | None, url: str) -> None:
    address = parse_store(text)
    assert address.scheme == scheme
    assert address.path == (Path(path) if path else None)
    assert address.url == url
    assert parse_store(str(address)) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sqllite:///kb.db", "did you mean sqlite?"),
        ("chroma://h", "known schemes: sqlite, milvus, redis, elasticsearch, mongodb, postgresql"),
        ("sqlite://kb.db", "write sqlite:///kb.db"),
        ("sqlite:///", "names no file"),
        ("sqlite:kb.db", "lacks its slashes"),
        ("redis://", "names no host"),
        ("redis://:pw@", "names no host"),
        ("  ", "empty"),
    ],
)
def test_wrong_store_addresses(text: str, says: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_store(text)
    assert says in str(caught.value)


def test_a_stores_password_is_not_shown() -> None:
    assert parse_store("postgresql://me:pw@h:5/db").shown == "postgresql://me:***@h:5/db"


SEGMENT = st.text("abZ09._-+: ", min_size=1, max_size=8)
PATHS = st.builds(lambda start, parts: start + "/".join(parts), st.sampled_from(["./", "../", "/", "~/"]),
                  st.lists(SEGMENT, min_size=1, max_size=3))  # fmt: skip
WORD = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._]{0,6}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda w: ".." not in w
)
TAGS = st.sampled_from(["", ":int4", ":bf16", ":Q4_K_M", ":IQ2_XXS", ":F16"])
TEXTS = st.one_of(
    st.builds(lambda o, n, t: f"{o}/{n}{t}", WORD, WORD, TAGS),
    st.builds(lambda p, t: p + t, PATHS, TAGS),
    st.builds(lambda p, t, a: f"{p}{t}+{a}", PATHS, TAGS, PATHS),
    st.builds(lambda h, p, n: f"http://{h}:{p}/v1#{n}", WORD, st.integers(1, 65535), WORD),
    st.text(max_size=24),
)


@given(TEXTS)
@example("./ /")
@example("0 /")
def test_what_reads_prints_and_reads_back_the_same(text: str) -> None:
    for parse in (parse_model, parse_embedder, parse_store):
        try:
            address = parse(text)
        except AddressError:
            continue
        assert parse(str(address)) == address


@given(
    PATHS, TAGS, PATHS.filter(lambda p: "+." not in p and "+/" not in p and "+~" not in p and "+" not in p)
)
def test_the_last_plus_before_a_path_divides(base: str, tag: str, adapter: str) -> None:
    try:
        address = parse_model(f"{base}{tag}+{adapter}")
    except AddressError as error:
        assert re.search("one quantisation|ends in white space", str(error))  # noqa: PT017
        return
    assert address.adapter == Path(adapter.strip()).expanduser()
