"""The command `harmonia`: `harmonia run WORDS` is `python -m harmonia.run WORDS`, and so for the others.

Unlike `python -m`, it never imports what lies in the folder where it is typed, which somebody may have sent.
"""

import importlib
import sys

from harmonia.cli.entry import exit_code, input_error
from harmonia.errors import InputError

COMMANDS = {
    "run": "harmonia.run",
    "fit": "harmonia.fit",
    "plan": "harmonia.plan",
    "report": "harmonia.report.__main__",
    "store": "harmonia.store.__main__",
    "export": "harmonia.export.__main__",
    "dashboard": "harmonia.dashboard",
    "demo": "harmonia.demo.__main__",
}
USAGE = """\
harmonia run        maps, features and scores of a job or, with -m, of a sweep
harmonia fit        a network trained on a folder of classes, or a sweep of them
harmonia plan       what a run would still compute, and how long
harmonia report     tables, figures and pages of finished jobs
harmonia store      what is kept: list, verify, prune
harmonia export     finished jobs as a dataset to share
harmonia dashboard  a W&B workspace of finished jobs
harmonia demo       a page in the browser: one image, two networks, a map and what any mask keeps
harmonia COMMAND --help tells the words of each."""


def main() -> int:
    """The exit code of the command that the first word names."""
    command, words = sys.argv[1] if len(sys.argv) > 1 else "--help", sys.argv[2:]
    if command not in COMMANDS:
        return exit_code(lambda: _help(command), input_error)
    sys.argv = [f"harmonia {command}", *words]
    # who is interrupted while the command's modules are imported is answered, too
    return exit_code(lambda: importlib.import_module(COMMANDS[command]).main(), input_error)


def _help(word: str) -> int:
    if word not in ("-h", "--help"):
        raise InputError(f"the first word must be one of {', '.join(COMMANDS)}, got {word!r}; see harmonia --help")
    print(USAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
