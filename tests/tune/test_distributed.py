"""Two processes under torchrun on the tiny model: they do what one does, stop together and go on."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightwright.errors import TuneError
from weightwright.tune import checkpoint
from weightwright.tune.batch import Example
from weightwright.tune.distributed import joined
from weightwright.tune.ranks import ProcessGroup, Rank
from weightwright.tune.run import tune
from weightwright.tune.settings import DEFAULT_BETA, TuneSettings

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

# one run after the other in the same two processes
MANY = """
import json, sys
from weightwright.cli.app import main
for text in sys.argv[1:]:
    assert main(["tune", *json.loads(text)]) == 0
"""

# the command line, with something happening in one or both processes before the weights of a step change
MISHAP = """
import os, signal, sys
from weightwright.cli.app import main
from weightwright.errors import TuneError
from weightwright.tune import loop

what, step, *arguments = sys.argv[1:]
mine, real = os.environ["RANK"] == "1", loop.update_weights

def update(run, loss):
    if run.done == int(step):
        if what == "interrupt" and mine:
            os.kill(os.getpid(), signal.SIGTERM)
        if what == "error" and mine:
            raise TuneError("the second process has had enough")
        if what == "both" or (what == "lost" and mine):
            os.kill(os.getpid(), signal.SIGKILL)
    return real(run, loss)

loop.update_weights = update
sys.exit(main(["tune", *arguments]))
"""

PAIRS = [
    {"prompt": "Say " + "x" * n, "chosen": f"answer {n}", "rejected": "no " * (n % 4 + 1)}
    for n in range(1, 30, 4)
]
JUDGED = [{"prompt": "Say " + "x" * n, "completion": f"answer {n}", "label": n % 3 != 0} for n in range(1, 9)]

# the last pass of many steps has fewer rows than there are processes
CASES: dict[str, dict] = {
    "lora": {"batch": 4, "weight_decay": 0.1},
    "lora_one_row_a_pass": {"micro_batch": 1, "max_grad_norm": 0.1},
    "lora_one_row_a_step": {"batch": 1, "max_steps": 6, "rank": 1},
    "padded_recomputed": {"packing": False, "gradient_checkpointing": True},
    "head": {"targets": "all-linear,lm_head"},
    "dora": {"dora": True},
    "full": {"method": "full", "gradient_checkpointing": True},
    "full_sgd": {"method": "full", "optimizer": "sgd", "learning_rate": 0.05},
    "dpo": {"objective": "dpo", "data": PAIRS},
    "kto": {"objective": "kto", "data": JUDGED},
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}


@pytest.fixture
def start(environment, preloaded, tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a script under torchrun in Pythons that have imported torch, or the program itself as a user does."""
    started = []

    def popen(*arguments: str, script: str = "") -> subprocess.Popen:
        file = tmp_path / "script.py"
        file.write_text(script)
        python, what = (
            (preloaded, [str(file)]) if script else (sys.executable, ["-m", "weightwright", "tune"])
        )
        child = subprocess.Popen(
            [str(python), *TORCHRUN, *what, *arguments],
            env={**environment, "PYTHON_EXEC": str(python)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield popen
    for child in started:
        if child.poll() is None:
            child.terminate()
            child.communicate()


def flags(settings: TuneSettings) -> list[str]:
    """The command line of settings that differ from the usual ones."""
    given = settings.model_dump(mode="json", exclude_defaults=True)
    return [f"--{name.replace('_', '-')}={str(value).lower() if value is True else value}"
            for name, values in given.items()
            for value in (values if isinstance(values, list) else [values])]  # fmt: skip


def lines(said: str) -> list[str]:
    """What our processes said on why they ended, among what torchrun says."""
    return [line for line in said.splitlines() if line.startswith(("error:", "interrupted"))]


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*/*model.safetensors")))


def summed(case: str) -> float:
    """The size of what is added up to a loss: about 1 where it is a mean over tokens.

    Of a preference it is beta times four sums of log-probabilities, of two answers by the model and by its reference,
    of which a loss of some 0.7 is what remains. A byte of the tiny model has one of some ln 259.
    """
    if case not in ("dpo", "kto"):
        return 1.0
    answers = ("chosen", "rejected", "completion")
    tokens = max(
        sum(len(text) + 1 for key, text in row.items() if key in answers) for row in CASES[case]["data"]
    )
    return DEFAULT_BETA[case] * 2 * tokens * math.log(259)


def assert_close(one: Path, two: Path) -> None:
    """The same losses, norms and weights, whatever order they were added up in.

    Sums of n terms in f32 differ by some √n·u of what is added up (Higham and Mary, SIAM J. Sci. Comput. 41(5),
    2019); with the thousand terms on a token's way through the tiny model and u = 2^-24 that is 2e-6.
    """
    size = summed(one.name)
    for mine, other in zip(log(one), log(two), strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"tokens_per_s"}:
            allowed = 2e-6 * (size + abs(mine[name]))
            assert other[name] == pytest.approx(mine[name], rel=0, abs=allowed), (
                one.name,
                mine["step"],
                name,
            )
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    # AdamW divides a gradient by its own size: an element whose gradient is no more than rounding goes a step of the
    # learning rate in either direction, so a tensor is held to a thousandth of the way that all its elements may go
    rates = sum(line.get("learning_rate", 0.0) for line in log(one))
    for name in first:
        apart = (second[name] - first[name]).norm()
        assert apart <= 1e-3 * rates * first[name].numel() ** 0.5, f"{one.name} {name}: {apart}"
    assert len(list(two.glob("*.unfinished"))) == 0


def test_two_processes_do_what_one_does(make, rows, start, tmp_path):
    def settings(name: str, where: str, *, fsdp: bool) -> TuneSettings:
        changes = dict(CASES[name])
        if isinstance(changes.get("data"), list):
            file = tmp_path / f"{name}.json"
            file.write_text(json.dumps(changes["data"]))
            changes["data"] = file
        changes.setdefault("data", rows)
        usual = {"show": 0, "epochs": 2, "learning_rate": 1e-3, "eval_data": changes["data"], "batch": 3}
        return make(out=tmp_path / where / name, fsdp=fsdp, **{**usual, **changes})

    both = start(*(json.dumps(flags(settings(name, "two", fsdp=True))) for name in CASES), script=MANY)
    for name in CASES:
        tune(settings(name, "one", fsdp=False))
    out, said = both.communicate()
    assert both.returncode == 0, said
    assert out.count("loss curve:") == len(CASES)  # the first process answers, and no other
    for name in CASES:
        assert_close(tmp_path / "one" / name, tmp_path / "two" / name)
        assert (tmp_path / "two" / name / "loss.png").is_file()
    before, after = (json.loads((tmp_path / x / "dpo" / "result.json").read_text()) for x in ("one", "two"))
    assert before["preferred"] == after["preferred"]


def test_interrupted_and_killed_the_same_command_goes_on(make, start, tmp_path):
    """With dropout: each process's generator stands where it stood."""
    options = {"fsdp": True, "epochs": 2, "dropout": 0.2, "save_every": 2, "learning_rate": 1e-3}
    whole, parts = make(out=tmp_path / "whole", **options), make(out=tmp_path / "parts", **options)
    _, said = start("interrupt", "2", *flags(parts), script=MISHAP).communicate()
    (line,) = lines(said)
    assert re.match(r"interrupted after \d+ of \d+ steps; the same command goes on from there", line)
    # the signal came to one process, while both were in their third step: it is taken, and the next is not
    assert checkpoint.checkpoints(parts.out / "checkpoints")[-1].name == "step-00000003"

    _, said = start("both", "5", *flags(parts), script=MISHAP).communicate()
    assert lines(said) == []
    assert checkpoint.checkpoints(parts.out / "checkpoints")[-1].name == "step-00000004"
    assert not (parts.out / "result.json").exists()

    again = start(*(json.dumps(flags(settings)) for settings in (parts, whole)), script=MANY)
    _, said = again.communicate()
    assert again.returncode == 0, said
    first, second = weights(whole.out), weights(parts.out)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [line["step"] for line in log(parts.out)] == list(range(1, 9))


def test_ctrl_c_leaves_a_checkpoint_that_one_process_takes_up(make, start):
    options = {"epochs": 3000, "batch": 12, "max_steps": 3000, "save_every": 10_000, "method": "full"}
    child = start(*flags(make(fsdp=True, **options)))
    while "tokens/s" not in (line := child.stderr.readline()):
        assert line, "it ended before its first step"
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    (line,) = lines(said)
    assert re.match(r"interrupted after \d+ of \d+ steps; the same command goes on from there", line)
    (saved,) = checkpoint.checkpoints(make().out / "checkpoints")
    step = int(saved.name[-8:])
    assert 0 < step < 3000

    def interrupt(done, total, note=""):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune(make(fsdp=False, **options), progress=interrupt)
    assert [line["step"] for line in log(make().out)] == list(range(1, step + 2))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("error", "the second process has had enough"),
        ("lost", r"another process of this run ended without a word.*goes on from the last checkpoint"),
    ],
)
def test_when_one_process_fails_all_end_with_one_message(make, start, what, message):
    child = start(what, "2", *flags(make(fsdp=True)), script=MISHAP)
    out, said = child.communicate()
    assert child.returncode != 0
    assert out == ""
    (line,) = lines(said)
    assert re.match(f"error: {message}", line)
    assert not (make().out / "result.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"torchrun started 2 processes, and each would train the whole run.*add --fsdp"),
        ({"fsdp": True, "method": "qlora"}, r"fsdp=true cannot divide a base.*use --method lora"),
        ({"fsdp": True, "optimizer": "adamw8bit"}, r"fsdp=true cannot divide the state of adamw8bit.*sgd"),
    ],
)
def test_what_does_not_go_together_is_refused(make, monkeypatch, changes, message):
    store = torch.distributed.HashStore()
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda _: iter([(store, 0, 2)]))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TuneError, match=message):
        tune(make(**changes))
    assert not make().out.exists()
    monkeypatch.setenv("RANK", "1")
    store.set("weightwright-0/1/end", "1")
    with pytest.raises(SystemExit) as silent:  # the first one has said it
        tune(make(**changes))
    assert silent.value.code == 1


def test_one_process_under_torchrun_trains_as_without_it(make, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined(make()) as ranks:
        assert not isinstance(ranks, ProcessGroup)


def test_each_process_gets_about_as_many_tokens():
    from weightwright.data.template import Encoded

    examples = [Example((Encoded((1,) * n, (True,) * n, ""),)) for n in (90, 10, 20, 30, 40, 5)]
    shares = [
        ProcessGroup(Rank(rank, 2, rank, 2), torch.device("cpu"), None).share_of(examples) for rank in (0, 1)
    ]
    assert [[example.tokens for example in share] for share in shares] == [[90, 10], [20, 30, 40, 5]]
