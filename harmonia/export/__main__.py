"""The command line: python -m harmonia.export run=FOLDER out=FOLDER."""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import sys
from collections.abc import Sequence

from harmonia.cli.entry import keyword_command
from harmonia.errors import InputError

EXPORT_MODULE = "harmonia.export"
USAGE = """\
Finished jobs as a dataset to share: rows and small maps as Parquet, and a dataset card. No image is copied.

    python -m harmonia.export run=FOLDER out=FOLDER [license=ID]

run      a sweep's folder, one job's folder, or any folder above them
out      where the dataset goes, outside of run; the files of an earlier export there are replaced
license  under which you share the numbers, as the Hugging Face hub names it: cc-by-4.0; unknown without

Paths, the host's name and the command are left out. python -m harmonia.report run=OUT makes the tables again.

Exit code: 0, or 2 if the command line was wrong or no job was finished.
"""

ARGUMENTS = ("run", "out", "license")


def main(words: Sequence[str] | None = None) -> int:
    return keyword_command(_export, words, USAGE, ARGUMENTS, EXPORT_MODULE)


def _export(words: dict[str, str]) -> int:
    # here, for they take seconds: whoever ends the command meanwhile is answered in one line
    from harmonia.export.write import write_export
    from harmonia.media import number_of, say

    if "out" not in words:
        raise InputError("argument out must be given, got none; write out=FOLDER")
    export = write_export(**words)
    for name, reason in export.left_out.items():
        say(f"left out: {name}: {reason}")
    say(f"export of {number_of(len(export.jobs), 'job')}: {export.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
