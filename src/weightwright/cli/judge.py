"""`weightwright judge`: scores of answers against references, with intervals."""

from weightwright.cli.flags import Outcome, verb
from weightwright.judge.settings import JudgeSettings


@verb(JudgeSettings, section="judge", positional=("rows",))
def judge(settings: JudgeSettings) -> Outcome:
    """Score the answers in a JSONL file against their references."""
    from rich.console import Group
    from rich.table import Table

    from weightwright.judge.metrics import MEANING
    from weightwright.judge.summary import judge as judge_file

    judgement = judge_file(settings)
    table = Table("metric", "mean", f"{settings.level:.0%} interval", "meaning")
    for metric, mean in judgement.means.items():
        table.add_row(metric, f"{mean.mean:.3f}", f"{mean.low:.3f} to {mean.high:.3f}", MEANING[metric])
    first = next(iter(judgement.means.values()))
    notes = (
        f"{first.n} answers in {first.clusters} independent clusters, {judgement.failed} failed (scored 0)"
    )
    caution = f"\ncaution: {first.caution}" if first.caution else ""
    return Outcome(judgement.data(), Group(table, notes + caution))
