"""What all embedders are asked: passes over one file of passages; prints seconds of each and the peak as JSON."""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np

START_S = time.perf_counter()


def timed(embed) -> None:
    """Passages and passes from the command line; vectors of the last pass go to a file."""
    passages = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    embed(passages[:64])
    startup_s, taken_s = time.perf_counter() - START_S, []
    for _ in range(int(sys.argv[4])):
        start_s = time.perf_counter()
        vectors = embed(passages)
        taken_s.append(time.perf_counter() - start_s)
    np.save(sys.argv[3], vectors)
    held = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    peak_mb = int(held.group(1)) / 1000 if held else 0
    print(json.dumps({"passes_s": taken_s, "startup_s": startup_s, "peak_mb": peak_mb}))
