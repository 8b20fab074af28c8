"""Notebooks: cells with what their code put out."""

import json

import pytest

from weightwright.rag.readers.notebook import read_notebook
from weightwright.rag.settings import LoadSettings


def content(*outputs, source="x", old=False):
    cell = {"cell_type": "code", "input" if old else "source": source, "outputs": list(outputs)}
    book = {"worksheets": [{"cells": [cell]}]} if old else {"cells": [cell]}
    return read_notebook(json.dumps(book).encode(), LoadSettings())


def data(**forms):
    return {
        "output_type": "execute_result",
        "data": {name.replace("_", "/"): said for name, said in forms.items()},
    }


def stream(said):
    return {"output_type": "stream", "name": "stdout", "text": said}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([stream(["1\n", "2\n"])], "1\n2"),
        ([stream("a\n"), {"output_type": "stream", "name": "stderr", "text": "b\n"}], "a\nb"),
        ([stream("10%\r50%\r100%\nok \x1b[31mred\x1b[0m")], "100%\nok red"),
        ([stream("a\r\nb\r\n")], "a\nb"),
        ([data(text_plain="0.93")], "0.93"),
        ([data(text_plain=["a\n", "b"])], "a\nb"),
        ([data(text_html="<table><tr><th>a<th>b<tr><td>1<td>2</table>", text_plain="a b")],
         "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ([data(text_html="<script>1</script>", text_plain="seen")], "seen"),
        ([data(text_markdown="**b**")], "**b**"),
        ([{"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["long"]}], "ValueError: no"),
        ([stream("a"), data(text_plain="b"), stream("c")], "a\n\nb\n\nc"),
    ],
)  # fmt: skip
def test_outputs(outputs, expected):
    found = content(*outputs)
    assert found.text == f"x\n\n{expected}"
    assert [place.label for place in found.places][:2] == ["cell 1", "cell 1, output"]
    assert found.notes == ()


def test_tables_of_outputs_stand_where_they_are():
    found = content(data(text_html="<h2>T</h2><table><tr><th>a<th>b<tr><td>1<td>2</table>"))
    assert [(block.kind, found.text[block.start : block.end].split("\n")[0]) for block in found.blocks] == [
        ("code", "x"), ("heading", "## T"), ("table", "| a | b |"),
    ]  # fmt: skip


def test_images_are_told():
    found = content(data(image_png="iVBOR", text_plain="<Figure size 1x1>"), data(image_svg="<svg/>"))
    assert (found.text, found.notes) == ("x", ("images in its outputs were left out: 2",))


def test_old_notebooks_have_outputs_of_their_form():
    outputs = [
        {"output_type": "pyout", "text": ["12"]},
        {"output_type": "pyerr", "ename": "E", "evalue": "e"},
        {"output_type": "display_data", "png": "iVBOR", "text": "<Figure>"},
    ]
    found = content(*outputs, old=True)
    assert (found.text, found.notes) == ("x\n\n12\n\nE: e", ("images in its outputs were left out: 1",))


def test_long_outputs_keep_their_beginning_and_end():
    found = content(stream("first\n" + "step\n" * 20_000 + "last"))
    assert len(found.text) < 21_000
    assert found.text.startswith("x\n\nfirst\n")
    assert found.text.endswith("last")
    assert "characters left out" in found.text


@pytest.mark.parametrize("outputs", ["text", None, [1], [{}], [{"output_type": "stream"}], [{"data": 5}]])
def test_outputs_that_are_none_are_passed_over(outputs):
    cells = [{"cell_type": "code", "source": "x", "outputs": outputs}]
    assert read_notebook(json.dumps({"cells": cells}).encode(), LoadSettings()).text == "x"
