"""The one exception for what a user can mend."""


class InputError(ValueError):
    """A bad configuration, image, label, weights file, map store or results folder.

    The message is one line naming the subject, the rule, the value and the remedy. The command
    line prints it without a traceback and exits with code 2.
    """


def one_line(error: BaseException) -> str:
    """What another library's error says, in one line; its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
