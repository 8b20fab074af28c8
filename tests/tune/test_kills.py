"""A hundred kills at random moments of a run: resumed, each ends with the same weights bit for bit."""

import os
import random
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

KILLS = 100

# Forks for each run, so that torch is imported only once; nothing is computed before the forks.
RUNS = """
import os, random, shutil, signal, sys, time
import peft, transformers
from weightwright.weights import load
from weightwright.tune import adapt, checkpoint
from weightwright.tune.run import tune
from weightwright.tune.settings import TuneSettings

def start(folder):
    child = os.fork()
    if child:
        return child
    settings = TuneSettings.model_validate_json(sys.argv[1])
    status = 1
    try:
        tune(settings.model_copy(update={"out": settings.out / folder}))
        status = 0
    finally:
        os._exit(status)

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

begun_s = time.monotonic()
assert ended(start("whole")) == 0
whole_s = time.monotonic() - begun_s
out = TuneSettings.model_validate_json(sys.argv[1]).out
chance = random.Random(int(sys.argv[2]))
for n in range(int(sys.argv[3])):
    killed = 0
    while not killed:  # one that had ended before is no kill
        shutil.rmtree(out / f"killed-{n}", ignore_errors=True)
        child = start(f"killed-{n}")
        time.sleep(chance.uniform(0, whole_s))
        os.kill(child, signal.SIGKILL)
        killed = ended(child) == -signal.SIGKILL
    print(ended(start(f"killed-{n}")), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_killed_at_random_moments(make, tmp_path):
    settings = make(out=tmp_path / "runs", epochs=10, save_every=3, keep=2, dropout=0.1)
    settings.out.mkdir()
    seed = random.randrange(2**32)
    command = [sys.executable, "-c", RUNS, settings.model_dump_json(), str(seed), str(KILLS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["0"] * KILLS, (seed, done.stderr)
    expected = load_file(settings.out / "whole/adapter/adapter_model.safetensors")
    for n in range(KILLS):
        found = load_file(settings.out / f"killed-{n}/adapter/adapter_model.safetensors")
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found), (seed, n)
