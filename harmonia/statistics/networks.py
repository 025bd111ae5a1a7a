"""Networks as units: transfer above control by kinship, size and likeness, with intervals and p of networks.

Of n networks, each shown what each keeps, the n x n numbers are no n^2 observations: those of one source, and those
of one target, go together. Differences are adjusted for that: the coefficient in above = source + target + x, by
least squares. p gives networks each other's places, rows and columns at once (N. Mantel 1967; quadratic assignment:
D. Krackhardt 1988, https://doi.org/10.1016/0378-8733(88)90004-4). Intervals weigh every network anew, a pair by the
product (A. Owen, D. Eckles 2012, https://arxiv.org/abs/1106.2125), and in each draw the images, too.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import is_feature
from harmonia.results.frames import Frame
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.inference import Resampled, at_positions, estimates, ratio
from harmonia.statistics.ranks import relabelling_p
from harmonia.statistics.splits import guessing_sources

KINSHIPS = ("itself", "seed", "size", "family")  # of two networks, nearest first: what tells them apart
MIN_NETWORKS = 4  # below, no order of networks is rare
RESAMPLES = 2_000  # of networks and images
_KEY = ["method", "variant", "arm"]


class NetworkLines(
    Frame,
    text="method variant arm kind what",
    counts="pairs networks",
    estimates="above_control above_centre difference",
    numbers="p_orders p_within",
):
    """Kind kinship: what is above control of pairs of a kinship; difference: how much more than of less related pairs.

    capacity: from smaller networks to larger ones, less back. likeness: what a standard deviation of it adds.
    beside: a source that is no target, guesses: one that names images no better than a guess; networks of as many
    parameters, else all, less it. p_orders: of the difference, among all networks (size, capacity: architectures of as
    many trainings); p_within: among those of one architecture (itself) or family.
    """


@dataclass(frozen=True, eq=False)
class Grid:
    """n networks, each shown what each keeps, in an order that hangs on numbers alone, so that names change nothing."""

    names: list[str]
    family: np.ndarray  # n, codes
    parameters: np.ndarray  # n
    above: Resampled  # (1 + draws, n, n), sources by targets; the diagonal may be NaN
    centre: Resampled  # the same, above the centred box; NaN where that has not run
    trainings: np.ndarray | int = 1  # of how many networks each is the mean: others would vary less or more

    @cached_property
    def architecture(self) -> np.ndarray:
        """Codes: networks of one family and one number of parameters."""
        unknown = -1 - np.arange(len(self.names))  # sizes of their own
        sizes = np.where(np.isnan(self.parameters), unknown, self.parameters)
        return _codes(self.family, sizes)

    @cached_property
    def distance(self) -> np.ndarray:
        """(n, n), positions in KINSHIPS."""
        same = [codes[:, None] == codes for codes in (self.family, self.architecture, np.arange(len(self.names)))]
        return 3 - np.sum(same, axis=0)

    @cached_property
    def weights(self) -> np.ndarray:
        """Of pairs, (1 + draws, n, n): all 1, then products of what the two networks weigh (D. Rubin 1981).

        What a network weighs is its architecture's draw, once a pair, times its own where others share that: a second
        seed is a network, but no second architecture.
        """
        count, codes = min(len(self.above) - 1, RESAMPLES), self.architecture
        generator = np.random.default_rng(0)
        of_architecture = generator.exponential(size=(count, codes.max() + 1))[:, codes]
        own = np.where(np.bincount(codes)[codes] > 1, generator.exponential(size=of_architecture.shape), 1)
        of_network = of_architecture * own
        pairs = of_network[:, :, None] * of_network[:, None, :]
        pairs = np.where(codes[:, None] == codes, pairs / of_architecture[:, :, None], pairs)
        itself = np.arange(len(codes))
        pairs[:, itself, itself] = of_network
        return np.concatenate([np.ones((1, *pairs.shape[1:])), pairs])

    def mean(self, numbers: Resampled, pairs: np.ndarray) -> Resampled:
        """Of numbers (draws, n, n) over the pairs (n, n), bool: (draws,)."""
        weights = self.weights[:, pairs]
        return ratio((weights * numbers[: len(weights), pairs]).sum(1), weights.sum(1))

    def adjusted(self, x: np.ndarray, pairs: np.ndarray) -> Resampled:
        """The coefficient of x (n, n) in above = source + target + x over the pairs, (draws,); NaN if there is none."""
        ends = _ends(pairs)
        ends = ends[:, ends.any(0)][:, :-1]  # the last target's follows from the others
        design = np.hstack([ends, x[pairs][:, None]])
        if np.linalg.matrix_rank(design) < design.shape[1]:
            return np.full(len(self.weights), np.nan)
        weights = self.weights[:, pairs]
        products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
        squares = (weights @ products).reshape(len(weights), design.shape[1], design.shape[1])
        sums = (weights * self.above[: len(weights), pairs]) @ design
        return np.linalg.solve(squares, sums[:, :, None])[:, -1, 0]

    def without_ends(self, pairs: np.ndarray) -> np.ndarray:
        """What source and target leave of above over the pairs, (n, n); 0 elsewhere."""
        ends, numbers = _ends(pairs), self.above[0, pairs]
        left = np.zeros(pairs.shape)
        left[pairs] = numbers - ends @ np.linalg.lstsq(ends, numbers, rcond=None)[0]
        return left

    @cached_property
    def of_architectures(self) -> "Grid":
        """The means over the networks of two architectures: what is asked of sizes and families has these for units."""
        first, counts = np.unique(self.architecture, return_index=True, return_counts=True)[1:]
        members = self.architecture[:, None] == np.arange(len(first))
        sums = members.T @ np.where(self.distance > 1, self.above[:1], 0) @ members
        means = sums / np.outer(counts, counts)
        names = [self.names[at] for at in first]
        return Grid(names, self.family[first], self.parameters[first], means, means, counts)


class KinPairs(Frame, text="method variant source target family kinship", numbers="above_control"):
    """A line per pair of a grid; family: the source's."""


def kin_pairs(comparison: Comparison, arm: str) -> KinPairs:
    """What the lines of kind kinship are means of."""
    cells = comparison.cells
    families = dict(zip(cells["source"], cells["family"], strict=True))
    lines = []
    for key, grid, _ in _grids(comparison, guessing_sources(comparison)):
        pairs = np.argwhere(~np.isnan(grid.above[0])) if key[-1] == arm else ()
        for source, target in pairs:
            names = grid.names[source], grid.names[target]
            kinship = KINSHIPS[grid.distance[source, target]]
            lines.append((*key[:2], *names, families[names[0]], kinship, grid.above[0, source, target]))
    return KinPairs.of_lines(lines)


def networks(comparison: Comparison, measures: Mapping[str, Any]) -> NetworkLines:
    """Of each method and feature arm for which MIN_NETWORKS or more are both sources and targets, each with each.

    measures: by name, of two networks how alike they are: a frame with columns first, second, method, variant, value.
    """
    lines: list[dict[str, Any]] = []
    guesses = guessing_sources(comparison)
    for key, grid, others in _grids(comparison, guesses):
        named = dict(zip(_KEY, key, strict=True))
        alike = {name: _alike(grid.names, frame, named) for name, frame in measures.items()}
        parts = (_kinships(grid), _capacity(grid), _likeness(grid, alike), _beside(comparison, grid, others, guesses))
        lines += [named | line for line in chain(*parts)]
    return NetworkLines.of_lines(lines)


def _grids(comparison: Comparison, guesses: set[str]) -> Iterator[tuple[tuple[str, ...], Grid, Any]]:
    """Of each method and feature arm its grid, and the cells of sources beside it: those that guess, and no targets."""
    of_one: Any = comparison.cells[comparison.cells["arm"].map(is_feature) & (comparison.cells["voters"] == "")]
    for key, part in of_one.assign(position=of_one.index).groupby(_KEY, sort=False):
        if (grid := grid_of(comparison, part[~part["source"].isin(guesses)])) is not None:
            yield key, grid, part[part["source"].isin(guesses) | ~part["source"].isin(part["target"])]


def grid_of(comparison: Comparison, part: Any) -> Grid | None:
    """Of one method and arm's cells; networks that lack most pairs are left out until none is lacking."""
    names = [name for name in dict.fromkeys(part["source"]) if name in set(part["target"])]
    at = part.pivot(index="source", columns="target", values="position").reindex(names, columns=names)
    at = at.fillna(-1).to_numpy(int)
    facts = part.drop_duplicates("source").set_index("source")
    known = ~np.isnan(at_positions(comparison.above_control[:1], at)[0])
    kept = _complete(known | np.eye(len(names), dtype=bool))
    if len(kept) < MIN_NETWORKS:
        return None
    numbers = np.nan_to_num(at_positions(comparison.above_control[:1], at[np.ix_(kept, kept)])[0])
    facts = facts.loc[[names[network] for network in kept]]
    order = np.lexsort((numbers.sum(0), numbers.sum(1), facts["source_parameters"]))
    facts, kept = facts.iloc[order], kept[order]
    families = facts["family"].where(facts["family"] != "", "\0" + facts.index)  # of no known family: of its own
    sizes = facts["source_parameters"].to_numpy(float)
    return Grid([*facts.index], pd.factorize(families)[0], sizes, *_above(comparison, at[np.ix_(kept, kept)]))


def _above(comparison: Comparison, at: np.ndarray) -> tuple[Resampled, Resampled]:
    """What cells are above their control, and above the centred box; -1 is no cell."""
    retention, above = (each[: 1 + RESAMPLES] for each in (comparison.retention, comparison.above_control))
    of_centre = at_positions(retention, np.where(at >= 0, comparison.centre_position[at], -1))
    return at_positions(above, at), at_positions(retention, at) - of_centre


def _complete(known: np.ndarray) -> np.ndarray:
    """Which of n networks are left when that with the most pairs unknown goes, again and again, until all are known."""
    kept = np.arange(len(known))
    while not (pairs := known[np.ix_(kept, kept)]).all():
        kept = np.delete(kept, np.argmax((~pairs).sum(0) + (~pairs).sum(1)))
    return kept


def _alike(names: list[str], frame: Any, named: Mapping[str, str]) -> np.ndarray:
    """(n, n), both ways round; NaN where it is not known."""
    numbers = np.full((len(names), len(names)), np.nan)
    place = {name: number for number, name in enumerate(names)}
    chosen = frame[(frame["method"] == named["method"]) & (frame["variant"] == named["variant"])]
    for first, second, value in chosen[["first", "second", "value"]].itertuples(index=False):
        if first in place and second in place:
            numbers[place[first], place[second]] = numbers[place[second], place[first]] = value
    return numbers


def _kinships(grid: Grid) -> Iterator[dict[str, Any]]:
    for distance, name in enumerate(KINSHIPS):
        pairs, others = grid.distance == distance, grid.distance >= distance
        if not pairs.any() or np.isnan(grid.above[0, pairs]).any():
            continue
        line = _line(grid, "kinship", name, pairs)
        if (others & ~pairs).any():
            line |= _estimates(difference=grid.adjusted(pairs.astype(float), others))
            # itself: targets alone change places, for where all do a network stays before itself
            units, alone = grid.of_architectures if name == "size" else grid, name == "itself"
            left, x = units.without_ends(units.distance >= distance), units.distance == distance
            within = {"itself": grid.architecture, "seed": grid.family}.get(name)
            line |= _ps(units, left, x.astype(float), within, alone)
        yield line


def _capacity(grid: Grid) -> Iterator[dict[str, Any]]:
    """No source and target are taken out here: what larger networks give and take is the question."""
    units = grid.of_architectures
    for name, is_kin in (("family", lambda distance: distance == 2), ("any", lambda distance: distance >= 2)):
        up, up_of_units = (
            (each.parameters[:, None] < each.parameters) & is_kin(each.distance) for each in (grid, units)
        )
        if up.any():
            difference = grid.mean(grid.above, up) - grid.mean(grid.above, up.T)
            x = up_of_units.astype(float) - up_of_units.T
            yield (
                _line(grid, "capacity", name, up)
                | _estimates(difference=difference)
                | _ps(units, units.above[0], x, units.family)
            )


def _likeness(grid: Grid, alike: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    others = grid.distance > 0
    for name, numbers in alike.items():
        if np.isfinite(numbers[others]).all() and np.ptp(numbers[others]) > 0:
            x = np.where(others, (numbers - numbers[others].mean()) / numbers[others].std(), 0)
            line = _line(grid, "likeness", name, others) | _estimates(difference=grid.adjusted(x, others))
            yield line | _ps(grid, grid.without_ends(others), x, grid.family)


def _beside(comparison: Comparison, grid: Grid, part: Any, guesses: set[str]) -> Iterator[dict[str, Any]]:
    """Sources that are none of the grid's networks, each shown to all of them, beside networks of their size."""
    weights = np.diagonal(grid.weights, axis1=1, axis2=2)  # of each network as a target
    for source, lines in part.groupby("source"):
        at = lines.set_index("target")["position"].reindex(grid.names)
        if at.notna().all():
            numbers = [each[: len(weights)] for each in _above(comparison, at.to_numpy(int))]
            above, above_centre = (ratio((weights * each).sum(1), weights.sum(1)) for each in numbers)
            alike = grid.parameters == lines["source_parameters"].iloc[0]
            of_networks = grid.mean(grid.above, (alike if alike.any() else ~alike)[:, None] & (grid.distance > 0))
            kind = "guesses" if source in guesses else "beside"
            line = {"kind": kind, "what": source, "pairs": len(at), "networks": len(at) + 1}
            line |= _estimates(above_control=above, above_centre=above_centre, difference=of_networks - above)
            yield line | {"p_orders": math.nan, "p_within": math.nan}


def _estimates(**draws: Resampled) -> dict[str, float]:
    columns = estimates(**{name: numbers[:, None] for name, numbers in draws.items()})
    return {name: float(value[0]) for name, value in columns.items()}


def _line(grid: Grid, kind: str, what: str, pairs: np.ndarray) -> dict[str, Any]:
    facts = {"kind": kind, "what": what, "pairs": int(pairs.sum()), "networks": int((pairs | pairs.T).any(0).sum())}
    means = {"above_control": grid.mean(grid.above, pairs), "above_centre": grid.mean(grid.centre, pairs)}
    return facts | _estimates(**means, difference=np.full(1, np.nan)) | {"p_orders": np.nan, "p_within": np.nan}


def _ps(
    units: Grid, left: np.ndarray, x: np.ndarray, within: np.ndarray | None, targets_alone: bool = False
) -> dict[str, float]:
    alike = np.broadcast_to(units.trainings, len(x))
    p_orders = relabelling_p(left, x, alike, targets_alone)
    p_within = math.nan if within is None else relabelling_p(left, x, _codes(alike, within), targets_alone)
    return {"p_orders": p_orders, "p_within": p_within}


def _codes(*columns: np.ndarray) -> np.ndarray:
    """A number for each combination."""
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].reshape(-1)


def _ends(pairs: np.ndarray) -> np.ndarray:
    """A column for each source and each target of the pairs, (pairs, 2n)."""
    source, target = np.nonzero(pairs)
    n = len(pairs)
    return np.hstack([np.eye(n)[source], np.eye(n)[target]])
