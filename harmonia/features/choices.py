"""Which areas settings may name; apart, since a wrong one is refused before torch is imported."""

from collections.abc import Sequence

from harmonia.arms import percent
from harmonia.errors import InputError


def check_areas(key: str, areas: Sequence[float]) -> None:
    """Areas name their arms in whole percents."""
    for area in areas:
        if not 0 < area < 1:
            raise InputError(f"{key} must be fractions between 0 and 1, got {area}; 0.3 keeps 30 %")
        if percent(area) < 1 or abs(100 * area - percent(area)) > 1e-6:
            raise InputError(f"{key} must be whole percents, got {area}; 0.12 keeps 12 %")
    if len({percent(area) for area in areas}) < len(areas):
        raise InputError(f"{key} must differ, got {list(areas)}; leave one out")
