"""How fast a folder becomes a knowledge base, and the most memory it takes, beside another version, in turn.

    git worktree add ../before COMMIT
    python bench/kb_build.py FOLDER --before ../before [--embedder minilm] [--rounds 3]

Each round runs each version's `kb add` in a process of its own. Text is what the knowledge base holds in the end, in
characters. Memory is that of the process and its children together, sampled 10 times a second; pages that they
share count once (Linux's proportional set size). Writes bench/results/kb_build.md.
"""

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from harness.process import OFFLINE
from harness.report import Table, machine, spread, versions, write_results

HERE = Path(__file__).resolve().parents[1]
SAMPLE_S = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", type=Path, help="a checkout of the other version")
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    trees = {"before": args.before.resolve()} if args.before else {}
    trees["now"] = HERE
    runs: dict[str, list[dict]] = {name: [] for name in trees}
    for turn in range(args.rounds + 1):
        for name, tree in trees.items():
            run = built(tree, args.folder.resolve(), args.embedder)
            print(turn, name, run, flush=True)
            if turn:  # the first compiles
                runs[name].append(run)
    table = Table(
        "version", "s: min/median/max", "CPU s", "documents", "chunks", "1,000 characters/s", "peak MB"
    )
    for name, found in runs.items():
        rates = [run["characters"] / run["wall_s"] / 1000 for run in found]
        table.row(
            name, spread([run["wall_s"] for run in found]), f"{statistics.median(r['cpu_s'] for r in found):.0f}",
            found[0]["documents"], found[0]["chunks"], spread(rates),
            f"{statistics.median(run['peak_mb'] for run in found):.0f}",
        )  # fmt: skip
    files = sum(path.is_file() for path in args.folder.rglob("*"))
    said = f"{files} files, embedder {args.embedder}, {args.rounds} rounds."
    write_results("kb_build", "# A folder into a knowledge base", machine(), versions(), said, table)


def built(tree: Path, folder: Path, embedder: str) -> dict:
    """One `kb add` of a version, and what it made."""
    with tempfile.TemporaryDirectory() as place:
        kb = Path(place, "kb.db")
        command = [
            sys.executable,
            "-m",
            "weightwright",
            "kb",
            "add",
            str(kb),
            str(folder),
            "--embedder",
            embedder,
        ]
        environment = os.environ | OFFLINE | {"PYTHONPATH": str(tree / "src")}
        start_s, cpu_s = time.perf_counter(), os.times()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, held_bytes(process.pid))
            time.sleep(SAMPLE_S)
        wall_s, after = time.perf_counter() - start_s, os.times()
        if process.returncode not in (0, 1):  # 1: some files were left out
            raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
        connection = sqlite3.connect(kb)
        documents = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        chunks, characters = connection.execute("SELECT count(*), sum(end - start) FROM chunks").fetchone()
        connection.close()
    used_s = after.children_user + after.children_system - cpu_s.children_user - cpu_s.children_system
    return {"wall_s": wall_s, "cpu_s": used_s, "peak_mb": peak / 1e6, "documents": documents, "chunks": chunks,
            "characters": characters}  # fmt: skip


def held_bytes(process: int) -> int:
    """Memory of a process and all below it, each page of it once."""
    try:
        parent = psutil.Process(process)
        return sum(each.memory_full_info().pss for each in (parent, *parent.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main()
