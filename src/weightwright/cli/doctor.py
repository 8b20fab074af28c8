"""`weightwright doctor`: what this machine has, and what will be fast on it."""

from weightwright.cli.flags import Outcome, verb
from weightwright.config import Settings


class DoctorSettings(Settings):
    """`doctor` has no options of its own."""


@verb(DoctorSettings, section="doctor")
def doctor(settings: DoctorSettings) -> Outcome:
    """Say what this machine has and what will be fast on it."""
    return Outcome({"a": 1}, "hi")
