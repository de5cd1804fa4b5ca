"""The exceptions that mean: the user's input is wrong, not the program."""

from collections.abc import Sequence


class InputError(Exception):
    """Wrong input, told in one line.

    The command line prints the message and exits with status 2; nothing has been written by then.
    The message names the argument (or ``file:line``), the value got and the values allowed.
    """


class BusyError(InputError):
    """Another process is at work on the same folder now."""


class FieldError(ValueError):
    """Raised by a validator of a whole model to point at one value inside it, such as ``("equations", "p")``."""

    def __init__(self, path: Sequence[str | int], message: str) -> None:
        super().__init__(message)
        self.path = tuple(path)
