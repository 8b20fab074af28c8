"""Turns, how answers are sampled, and when one has to be ended."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from weightwright.conversation import ChatSettings, Conversation, looping, opened, sampling
from weightwright.errors import RequestError
from weightwright.ports import ChatRequest, Message, Piece, Reply, SamplingParams, Usage


class Script:
    """A Chat that says what it was given, piece by piece, and keeps what it was asked."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self.pieces = list(pieces)
        self.asked: list[ChatRequest] = []
        self.cancelled = False

    def submit(self, request: ChatRequest) -> Reply:
        self.asked.append(request)
        reply = Reply(1, on_cancel=self.cancel)
        for text in self.pieces:
            reply.push(Piece(0, text))
        reply.push(Piece(0, "", finish_reason="stop"))
        reply.finish(Usage())
        return reply

    def cancel(self) -> None:
        self.cancelled = True


def talk(*pieces: str, **settings: object) -> tuple[Script, Conversation, list[str]]:
    chat = Script(pieces)
    said: list[str] = []
    return (
        chat,
        Conversation(chat, ChatSettings(model="x", **settings), SamplingParams(max_tokens=None)),
        said,
    )


def test_turns_follow_each_other_until_they_are_forgotten():
    chat, conversation, said = talk("Hel", "lo", system="Be brief.")
    turn = conversation.ask("Hi?", said.append)
    assert (turn.text, turn.ended, "".join(said)) == ("Hello", "stop", "Hello")
    conversation.ask("Again?", said.append)
    assert [m.content for m in chat.asked[1].messages] == ["Be brief.", "Hi?", "Hello", "Again?"]
    conversation.reset()
    conversation.ask("Anew?", said.append)
    assert chat.asked[2].messages == (Message("system", "Be brief."), Message("user", "Anew?"))


def test_an_answer_that_repeats_itself_is_ended_and_remembered_without_the_repeats():
    line = "I can help you with that, just ask. "
    chat, conversation, said = talk("Yes. ", *[line] * 50)
    turn = conversation.ask("Hi?", said.append)
    assert turn.ended == "repeating"
    assert chat.cancelled
    assert len(said) < 12
    assert turn.text.startswith("Yes. I can help")
    assert turn.text.count("I can help") == 1
    _, conversation, said = talk(*[line] * 50, stop_repeating=False)
    assert conversation.ask("Hi?", said.append).text == line * 50


def test_an_answer_ends_by_a_limit():
    chat, conversation, said = talk(*(f"{n} " for n in range(3000)))
    turn = conversation.ask("Count.", said.append)
    assert (turn.ended, len(said), chat.cancelled) == ("length", 1024, True)


def test_ctrl_c_keeps_what_was_said():
    chat, conversation, _ = talk("Hel", "lo")

    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    turn = conversation.ask("Hi?", interrupted)
    assert (turn.text, turn.ended, chat.cancelled) == ("Hel", "cancelled", True)
    conversation.ask("On?", lambda _: None)
    assert [m.content for m in chat.asked[1].messages] == ["Hi?", "Hel", "On?"]


def test_a_question_that_fails_is_forgotten():
    chat, conversation, said = talk("Hello")
    broken = Reply(1)
    broken.fail(RequestError("too long"))
    submit, chat.submit = chat.submit, lambda _: broken
    with pytest.raises(RequestError, match="too long"):
        conversation.ask("x" * 10_000, said.append)
    chat.submit = submit
    conversation.ask("Hi?", said.append)
    assert [m.content for m in chat.asked[-1].messages] == ["Hi?"]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("A sentence that comes again. " * 8, 29),
        ("So it begins: " + "ha" * 120, 2),
        ("我可以帮助您解决这个问题。" * 6, 13),
        ("\n".join(f"{n}. The same item again and again." for n in range(1, 12)) + "\n", 34),
        ("!" * 300, 1),
        ("word " + "one, two, three, " * 14, 17),
    ],
)
def test_loops_are_seen(text: str, unit: int):
    assert len(looping(text)) == unit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no. " * 12,  # short
        "A sentence that comes again and again and is long enough to be counted here. " * 3,
        "\n".join(f"{n} times 7 is {7 * n}" for n in range(1, 60)),
        ", ".join(map(str, range(1, 300))),
        "A sentence that came again. " * 8 + "And now it goes on with something else, at last.",
        "| a | b |\n|---|---|\n" + "".join(f"| {chr(97 + n)} | {n * n} |\n" for n in range(26)),
    ],
)
def test_what_is_no_loop_is_let_be(text: str):
    assert looping(text) == ""


def test_sampling_is_as_asked_else_as_the_model_advises_else_usual(tiny_model: Path, tmp_path: Path):
    def params(advice: dict | None, **settings: object) -> SamplingParams:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for file in tiny_model.iterdir():
            (folder / file.name).symlink_to(file)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if advice is not None:
            (folder / "generation_config.json").write_text(json.dumps(advice), encoding="utf-8")
        return sampling(ChatSettings(model=str(folder), **settings))

    qwen = {"do_sample": True, "temperature": 0.6, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1}
    found = params(qwen)
    assert (found.temperature, found.top_p, found.top_k, found.repetition_penalty) == (0.6, 0.8, 20, 1.1)
    assert found.max_tokens is None
    assert params(qwen, temperature=0, max_tokens=5).greedy
    assert params(qwen, temperature=0, max_tokens=5).max_tokens == 5
    for silent in (
        None,
        {"eos_token_id": 2},
        {"do_sample": False, "temperature": 0.3},
        {"temperature": "hot"},
    ):
        found = params(silent)
        assert (found.temperature, found.top_p, found.top_k) == (0.7, 0.9, 0)
    assert params({"do_sample": True, "top_k": 64}).temperature == 1.0
    grounded = params(qwen, kb="kb.db")
    assert (grounded.temperature, grounded.max_tokens) == (0, 256)


def test_a_gguf_file_advises_in_its_header(tmp_path: Path):
    import gguf

    from weightwright.weights.advised import advised_sampling

    file = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_float32("general.sampling.temp", 0.5)
    writer.add_int32("general.sampling.top_k", 40)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert advised_sampling(file) == {"temperature": 0.5, "top_k": 40}


def test_a_short_context_is_no_obstacle(tiny_model: Path):
    settings = ChatSettings(model=str(tiny_model), seed=0, stop_repeating=False)
    with opened(settings) as conversation:
        assert conversation.ask("Hi", lambda _: None).ended in ("stop", "context")
