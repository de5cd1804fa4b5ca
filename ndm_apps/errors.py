"""The one exception that means: the user's input is wrong, not the program."""


class InputError(Exception):
    """Wrong input, told in one line.

    The command line prints the message and exits with status 2; nothing has been written by then.
    The message names the argument (or ``file:line``), the value got and the values allowed.
    """
