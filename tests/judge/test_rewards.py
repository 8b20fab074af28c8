"""Rewards by name: what ours mean, how a function is called, and what is said of one that cannot be used."""

import json

import pytest

from weightwright.data.sample import Prompt
from weightwright.errors import DataError, Place, SettingsError
from weightwright.judge.rewards import open_rewards
from weightwright.ports import Message
from weightwright.tune.rollout import Answer


def answers(*texts, answer="", token_ids=(), **fields):
    values = {"prompt": "What?", **fields}
    asked = values["prompt"] if isinstance(values["prompt"], str) else values["prompt"][-1]["content"]
    prompt = Prompt((Message("user", asked),), values, Place("rows.jsonl", line=3), answer)
    return [Answer(prompt, text, token_ids) for text in texts]


def rewards(name, *texts, **fields):
    return list(open_rewards([name])(answers(*texts, **fields)))


@pytest.fixture
def function(tmp_path):
    def written(text, name="score"):
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        return f"{tmp_path}/mine.py:{name}"

    return written


# --- ours -----------------------------------------------------------------------------------------


def test_exact_match_takes_the_rows_answer_or_its_field():
    assert rewards("exact_match", "The Paris.", "London", answer="paris") == [1.0, 0.0]
    assert rewards("exact_match", "4", "5", solution=4) == [1.0, 0.0]
    assert rewards("exact_match", "b", "c", answers=["a", "b"]) == [1.0, 0.0]
    assert rewards("exact_match", "4", "5", ground_truth="4") == [1.0, 0.0]
    with pytest.raises(
        DataError, match=r"rows.jsonl, line 3: the reward f1 needs what is right in answer.*has: prompt"
    ):
        rewards("f1", "x")


def test_json_is_json_and_meets_the_rows_schema():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    texts = ('{"n": 1}', '{"n": "1"}', "{}", "[1]", 'Sure! {"n": 1}', "", '{"n": 1')
    assert rewards("json", *texts, schema=schema) == [1, 0, 0, 0, 0, 0, 0]
    assert rewards("json", *texts, schema=json.dumps(schema)) == [1, 0, 0, 0, 0, 0, 0]
    assert rewards("json", *texts) == [1, 1, 1, 1, 0, 0, 0]
    with pytest.raises(DataError, match="line 3: its schema is no JSON schema"):
        rewards("json", "{}", schema={"type": "objekt"})


def test_length_counts_words():
    texts = ("one two", "a b c d", "a b c d e f", "a b c d e f g h i", "")
    assert rewards("length:4", *texts) == [1, 1, 0.5, 0, 0]
    assert rewards("length:4", "我住北京", "我住在北京市") == [1, 0.5]
    for wrong in ("length", "length:no", "length:0"):
        with pytest.raises(SettingsError, match="give the number of words"):
            open_rewards([wrong])


def test_citations_are_checked_against_the_rows_passages():
    passages = ["Ann lives in Lima and owns a bakery.", "Bob lives in Oslo, where he teaches chess."]
    right, wrong = "Ann lives in Lima [1].", "Ann lives in Lima [2]."
    missing, both = "Ann lives in Lima.", "Ann lives in Lima [1]. Bob teaches chess in Oslo [1]."
    found = rewards(
        "citations", right, wrong, missing, both, passages=passages, question="Where does Ann live?"
    )
    assert found[0] == 1
    assert found[1] == found[2] == 0
    assert 0 < found[3] < 1
    denied = "The documents do not say."
    assert rewards("citations", denied, passages=passages, answer="In Lima [1].") == [0]
    assert rewards("citations", denied, passages=passages, answer=denied) == [1]
    with pytest.raises(DataError, match="line 3: the reward citations needs passages"):
        rewards("citations", right)


def test_several_are_added_up_by_weight(function):
    own = function("def score(completion):\n    return None if completion == 'no' else 1\n")
    found = open_rewards(["0.5*length:1", f"-2*{own}"])(answers("a", "b c", "no"))
    assert list(found) == [-1.5, -2.0, None]


def test_a_reward_that_judges_no_answer_to_a_prompt_is_left_out_there(function):
    """As with rewards for several kinds of rows: each says None for the others' rows."""
    own = function(
        "def score(completion, kind):\n"
        "    return None if kind == 'text' or completion == 'no' else 2 * len(completion)\n"
    )
    asked = [*answers("abc", "no", kind="sum"), *answers("abc", "no", kind="text")]
    assert open_rewards(["length:1", own])(asked) == [7.0, None, 1.0, 1.0]
    assert open_rewards([own])(asked) == [6.0, None, None, None]


# --- the user's -----------------------------------------------------------------------------------


def test_one_answer_at_a_time_gets_the_fields_that_it_names(function):
    own = function(
        "def score(prompt, completion, wish, other=7):\n    return len(prompt) + len(completion) * wish + other\n"
    )
    assert rewards(own, "ab", "abc", wish=10, more=1) == [5 + 20 + 7, 5 + 30 + 7]
    with pytest.raises(DataError, match=r"line 3: the reward .* needs 'wish'; the row has: prompt, wich"):
        rewards(own, "ab", wich=1)


def test_all_at_once_is_called_as_trl_calls(function):
    own = function(
        "def score(completions, prompts, wish, **more):\n"
        "    assert more == {'prompt': prompts, 'completion_ids': [[], []]}, more\n"
        "    return [c.count('a') * w for c, w in zip(completions, wish)]\n"
    )
    assert rewards(own, "a", "aa", wish=3) == [3, 6]
    chat = function(
        "def score(completions, prompts, **_):\n"
        "    return [len(c[0]['content']) + len(p[-1]['content']) for c, p in zip(completions, prompts)]\n"
    )
    assert rewards(chat, "abc", prompt=[{"role": "user", "content": "four"}]) == [7]


def test_trls_own_rewards_are_called_as_there(function):
    """By tokens, by the row's solution, by form; what ends an answer is one of its tokens."""
    own = function(
        "from trl.rewards import get_soft_overlong_punishment, think_format_reward\n"
        "def score(completions, completion_ids, **rest):\n"
        "    long = get_soft_overlong_punishment(max_completion_len=10, soft_punish_cache=5)\n"
        "    form = think_format_reward(completions, **rest)\n"
        "    return [a + b for a, b in zip(long(completion_ids), form)]\n"
    )
    asked = {"prompt": [{"role": "user", "content": "Why?"}], "token_ids": tuple(range(7))}
    found = rewards(own, "<think>\nso\n</think>\nyes", "yes", **asked)
    assert found == pytest.approx([1 - 2 / 5, -2 / 5])
    one = function("def score(completion, completion_ids):\n    return len(completion_ids)\n")
    assert rewards(one, "a", token_ids=(4, 2)) == [2]


def test_what_a_function_does_to_its_arguments_stays_with_it(function):
    own = function(
        "def score(completions, prompts, notes, **_):\n"
        "    for prompt, note in zip(prompts, notes):\n"
        "        prompt.append('more')\n"
        "        note.append(1)\n"
        "    return [len(prompt) + len(note) for prompt, note in zip(prompts, notes)]\n"
    )
    asked = answers("a", prompt=[{"role": "user", "content": "Q"}], notes=[])
    of = open_rewards([own])
    assert of(asked) == of(asked) == [3]


@pytest.mark.parametrize("how", ["return", "yield from"])
def test_what_a_function_prints_is_not_on_standard_output(function, capsys, how):
    own = function(
        f"print('read')\ndef score(completions):\n    print('judged')\n    {how} [1.0] * len(completions)\n"
    )
    assert rewards(own, "a", "b") == [1, 1]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split() == ["read", "judged"]


def test_a_function_may_import_when_it_is_called(function, tmp_path):
    (tmp_path / "late_neighbour.py").write_text("VALUE = 5\n")
    own = function("def score(completion):\n    from late_neighbour import VALUE\n    return VALUE\n")
    assert rewards(own, "x") == [5]


def test_a_file_may_import_its_neighbour(function, tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 4\n")
    assert rewards(
        function("from neighbour_of_mine import VALUE\ndef score(completion):\n    return VALUE\n"), "x"
    ) == [4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "def score(completion):\n    raise KeyError('x')\n",
            r"line 3: the reward .*mine.py, line 2: KeyError: 'x'$",
        ),
        ("def score(completion):\n    exit(2)\n", r"mine.py, line 2: SystemExit: 2$"),
        ("def score(completion):\n    assert False\n", r"mine.py, line 2: AssertionError$"),
        ("def score(completions):\n    return [1]\n", "gave 1 values for 2 answers; give one for each"),
        ("def score(completions):\n    return 1\n", "gave 0 values for 2 answers"),
        ("def score(completion):\n    return 'good'\n", "gave 'good'; it must be a finite number, or None"),
        ("def score(completion):\n    return float('nan')\n", "gave nan; it must be"),
        ("def score(completion):\n    return 1e400\n", "gave inf; it must be"),
        ("def score(completion):\n    return [1]\n", r"gave \[1\]; it must be"),
    ],
)
def test_what_a_function_does_wrong_is_one_line_with_the_rows_place(function, text, said):
    with pytest.raises(DataError, match=said) as caught:
        rewards(function(text), "a", "b")
    assert str(caught.value).startswith("rows.jsonl, line 3: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def score(completion:\n", "mine.py, line 1: "),
        ("import nothing_of_that_name\n", "mine.py, line 1: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "mine.py, line 1: SystemExit: 3"),
        ("def scores(completion):\n    return 1\n", "has no function score; did you mean scores?"),
        ("score = 3\n", "has no function score"),
        ("async def score(completion):\n    return 1\n", "is an async function"),
        ("score = min\n", "Python cannot say what score takes; wrap it"),
        ("def score(text):\n    return 1\n", r"score takes \(text\); it needs completion .* or completions"),
    ],
)
def test_a_function_that_cannot_be_opened(function, text, said):
    with pytest.raises(SettingsError, match=said):
        open_rewards([function(text)])


def test_names_that_are_none(tmp_path):
    with pytest.raises(SettingsError, match="there is no file"):
        open_rewards([f"{tmp_path}/none.py:score"])
    with pytest.raises(SettingsError, match="there is no reward 'jsn'; did you mean json"):
        open_rewards(["jsn"])
