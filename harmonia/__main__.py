"""The command `harmonia`: `harmonia run WORDS` is `python -m harmonia.run WORDS`, and so for every other door.

Unlike `python -m`, it never imports what lies in the folder where it is typed, which somebody may have sent.
"""

import importlib
import sys

from harmonia.cli.entry import exit_code, input_error
from harmonia.errors import InputError

DOORS = {
    "run": "harmonia.run",
    "plan": "harmonia.plan",
    "report": "harmonia.report.__main__",
    "store": "harmonia.store.__main__",
    "dashboard": "harmonia.dashboard",
}
USAGE = f"harmonia {{{','.join(DOORS)}}} WORDS; harmonia run --help tells the words of a door"


def main() -> int:
    """The exit code of the door that the first word names."""
    door, words = sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:]
    if door not in DOORS:
        return exit_code(lambda: _without_door(door), input_error)
    sys.argv = [f"harmonia {door}", *words]
    return importlib.import_module(DOORS[door]).main()


def _without_door(word: str) -> int:
    if word not in ("-h", "--help"):
        raise InputError(f"the first word must be one of {', '.join(DOORS)}, got {word!r}; see harmonia --help")
    print(USAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
