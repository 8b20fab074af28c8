"""`weightwright judge`: scores of answers against references, with intervals."""

from weightwright.cli.flags import Outcome, verb
from weightwright.judge.settings import JudgeSettings


@verb(JudgeSettings, section="judge", positional=("rows",))
def judge(settings: JudgeSettings) -> Outcome:
    """Score the answers in a JSONL file against their references."""
    from rich.console import Group
    from rich.table import Table

    from weightwright.judge.metrics import METRICS
    from weightwright.judge.summary import judge as judge_file
    from weightwright.stats.intervals import counted

    judgement = judge_file(settings)
    table = Table("metric", "mean", f"{settings.level:.0%} interval", "meaning")
    for metric, mean in judgement.means.items():
        table.add_row(
            metric, f"{mean.mean:.3f}", f"{mean.low:.3f} to {mean.high:.3f}", METRICS[metric].meaning
        )
    first = next(iter(judgement.means.values()))
    answers, clusters = counted(first.n, "answer"), counted(first.clusters, "independent cluster")
    notes = f"{answers} in {clusters}, {judgement.failed} failed or empty (scored 0)"
    cautions = "".join(f"\ncaution: {caution}" for caution in judgement.cautions)
    return Outcome(judgement.data(), Group(table, notes + cautions))
