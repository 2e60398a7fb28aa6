"""Every exception that a user of alexnet can meet.

AlexNetError
├── ConfigError (ValueError)        an argument or option outside what is accepted
│   └── RecipeError                 a recipe field that is unknown or has an impossible value
├── SourceError (ValueError)        a folder of images that is not laid out as prepare needs it
├── ImageError (ValueError)         one image that cannot be decoded
├── StoreError (ValueError)         a store that is missing, damaged, unfinished or of another format
├── WeightsError (ValueError)       a model file or checkpoint that is missing, damaged or of another network
├── SearchError (ValueError)        an index that is missing, damaged, unfinished or of another model
├── AddressError (RuntimeError)     an address such as s3://bucket/store that cannot be read or written
├── RunError (RuntimeError)         a run folder that cannot be started or continued
├── DistributionError (RuntimeError)  processes that do not fit together, or lost each other
├── DivergedError (ArithmeticError) training whose loss is no longer finite
├── ExportError (RuntimeError)      an exported file that does not compute what the model does, or cannot be written
└── Interrupted (Exception)         the user, or SIGTERM, asked to stop; state was saved

Messages say what was given, what is accepted and what to do next. The command line prints them as they are, with
exit code 1 (failed), 2 (misuse: ConfigError and its children) or 130 (interrupted).
"""

from alexnet.text.places import shown


class AlexNetError(Exception):
    """Base of every error raised on purpose by this package."""

    def __str__(self) -> str:
        return shown(super().__str__())

    exit_code = 1
    told_elsewhere: bool | None = None
    """Whether another process of the same training tells the user; None leaves it to the first of them."""


class ConfigError(AlexNetError, ValueError):
    """An argument or option has a value that is not accepted."""

    exit_code = 2


class RecipeError(ConfigError):
    """A recipe field is unknown, or its value is impossible."""


class SourceError(AlexNetError, ValueError):
    """The images given to prepare are not laid out in a way that it reads."""


class ImageError(AlexNetError, ValueError):
    """One image cannot be decoded."""


class StoreError(AlexNetError, ValueError):
    """A store is missing, damaged, unfinished or of a format that this version does not read."""


class WeightsError(AlexNetError, ValueError):
    """A model file or checkpoint is missing, damaged or belongs to another network."""


class SearchError(AlexNetError, ValueError):
    """An index of features is missing, damaged, unfinished, or of another model."""


class AddressError(AlexNetError, RuntimeError):
    """An address, as s3://bucket/store, cannot be read or written."""


class RunError(AlexNetError, RuntimeError):
    """A run folder cannot be started or continued."""


class DistributionError(AlexNetError, RuntimeError):
    """The processes of one training do not fit together, or one of them is gone."""


class DivergedError(AlexNetError, ArithmeticError):
    """The training loss is no longer finite."""


class ExportError(AlexNetError, RuntimeError):
    """An exported file disagrees with the model, or the format cannot express it."""


class Interrupted(AlexNetError):  # noqa: N818 - an interruption is not an error, but it ends the command like one
    """The user asked to stop; what was done so far is saved."""

    exit_code = 130


def error_called(name: str, message: str) -> AlexNetError:
    """Return an error of the class of this name, as another process reported it; of the base class if unknown."""
    kind = globals().get(name)
    return kind(message) if isinstance(kind, type) and issubclass(kind, AlexNetError) else AlexNetError(message)
