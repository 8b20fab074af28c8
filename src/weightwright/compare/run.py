"""One comparison from settings to result: make ready, ask what is not finished, score, decide, write."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from weightwright import connect
from weightwright.address.models import parse_model
from weightwright.asking.answers import Answers, Record
from weightwright.asking.ask import Asked, ask
from weightwright.compare import keys
from weightwright.compare.adapter import ready_adapter
from weightwright.compare.arms import Arm, arm
from weightwright.compare.passages import ready_ground
from weightwright.compare.experiment import Bench, record_of
from weightwright.compare.provenance import provenance
from weightwright.compare.questions import Question, read_questions
from weightwright.compare.report import write_report
from weightwright.compare.result import Comparison, summarise
from weightwright.compare.settings import CompareSettings
from weightwright.files import write_whole
from weightwright.machine.peak import peak_bytes, reset_peak
from weightwright.ports import Chat, Progress, silent
from weightwright.rag.context import Passage

Bar = Callable[[str], AbstractContextManager[Progress]]
REPORT, RESULT, ANSWERS = "report.html", "result.json", "answers.db"


@contextmanager
def no_bar(title: str) -> Iterator[Progress]:  # noqa: ARG001 - a Bar is called with a title
    """The Bar that shows nothing."""
    yield silent


def compare(settings: CompareSettings, *, bar: Bar = no_bar) -> Comparison:
    """Run or resume a comparison; leaves report.html, result.json and answers.db in the out folder.

    What is finished is never asked again. Raises DataError and SettingsError for wrong input before anything
    is asked, and what the parts raise; after KeyboardInterrupt or a kill the same call goes on.
    """
    questions = read_questions(settings.questions, settings.limit)
    with ExitStack() as things:
        answers = things.enter_context(Answers(settings.out / ANSWERS))
        bench = _ready(settings, questions, things, bar)
        records = _all_records(bench, answers, bar)
        comparison = summarise(
            settings,
            questions,
            records,
            peaks={a.name: answers.peak(a.name, bench.arm_key(a)) for a in bench.arms},
            tuning_s=bench.adapter.tuning_s if bench.adapter else None,
            provenance=provenance(bench),
        )
    write_whole(settings.out / RESULT, json.dumps(comparison.data(), indent=2))
    write_report(comparison, settings.out / REPORT)
    return comparison


def _ready(settings: CompareSettings, questions: tuple[Question, ...], things: ExitStack, bar: Bar) -> Bench:
    arms = tuple(arm(name) for name in settings.arms)
    ground, adapter = None, None
    if any(a.context != "none" for a in arms):
        with bar("documents") as progress:
            ground = ready_ground(settings, things, progress)
        if any(a.context == "gold" for a in arms):
            ground.check_named(questions)
    with bar("model") as progress:
        model = model_fingerprint(settings.model, progress)
    if any(a.adapter for a in arms):
        with bar("tuning") as progress:
            adapter = ready_adapter(settings, model, progress)
    return Bench(settings, questions, arms, model, adapter, ground)


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


def _all_records(bench: Bench, answers: Answers, bar: Bar) -> dict[Arm, list[Record]]:
    """Every arm's records in the order of the questions, asking for those that are not finished."""
    with ExitStack() as things:
        chat: Chat | None = None
        records: dict[Arm, list[Record]] = {}
        for each in bench.arms:
            arm_key = bench.arm_key(each)
            key = {q.id: keys.of_answer(arm_key, each, q) for q in bench.questions}
            done = answers.finished(key.values())
            missing = {key[q.id]: q for q in bench.questions if key[q.id] not in done}
            if missing:
                if chat is None:
                    with bar("loading") as progress:
                        chat = _open_chat(bench, progress)
                    things.callback(chat.close)
                with bar(each.name) as progress:
                    done |= _ask_arm(bench, each, missing, chat, answers, progress)
            records[each] = [done[key[q.id]] for q in bench.questions]
        return records


def _ask_arm(
    bench: Bench,
    each: Arm,
    missing: Mapping[str, Question],
    chat: Chat,
    answers: Answers,
    progress: Progress,
) -> dict[str, Record]:
    """Ask an arm the questions by key; each final answer is kept before the next is looked at."""
    key_of = {question.id: key for key, question in missing.items()}
    records: dict[str, Record] = {}

    def ended(asked: Asked[Question, Passage]) -> None:
        key, record = key_of[asked.question.id], record_of(each, asked)
        if asked.is_final:
            answers.keep(key, record)
        records[key] = record
        progress(len(records), len(missing))

    measurable = not bench.settings.remote and reset_peak()
    questions = list(missing.values())
    ask(questions, lambda q: bench.start(chat, each, q), ended, concurrency=bench.settings.concurrency)
    answers.keep_peak(each.name, bench.arm_key(each), peak_bytes() if measurable else None)
    return records


def _open_chat(bench: Bench, progress: Progress) -> Chat:
    adapter = bench.adapter
    adapters = {adapter.name: adapter.folder} if adapter and adapter.folder else None
    # an answer must not depend on what ran beside it
    return connect.open_chat(bench.settings.model, adapters=adapters, deterministic=True, progress=progress)
