"""`weightwright completion SHELL`: what makes the Tab key complete verbs, options and their values."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from weightwright.cli.flags import Outcome, verb
from weightwright.config import Settings
from weightwright.files import write_whole

Shell = Literal["bash", "zsh", "fish"]

_NAME, _SHORT = "weightwright", "ww"


class CompletionSettings(Settings):
    """For which shell."""

    shell: Shell = Field(description="bash, zsh or fish")
    install: bool = Field(False, description="write it where the shell looks for it, instead of printing it")


@verb(CompletionSettings, section="completion", positional=("shell",))
def completion(settings: CompletionSettings) -> Outcome:
    """Print a script that makes the Tab key complete verbs, options and their values; or install it."""
    text = script(settings.shell)
    if not settings.install:
        return Outcome({"shell": settings.shell, "script": text}, text)
    file = install(settings.shell, text)
    return Outcome({"shell": settings.shell, "file": str(file)}, f"wrote {file}; it works in the next shell")


def script(shell: Shell) -> str:
    """The script for both names of the command; what it does not know is completed as files are."""
    from weightwright.cli.app import build

    text = build().generate_completion(prog_name=_NAME, shell=shell)
    if shell == "bash":
        return text.replace(
            f"complete -F _{_NAME} {_NAME}", f"complete -o default -F _{_NAME} {_NAME} {_SHORT}"
        )
    if shell == "zsh":
        return text.replace(f"#compdef {_NAME}\n", f"#compdef {_NAME} {_SHORT}\n", 1)
    return f"{text}\ncomplete -c {_SHORT} -w {_NAME}\n"


def install(shell: Shell, text: str) -> Path:
    """Write the script where the shell looks for it, and name it in the shell's startup file where that is needed."""
    from cyclopts.completion.install import add_to_rc_file, get_default_completion_path

    file = get_default_completion_path(shell, _NAME)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text)
    if shell != "fish":
        add_to_rc_file(file, _NAME, shell)
    return file
