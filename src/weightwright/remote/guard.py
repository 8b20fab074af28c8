"""Run a command for as long as whoever started this lives; then end it, and all that it has started.

A program of its own, started as a file: it imports nothing of the package. Its stdin is a pipe whose other end the
starter holds. When that closes, because the starter says so or is dead, the command gets SIGTERM, and what is left
of the process group SIGKILL: workers of vLLM have outlived their parent, and held the cards
(github.com/vllm-project/vllm/issues/55510). Its argument list is GRACE_S COMMAND….
"""

import os
import signal
import subprocess
import sys
import threading

ENDED = "engine ended with status"


def main(grace_s: float, command: list[str]) -> None:
    """Start, wait for the first of both to end, and leave no process of the group. POSIX only."""
    ended = threading.Event()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from here on: it is for the command

    def end_with_starter() -> None:
        sys.stdin.buffer.read()
        if not ended.is_set():
            os.killpg(0, signal.SIGTERM)
        if not ended.wait(grace_s):
            os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end_with_starter, daemon=True).start()
    status = child.wait()
    ended.set()
    print(f"{ENDED} {status}", flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
