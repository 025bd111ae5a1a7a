"""A W&B workspace as the Python code that builds it, for wandb-workspaces."""

from typing import Any

from wandb_workspaces.workspaces import Workspace

_HEAD = """\
# {name}
# Python with wandb-workspaces (pip install wandb-workspaces); saving takes an account, see wandb login.
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

workspace = {literal}

if __name__ == "__main__":
    workspace.save()
"""


def workspace_code(workspace: Workspace) -> str:
    """A module that binds an equal workspace to `workspace`; run as a script, it saves it."""
    return _HEAD.format(name=" ".join(workspace.name.split()), literal=_literal(workspace, ""))


def _literal(value: Any, indent: str) -> str:
    deeper = indent + "    "
    if isinstance(value, list):
        items = "".join(f"{deeper}{_literal(item, deeper)},\n" for item in value)
        return f"[\n{items}{indent}]" if items else "[]"
    if not hasattr(value, "__pydantic_fields__"):
        return repr(value)
    package = "ws" if type(value).__module__.startswith("wandb_workspaces.workspaces") else "wr"
    lines = "".join(f"{deeper}{name}={_literal(given, deeper)},\n" for name, given in _given(value))
    return f"{package}.{type(value).__name__}(\n{lines}{indent})"


def _given(value: Any):
    """The arguments that differ from their default, by the name that the constructor takes."""
    for attribute, field in type(value).__pydantic_fields__.items():
        name = field.alias or attribute
        given = getattr(value, attribute)
        # by their text: metrics build a filter out of ==
        if not name.startswith("_") and repr(given) != repr(field.get_default(call_default_factory=True)):
            yield name, given
