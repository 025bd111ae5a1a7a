"""Folders of the project."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONF = REPOSITORY / "conf"
SHARED = REPOSITORY.parent / "shared"  # beside the project; absent for users
