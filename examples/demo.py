"""`make demo`: the question weightwright exists for, answered on the example handbook.

English: base model, retrieval, a tuned adapter, or both? Chinese: retrieval and quotation, since the small
model does not speak Chinese. Leaves runs/demo/report.html and runs/demo-zh/report.html.
"""

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run both comparisons; the exit status of the first that fails."""
    started_s = time.monotonic()
    for language, title in (
        ("en", "English: four arms, 60 questions"),
        ("zh", "中文：检索与引用，60 个问题"),
    ):
        print(f"\n== {title}", flush=True)
        out = Path("runs/demo" if language == "en" else "runs/demo-zh")
        config = HERE / "compare" / f"handbook.{language}.yaml"
        command = [
            sys.executable,
            "-m",
            "weightwright",
            "compare",
            "--config",
            str(config),
            "--out",
            str(out),
        ]
        status = subprocess.run(command, check=False).returncode
        if status != 0:
            return status
    minutes, seconds = divmod(round(time.monotonic() - started_s), 60)
    print(f"\nDone in {minutes} min {seconds} s. Every answer beside its reference: runs/demo/report.html")
    print("Try next:  . .venv/bin/activate")
    print("  weightwright kb add mine.db YOUR_DOCUMENTS/")
    print('  weightwright ask mine.db "your question" --model smollm2-135m')
    print("  weightwright init compare        # your own questions, your own arms")
    print("A second run asks only what has changed; the guide is in docs/.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
