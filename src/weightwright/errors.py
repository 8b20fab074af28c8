"""What can go wrong, as one tree: every message says the value, the limit and the remedy.

WeightwrightError
├── SettingsError        an option, a file of options or the environment is wrong
│   └── UsageError       the command line itself is wrong (exit status 2)
├── MissingExtraError    an optional package is not installed
├── AddressError         a model or store address cannot be read
├── DataError            a data file or a row in it cannot be used
├── ModelError           a model cannot be loaded or is not supported
├── EngineError          the engine broke under a request: a fault of ours, whose traceback is in the log
├── DownloadError        a download failed or does not match its checksum
├── MemoryLimitError     something does not fit into the memory at hand
├── RequestError         one request cannot be answered; others go on
├── RemoteError          a server answered with an error or not at all
├── StoreError           a knowledge base cannot be opened, or does not match
└── TuneError            a training run cannot start or go on
"""


class WeightwrightError(Exception):
    """The root: its text is meant for the user and is shown without a traceback."""


class SettingsError(WeightwrightError):
    """An option, a settings file or the environment is wrong."""


class UsageError(SettingsError):
    """The command line itself is wrong: a missing argument or an option that does not exist."""


class MissingExtraError(WeightwrightError):
    """An optional package is not installed."""


class AddressError(WeightwrightError):
    """A model or store address cannot be read."""


class DataError(WeightwrightError):
    """A data file or a row in it cannot be used."""


class ModelError(WeightwrightError):
    """A model cannot be loaded or is not supported."""


class EngineError(WeightwrightError):
    """The engine broke under a request: a fault of ours, whose traceback is in the log."""


class DownloadError(WeightwrightError):
    """A download failed or does not match its checksum."""


class MemoryLimitError(WeightwrightError):
    """Something does not fit into the memory at hand."""


class RequestError(WeightwrightError):
    """One request cannot be answered; other requests go on."""


class RemoteError(WeightwrightError):
    """A server answered with an error or did not answer."""


class StoreError(WeightwrightError):
    """A knowledge base cannot be opened or does not match what is asked of it."""


class TuneError(WeightwrightError):
    """A training run cannot start or go on."""
