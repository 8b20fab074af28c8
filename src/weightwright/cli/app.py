"""`weightwright VERB …`: the table of verbs, and how errors become exit statuses."""

import errno
import io
import signal
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from cyclopts import App, CycloptsError, UnknownCommandError, UnusedCliTokensError

import weightwright
from weightwright.config import nearest
from weightwright.errors import UsageError, WeightwrightError

MODELS, DATA, ASK, MEASURE, MACHINE = "Models", "Tuning", "Documents", "Measuring", "This machine"

# verb, where it stands (imported only when it is called), group, what it does
VERBS: tuple[tuple[str, str, str, str], ...] = (
    ("doctor", "doctor:doctor", MACHINE, "Say what this machine has and what will be fast on it."),
    ("judge", "judge:judge", MEASURE, "Score answers against references, with intervals."),
    (
        "compare",
        "compare:compare",
        MEASURE,
        "Which is better on your questions, by how much, how sure, at what cost.",
    ),
    ("plan", "plan:plan", MODELS, "Does it fit, what will it cost, which settings."),
    ("tune", "tune:tune", DATA, "Train an adapter, or every weight, on your rows."),
    ("tune-watch", "watch:watch", DATA, "Watch a running tune: weightwright tune watch DIR."),
    ("merge", "merge:merge", MODELS, "Add an adapter into its base model and write the result."),
    ("export", "merge:export", MODELS, "Write a model for llama.cpp and Ollama (GGUF), or as safetensors."),
    ("chat", "chat:chat", MODELS, "Talk with a model in the terminal."),
    ("serve", "serve:serve", MODELS, "Serve a model, its adapters and knowledge bases over HTTP."),
    ("ask", "ask:ask", ASK, "Answer a question from a knowledge base, with checked citations."),
    ("pull", "models:pull", MODELS, "Download a model, or bring it up to date."),
    ("list", "models:list_models", MODELS, "List the models on this machine."),
    ("show", "models:show", MODELS, "Say whether a model can be used here, and what it is."),
    ("rm", "models:remove", MODELS, "Delete a model from the store."),
    ("init", "init:init", MACHINE, "Write a commented settings file to start from."),
    ("completion", "completion:completion", MACHINE, "Make the Tab key complete verbs and options."),
)
# flags that may stand alone, or have one of these values: any other word after them is not theirs
OPEN_FLAGS = ("--gradient-checkpointing",)
_FLAG_VALUES = frozenset({"auto", "mlp", "true", "yes", "1", "t", "y", "false", "no", "0", "f", "n"})
GROUPS: tuple[tuple[str, str, str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "kb",
        ASK,
        "Knowledge bases: your documents, ready to be asked.",
        (
            ("add", "kb:add", "Read files and folders into a knowledge base."),
            ("rm", "kb:rm", "Remove documents by id, file or folder."),
            ("list", "kb:list_documents", "List the documents."),
            ("sync", "kb:sync", "Follow a folder: add what is new or changed, delete what is gone."),
            ("reindex", "kb:reindex", "Make anew with another embedder, or cut in another way."),
            ("copy", "kb:copy", "Copy to another store, without embedding again."),
            ("search", "kb:search", "Search."),
            ("eval", "kb:evaluate", "Measure retrieval with queries and judgements."),
        ),
    ),
    (
        "data",
        DATA,
        "Look at rows before they are learnt.",
        (
            ("show", "data:show", "Print rows with the tokens that carry loss in colour."),
            (
                "check",
                "data:check",
                "Lengths, duplicates, leaks into held-out rows, broken rows, kinds of task.",
            ),
        ),
    ),
)


def build() -> App:
    """The whole command line; verbs are imported only when called."""
    app = App(
        name=["weightwright"],
        help="From an open model's weights to a served, measured assistant on your own data.",
        version=f"weightwright {weightwright.__version__}",
        version_flags=["--version", "-V"],
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for name, target, group, help_text in VERBS:
        app.command(f"weightwright.cli.{target}", name=name, group=group, help=help_text)
    for name, group, help_text, verbs in GROUPS:
        sub = App(name=name, help=help_text, group=group)
        for verb, target, verb_help in verbs:
            sub.command(f"weightwright.cli.{target}", name=verb, help=verb_help)
        app.command(sub)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0 done; 1 a clear error; 2 wrong usage; 130 interrupted."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    _escape_what_stdout_lacks()
    if not tokens:
        from weightwright.cli.first import screen

        sys.stdout.write(screen() + "\n")
        return 0
    if tokens[:2] == ["tune", "watch"]:  # a verb of its own: `tune` has no other words after it
        tokens[:2] = ["tune-watch"]
    tokens = _spelled_out(tokens)
    signal.signal(signal.SIGTERM, _interrupt)  # a polite kill leaves files as whole as Ctrl-C does
    try:
        build()(tokens)
    except UnknownCommandError as error:
        return _report(_unknown_verb(tokens, error), 2)
    except UnusedCliTokensError as error:
        return _report(f"{_left_over(tokens, error)}; see {_help_of(tokens)}", 2)
    except CycloptsError as error:
        return _report(f"{_not_needed(tokens) or _one_line(error)}; see {_help_of(tokens)}", 2)
    except UsageError as error:
        return _report(f"{error}{_models_here(error)}; see {_help_of(tokens)}", 2)
    except WeightwrightError as error:
        if "--debug" in tokens:
            traceback.print_exc()
        return _report(str(error), 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nothing left to tell it
        return 1
    except OSError as error:
        if "--debug" in tokens:
            traceback.print_exc()
        return _report(_of_os(error), 1)
    except KeyboardInterrupt as error:
        return _report(str(error) or "interrupted", 130)
    return 0


def _escape_what_stdout_lacks() -> None:
    """Let a console of another encoding show an escape where it has no such character."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _spelled_out(tokens: Sequence[str]) -> list[str]:
    """`--flag MODEL` as `--flag=true MODEL` where the flag may stand alone or have a value."""
    following = [*tokens, ""][1:]
    return [
        f"{token}=true" if token in OPEN_FLAGS and after.lower() not in _FLAG_VALUES else token
        for token, after in zip(tokens, following, strict=True)
    ]


def _left_over(tokens: Sequence[str], error: UnusedCliTokensError) -> str:
    """Words that no option takes; files behind a flag that takes one each."""
    left = error.unused_tokens or []
    said = f"{' '.join(left)!r} belongs to no option"
    if not left or not Path(left[0]).exists() or left[0] not in tokens:
        return said
    before = [token for token in tokens[: tokens.index(left[0])] if token.startswith("--")]
    return f"{said}; give each file its flag: {before[-1]} A {before[-1]} B" if before else said


def _not_needed(tokens: Sequence[str]) -> str:
    """What stands in for a flag that other trainers need; "" where there is no such flag."""
    given = next((token for token in tokens if token.startswith("--resume")), "")
    if tokens[:1] != ["tune"] or not given:
        return ""
    return (
        f"{given.partition('=')[0]} is not needed: the same command goes on where an interrupted run stopped"
    )


def _unknown_verb(tokens: Sequence[str], error: UnknownCommandError) -> str:
    """The nearest verb; cyclopts' own message would import every verb to find it."""
    groups = {name: [verb for verb, *_ in verbs] for name, _, _, verbs in GROUPS}
    unknown = (error.unused_tokens or ["?"])[0]
    group = tokens[0] if tokens[0] in groups and unknown != tokens[0] else ""
    known = groups.get(group) or [*groups, *(name for name, *_ in VERBS)]
    return f"unknown verb {unknown!r}{nearest(unknown, known)}; see {_help_of([group])}"


def _one_line(error: CycloptsError) -> str:
    """Cyclopts' words on one line; of what it thinks was meant, only what is near."""
    said, _, meant = " ".join(str(error).split()).rstrip(".").partition(" Did you mean ")
    given, meant = said.rpartition(" ")[2], meant.rstrip("?")
    return said.rstrip(".") + nearest(given.rstrip("."), [meant]) if _near(given, meant) else said.rstrip(".")


def _near(given: str, meant: str) -> bool:
    return bool(meant) and bool(get_close_matches(given, [meant], cutoff=0.75))


def _models_here(error: UsageError) -> str:
    """What could stand for a model that was not named."""
    if "model" not in error.missing:
        return ""
    from weightwright.cli.first import SMALL, models_here

    here = models_here()
    if not here:
        return f"; get a small one: weightwright pull {SMALL}, then --model {SMALL}"
    more = f" (or {', '.join(here[1:4])}; weightwright list shows all)" if len(here) > 1 else ""
    return f"; on this machine: --model {here[0]}{more}"


def _interrupt(_signum: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _report(message: str, status: int) -> int:
    sys.stderr.write(f"error: {message}\n" if status != 130 else f"{message}\n")
    return status


def _help_of(tokens: Sequence[str]) -> str:
    verbs = [verb for verb in tokens[:1] if verb in {name for name, *_ in VERBS}]
    for name, _, _, known in GROUPS:
        if tokens[:1] == [name]:
            verbs = [name, *(verb for verb in tokens[1:2] if verb in {one for one, *_ in known})]
    return " ".join(["weightwright", *verbs, "--help"])


_OS_REMEDIES = {
    errno.ENOSPC: "; free some space and run the same command again",
    errno.EACCES: "; check its rights and its folder's, or choose another place",
    errno.EPERM: "; check its rights and its folder's, or choose another place",
    errno.EROFS: "; choose a place that can be written",
    errno.ENOTDIR: "; a part of this path is a file, choose another place",
}


def _of_os(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}{_OS_REMEDIES.get(error.errno or 0, '')}"
