"""The command line: python -m harmonia.report run=FOLDER."""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import re
import sys
from collections.abc import Sequence
from typing import Any

from harmonia.cli.entry import keyword_command
from harmonia.errors import InputError

MODULE = "harmonia.report"
USAGE = """\
Tables, figures and pages to browse from finished jobs; open index.html in any browser.

    python -m harmonia.report run=FOLDER [arm=soft] [out=FOLDER] [images=ID,ID] [thumbnails=5000] [logger=wandb]
                              [sections=package.module]

run         a sweep's folder, one job's folder, or any folder above them
arm         what stands under (F): soft, area10, area20, area30, area50 or a control's name
out         where the report goes; by default FOLDER/report; the files of an earlier report there are replaced
images      what Fig. 1 shows: ids of images (image_id in the rows); without it the typical ones
thumbnails  of how many images at most, evenly spread; all or 0 are possible; numbers are there for every image
logger      none (default), or wandb: tables and figures in a W&B run too, offline unless WANDB_MODE says otherwise
sections    modules of sections beside harmonia's own, for jobs of evaluations beside harmonia's own; their code is run

Exit code: 0, or 1 if no job was finished or a table could not be typeset, or 2 if the command line was wrong
or, without a finished job, an earlier report would go.
"""

ARGUMENTS = ("run", "arm", "out", "images", "thumbnails", "logger", "sections")


def main(words: Sequence[str] | None = None) -> int:
    return keyword_command(_report, words, USAGE, ARGUMENTS, MODULE)


def _report(words: dict[str, str]) -> int:
    arguments: dict[str, Any] = dict(words)
    if (logger := arguments.pop("logger", "none")) not in ("none", "wandb"):
        raise InputError(f"logger must be none or wandb, got {logger!r}; the files are written in any case")
    for name in {"images", "sections"} & set(arguments):
        arguments[name] = arguments[name].split(",")
    if "thumbnails" in arguments:
        arguments["thumbnails"] = _count(arguments["thumbnails"])
    # here, for they take seconds: whoever ends the command meanwhile is answered in one line
    from harmonia.report.wandb_run import track_report
    from harmonia.report.write import write_report
    from harmonia.report.written import print_report

    report = write_report(**arguments)
    if logger == "wandb":
        track_report(report)  # first: the terminal ends with the answer
    print_report(report)
    return 0 if report.jobs and report.complete else 1


def _count(text: str) -> int | None:
    if text != "all" and not re.fullmatch("[0-9]{1,9}", text):
        raise InputError(f"thumbnails must be a number of images or all, got {text[:20]!r}; 5000 is usual")
    return None if text == "all" else int(text)


if __name__ == "__main__":
    sys.exit(main())
