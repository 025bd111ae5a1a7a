"""The command line: python -m harmonia.dashboard run=FOLDER; see harmonia.report.workspace."""

if __name__ == "__main__":
    from harmonia.cli.early import answer_signals

    answer_signals()

import sys
from collections.abc import Sequence

from harmonia.cli.entry import keyword_command
from harmonia.errors import InputError

USAGE = """\
A W&B workspace for finished jobs, printed as Python code; no network and no account are needed for that.

    python -m harmonia.dashboard run=FOLDER [arm=soft] [report=FOLDER] [entity=NAME] [project=NAME] [save=true]
                              [sections=package.module]

run      a sweep's folder or one job's folder, whose jobs ran with logger=wandb
arm      which arm's retention the bars show: soft, area10, area20, area30, area50 or a control's name
report   the report whose tables and figures are shown, made with logger=wandb; by default FOLDER/report
entity   the W&B user or team; needed to save
project  the W&B project; by default the one of the jobs
save     true: the workspace is made on the W&B server too, which takes wandb login and runs that were sent there
sections modules of sections beside harmonia's own, as the report's; their code is run

Exit code: 0, or 2 if the command line was wrong or W&B did not take the workspace.
"""

ARGUMENTS = ("run", "arm", "report", "entity", "project", "save", "sections")


def main(words: Sequence[str] | None = None) -> int:
    return keyword_command(_print_workspace, words, USAGE, ARGUMENTS, "harmonia.dashboard")


def _print_workspace(arguments: dict[str, str]) -> int:
    if (saved := arguments.pop("save", "false")) not in ("true", "false"):
        raise InputError(f"save must be true or false, got {saved!r}; without it the code is printed alone")
    # pandas and matplotlib take long to import: --help and a wrong word must not pay for it
    from harmonia.report.workspace import make_workspace, save_workspace, workspace_code

    sections = filter(None, arguments.pop("sections", "").split(","))
    workspace = make_workspace(sections=sections, **arguments)
    print(workspace_code(workspace), end="")
    if saved == "true":
        save_workspace(workspace)
    return 0


if __name__ == "__main__":
    sys.exit(main())
