"""The errors of this project: one root, an exit code each, messages that say what to do."""


class InterestTiersError(Exception):
    """Root of every error raised on purpose; a job that ends with it prints the message, not a traceback."""

    exit_code = 1


class ConfigError(InterestTiersError):
    """The command or the configuration is wrong: a key, a value, a path or a column that is not there."""

    exit_code = 2


class WarehouseError(InterestTiersError):
    """The warehouse cannot be used as given: not Delta, another schema, or an earlier stage has not run."""

    exit_code = 2


class TrainingError(InterestTiersError):
    """A process of a training failed; the message holds its traceback."""


class DivergedError(TrainingError):
    """The loss of a training, or its gradient, was no longer a number: its settings are of no use."""


class DataQualityError(InterestTiersError):
    """The quality gate refused the data; what was found stands in the quarantine and in the run record."""

    exit_code = 3


def short_message(error: BaseException) -> str:
    """Return the first line of an error's message; the name of its class where it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
