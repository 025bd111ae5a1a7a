"""Resampled statistics of cells: taken at positions, averaged over groups, and as columns of a frame."""

from collections.abc import Iterable

import numpy as np

from harmonia.statistics.inference import Resampled, interval


def estimates(**draws: Resampled) -> dict[str, np.ndarray]:
    """NAME, NAME_low and NAME_high of each resampled statistic (1 + resamples, lines): 95 % intervals."""
    columns: dict[str, np.ndarray] = {}
    for name, of_lines in draws.items():
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), interval(of_lines).T, strict=True))
    return columns


def at_positions(draws: Resampled, positions: np.ndarray) -> Resampled:
    """The draws of the cells at these positions, NaN where a position is -1."""
    return np.where(positions >= 0, draws[:, positions], np.nan)


def group_means(draws: Resampled, groups: Iterable[np.ndarray]) -> tuple[Resampled, np.ndarray]:
    """The mean over each group of positions, and how many of them are defined; the others are left out."""
    means, counts = [], []
    for group in groups:
        defined = group[~np.isnan(draws[0, group])]
        means.append(draws[:, defined].mean(1) if len(defined) else np.full(len(draws), np.nan))
        counts.append(len(defined))
    return np.stack(means, 1) if means else draws[:, :0], np.array(counts, dtype=int)
