"""One comparison from settings to result: make ready, ask what is not finished, score, decide, write."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from weightwright import connect
from weightwright.address.models import parse_model
from weightwright.asking.answers import Answers
from weightwright.asking.ask import Asked, ask_and_keep
from weightwright.compare import keys
from weightwright.compare.adapter import ready_adapter
from weightwright.compare.arms import Arm, arm
from weightwright.compare.expected import expected_tuning
from weightwright.compare.experiment import Experiment
from weightwright.compare.passages import open_passages
from weightwright.compare.provenance import provenance
from weightwright.compare.questions import Question, read_questions
from weightwright.compare.record import Record, record_of
from weightwright.compare.report import write_report
from weightwright.compare.result import Comparison, summarise
from weightwright.compare.settings import CompareSettings
from weightwright.files import write_whole
from weightwright.machine.peak import peak_bytes, reset_peak
from weightwright.ports import Chat, Progress, Reply, silent
from weightwright.rag.context import Passage

Bar = Callable[[str], AbstractContextManager[Progress]]
Say = Callable[[str], None]
REPORT, RESULT, ANSWERS = "report.html", "result.json", "answers.db"


@contextmanager
def no_bar(title: str) -> Iterator[Progress]:  # noqa: ARG001 - a Bar is called with a title
    """The Bar that shows nothing."""
    yield silent


def unsaid(line: str) -> None:
    """The Say that keeps it to itself."""


def compare(settings: CompareSettings, *, bar: Bar = no_bar, say: Say = unsaid) -> Comparison:
    """Run or resume a comparison; leaves report.html, result.json and answers.db in the out folder.

    `say` is told what there is to know before anything long begins. What is finished is never asked again; after
    KeyboardInterrupt or a kill the same call goes on. Raises DataError and SettingsError for wrong input before
    anything is asked, and what the parts raise.
    """
    questions = read_questions(settings.questions, settings.limit)
    with ExitStack() as things:
        answers = things.enter_context(Answers(settings.out / ANSWERS, Record))
        experiment = _ready(settings, questions, things, bar, say)
        records = _all_records(experiment, answers, bar)
        comparison = summarise(
            settings,
            questions,
            records,
            peaks={a.name: answers.peak(a.name, experiment.arm_key(a)) for a in experiment.arms},
            tuning_s=experiment.adapter.tuning_s if experiment.adapter else None,
            provenance=provenance(experiment),
        )
    write_whole(settings.out / RESULT, json.dumps(comparison.data(), indent=2))
    write_report(comparison, settings.out / REPORT)
    return comparison


def _ready(
    settings: CompareSettings, questions: tuple[Question, ...], things: ExitStack, bar: Bar, say: Say
) -> Experiment:
    arms = tuple(arm(name) for name in settings.arms)
    source, adapter = None, None
    with bar("model") as progress:
        model = model_fingerprint(settings.model, progress)
    if expected := expected_tuning(settings, model):
        say(expected)
    if any(a.context != "none" for a in arms):
        with bar("documents") as progress:
            source = open_passages(settings, things, progress)
        if any(a.context == "gold" for a in arms):
            source.check_named(questions)
    if any(a.adapter for a in arms):
        with bar("tuning") as progress:
            adapter = ready_adapter(settings, model, progress)
    return Experiment(settings, questions, arms, model, adapter, source)


def model_fingerprint(address: str, progress: Progress = silent) -> str:
    """What identifies a model's weights: a hash of its files (brought here first), or a server's address."""
    parsed = parse_model(address)
    if parsed.kind in ("server", "extract"):
        return str(parsed)
    from weightwright.hub.pull import pull
    from weightwright.hub.weight_files import fingerprint

    weights = fingerprint(pull(parsed, progress=progress))
    adapter = keys.of_folder(parsed.adapter) if parsed.adapter else ""
    return "@".join(filter(None, (weights, parsed.tag, adapter)))


def _all_records(experiment: Experiment, answers: Answers[Record], bar: Bar) -> dict[Arm, list[Record]]:
    """Every arm's records in the order of the questions, asking for those that are not finished."""
    with ExitStack() as things:
        chat: Chat | None = None
        records: dict[Arm, list[Record]] = {}
        for each in experiment.arms:
            arm_key = experiment.arm_key(each)
            key = {q.id: keys.of_answer(arm_key, each, q) for q in experiment.questions}
            kept = answers.finished(key.values())  # an earlier version kept failures, too
            done = {k: record for k, record in kept.items() if record.answer is not None}
            missing = {key[q.id]: q for q in experiment.questions if key[q.id] not in done}
            if missing:
                if chat is None:
                    with bar("loading") as progress:
                        chat = _open_chat(experiment, progress)
                    things.callback(chat.close)
                with bar(each.name) as progress:
                    done |= _ask_arm(experiment, each, missing, chat, answers, progress)
            records[each] = [done[key[q.id]] for q in experiment.questions]
        return records


def _ask_arm(
    experiment: Experiment,
    each: Arm,
    missing: Mapping[str, Question],
    chat: Chat,
    answers: Answers[Record],
    progress: Progress,
) -> dict[str, Record]:
    """Ask an arm the questions, by key."""
    shown: dict[str, Sequence[Passage]] = {}

    def start(question: Question) -> Reply:
        passages = experiment.passages(each, question)
        shown[question.id] = passages or ()
        return experiment.ask(chat, each, question, passages)

    def record(asked: Asked[Question]) -> Record:
        return record_of(each, asked, shown.pop(asked.question.id))

    measurable = not experiment.settings.remote and reset_peak()
    records = ask_and_keep(
        missing,
        start,
        record,
        answers,
        arm=each.name,
        label=lambda question: question.id,
        concurrency=experiment.settings.concurrency,
        progress=progress,
    )
    answers.keep_peak(each.name, experiment.arm_key(each), peak_bytes() if measurable else None)
    return records


def _open_chat(experiment: Experiment, progress: Progress) -> Chat:
    adapter = experiment.adapter
    adapters = {adapter.name: adapter.folder} if adapter and adapter.folder else None
    # an answer must not depend on what ran beside it
    return connect.open_chat(
        experiment.settings.model, adapters=adapters, deterministic=True, progress=progress
    )
