"""A run's curves as event files for TensorBoard, made of the lines of its log."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from weightwright.extras import require

FOLDER = "tensorboard"
TAGS = {  # what log.jsonl has, by the names that TensorBoard's users know
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "tokens_per_s": "train/tokens_per_s",
    "eval_loss": "eval/loss",
    "eval_preference_accuracy": "eval/preference_accuracy",
    "reward": "train/reward",
    "reward_std": "train/reward_std",
    "equal_groups": "train/frac_reward_zero_std",
    "answer_tokens": "train/completions/mean_length",
    "cut_answers": "train/completions/clipped_ratio",
    "kl": "train/kl",
    "eval_reward": "eval/reward",
}


def require_package() -> None:
    """Raise MissingExtraError, with the command that installs it, where TensorBoard's package is not there."""
    require("tensorboard", extra="tensorboard")


class Events:
    """The event files in `run_folder`/tensorboard.

    `done` steps have been taken; what earlier files say of later ones is hidden. `kept` are the lines of log.jsonl up
    to there, told again where the steps were taken without this. Raises MissingExtraError.
    """

    def __init__(self, run_folder: Path, done: int, kept: Iterable[str]) -> None:
        require_package()
        from torch.utils.tensorboard import SummaryWriter

        folder = run_folder / FOLDER
        fresh = not folder.is_dir()
        self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else 0)
        for line in kept if fresh else ():
            self.write(json.loads(line))

    def write(self, line: Mapping[str, float]) -> None:
        """Add a line of the log; it is in the file when this returns."""
        for name, tag in TAGS.items():
            if name in line:
                self._writer.add_scalar(tag, line[name], int(line["step"]))
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()
