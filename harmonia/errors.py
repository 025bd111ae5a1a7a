"""The one exception for what a user can mend."""


class InputError(ValueError):
    """A bad configuration, image, label, weights file, map store or results folder.

    The message is one line naming the subject, the rule, the value and the remedy. The command
    line prints it without a traceback and exits with code 2.
    """
