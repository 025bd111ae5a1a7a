"""Do networks agree on where to look? Maps of two sources for the same image and class, side by side.

Disagreement by ranks and by top features: S. Krishna, T. Han, A. Gu et al. 2022, https://arxiv.org/abs/2202.01602,
section 3. Between networks: the reproducibility of N. Arun et al. 2021, https://arxiv.org/abs/2008.02766. What an
agreement is worth shows beside floors: what a map shares with the other source's maps of other images, with the centre
of the image, and with random blobs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, groupby
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import area_of
from harmonia.draws import BLOB_CELLS, Purpose, smooth_noise
from harmonia.results.frames import Frame
from harmonia.results.maps import REGION_SIDE, SIDE, SmallMaps
from harmonia.results.tracking import evenly_spaced
from harmonia.statistics import inference
from harmonia.statistics.comparison import Comparison
from harmonia.statistics.inference import Resampled, at_positions, estimates, group_means, ratio, resamples, strata
from harmonia.statistics.ranks import image_correlations, mean_over_cells, mean_ranks, transfer_correlations

MOST_OTHERS = 100  # maps of other images, and random blobs, that a map is held against
NUMBERS = ("rho", "rho_another", "rho_centre", "rho_blobs", "iou", "iou_another", "iou_centre", "iou_blobs")
_IMAGES_AT_ONCE = 256
Likeness = Callable[..., np.ndarray]  # of sums of products, of first, of second


class MapAgreement(
    Frame,
    text="kind method variant first second arm",
    counts="pairs images unlike_class unranked",
    numbers="rho_another rho_centre rho_blobs iou_another iou_centre iou_blobs",
    estimates="rho rho_above_another rho_above_centre iou iou_above_another iou_above_centre "
    "rho_named iou_named rho_shown iou_shown above_control",
):
    """A line per pair of sources (kind networks), and the mean over the pairs of two families (kind families).

    unlike_class: images whose sources explained different classes; unranked: those of which a map ranks nothing. NAME_
    named, NAME_shown: over images, the rank correlation of agreement with naming the class on the feature, and with its
    probability there above the control's.
    """

    random_weights: bool  # of one of the two
    within_family: bool


class MapCorrelations(Frame, text="method variant measure", numbers="rho low high p pairs models"):
    """Over pairs of networks, of a measure of agreement (rho, iou) with transfer above control; bounds of 95 %."""


@dataclass(frozen=True, eq=False)
class SourceMaps:
    """One source's maps for the n images of a setting, and what other networks made of them."""

    source: str
    method: str
    variant: str
    family: str  # "" where none is named
    random_weights: bool
    maps: SmallMaps
    map_of: np.ndarray  # n, rows of maps, -1 for none
    flagged: np.ndarray  # n, bool: the map ranks nothing
    explained: np.ndarray  # n, codes of classes, the same for all sources
    # by target (n, 2): 1 where it names the explained class on the feature, else 0; its probability above the control's
    answers: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class _Pair:
    first: SourceMaps
    second: SourceMaps
    numbers: np.ndarray  # n 8, NUMBERS of each image, NaN where it does not count
    unlike_class: int
    unranked: int

    @property
    def directions(self) -> tuple[tuple[SourceMaps, SourceMaps], ...]:
        return (self.first, self.second), (self.second, self.first)

    def foretelling(self) -> Iterator[np.ndarray]:
        """Of each direction rho, iou and the target's answers, (n, 4)."""
        for source, target in self.directions:
            answers = source.answers.get(target.source, np.full((len(self.numbers), 2), np.nan))
            counted = ~np.isnan(self.numbers[:, :1])
            yield np.hstack([self.numbers[:, [0, 4]], np.where(counted, answers, np.nan)])


def map_agreement(comparison: Comparison, sources: Sequence[SourceMaps], labels: np.ndarray, arm: str) -> MapAgreement:
    """Of every two sources with one method. labels: of the images, as text. arm: whose area, and whose transfer."""
    ordered = sorted(sources, key=lambda each: (each.method, each.variant, each.source))
    pairs = [
        _pair(*two, arm)
        for _, of_method in groupby(ordered, key=lambda each: (each.method, each.variant))
        for two in combinations(of_method, 2)
    ]
    if not pairs:
        return MapAgreement.of_lines()
    numbers = np.stack([pair.numbers for pair in pairs], 1)
    known = ~np.isnan(numbers).all((1, 2))
    draws = _mean_draws(numbers[known], strata(labels[known])) if known.any() else np.full((1, len(pairs), 8), np.nan)
    answered = np.stack([values for pair in pairs for values in pair.foretelling()], 1)
    foretold = image_correlations(labels[known], answered[known])[:, :, :2, 2:]  # draws, directions, rho iou, answers
    above = at_positions(comparison.above_control, _cells(comparison, pairs, arm))
    lines, groups = _lines(pairs, arm)
    both_ways = [np.concatenate([2 * group, 2 * group + 1]) for group in groups]
    means = [group_means(draws[..., at], groups)[0] for at in range(len(NUMBERS))]
    rho, rho_another, rho_centre, _, iou, iou_another, iou_centre, _ = means
    columns = estimates(
        rho=rho,
        rho_above_another=rho - rho_another,
        rho_above_centre=rho - rho_centre,
        iou=iou,
        iou_above_another=iou - iou_another,
        iou_above_centre=iou - iou_centre,
        above_control=group_means(above, both_ways)[0],
    )
    columns |= {name: of_lines[0] for name, of_lines in zip(NUMBERS, means, strict=True) if "_" in name}
    for at, name in enumerate(("rho_named", "rho_shown", "iou_named", "iou_shown")):
        bounds = [mean_over_cells(foretold[:, group, at // 2, at % 2])[:3] for group in both_ways]
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), np.array(bounds).T, strict=True))
    return MapAgreement.checked(pd.DataFrame(lines).assign(**columns))


def agreement_correlations(agreement: MapAgreement) -> MapCorrelations:
    """How transfer between two networks goes with the agreement of their maps; of MIN_SIGNIFICANT pairs or more.

    Networks of random weights are left out: they would decide rho alone.
    """
    pairs: Any = agreement[(agreement["kind"] == "networks") & ~agreement["random_weights"]]
    lines = []
    for names, part in pairs.groupby(["method", "variant"], sort=False):
        lines += [(*names, *line) for line in transfer_correlations(part, ("first", "second"), ("rho", "iou"))]
    return MapCorrelations.of_lines(lines)


def _lines(pairs: Sequence[_Pair], arm: str) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """What each line is about, and the positions of its pairs: every pair, then families with two or more."""
    of_families: dict[tuple[str, ...], list[int]] = {}
    for at, pair in enumerate(pairs):
        families = sorted([pair.first.family, pair.second.family])
        if all(families) and not (pair.first.random_weights or pair.second.random_weights):
            of_families.setdefault((pair.first.method, pair.first.variant, *families), []).append(at)
    named: list[tuple[str, ...]] = [
        ("networks", p.first.method, p.first.variant, p.first.source, p.second.source) for p in pairs
    ]
    groups = [[at] for at in range(len(pairs))]
    for key, group in of_families.items():
        if len(group) > 1:
            named.append(("families", *key))
            groups.append(group)
    lines = []
    for names, group in zip(named, groups, strict=True):
        members = [pairs[at] for at in group]
        first, second = members[0].first, members[0].second
        lines.append(
            dict(zip(("kind", "method", "variant", "first", "second"), names, strict=True))
            | {
                "arm": arm,
                "pairs": len(group),
                "images": sum(int((~np.isnan(pair.numbers[:, 0])).sum()) for pair in members),
                "unlike_class": sum(pair.unlike_class for pair in members),
                "unranked": sum(pair.unranked for pair in members),
                "random_weights": first.random_weights or second.random_weights,
                "within_family": first.family == second.family != "",
            }
        )
    return lines, [np.array(group) for group in groups]


def _cells(comparison: Comparison, pairs: Sequence[_Pair], arm: str) -> np.ndarray:
    """Where the transfer of each direction of each pair stands among the cells, -1 for nowhere."""
    keys = [
        {"source": source.source, "method": source.method, "variant": source.variant, "target": target.source}
        for pair in pairs
        for source, target in pair.directions
    ]
    return comparison.positions(pd.DataFrame(keys).assign(arm=arm))


def _mean_draws(numbers: np.ndarray, strata_of: np.ndarray) -> Resampled:
    """Means over the images that count, of the images (n, pairs, 8) and of each resample: (draws, pairs, 8)."""
    columns = numbers.reshape(len(numbers), -1)
    known = (~np.isnan(columns)).astype(float)
    columns = np.nan_to_num(columns)
    blocks = [ratio(counts @ columns, counts @ known) for counts in resamples(strata_of, inference.NUM_RESAMPLES)]
    return np.concatenate(blocks).reshape(-1, *numbers.shape[1:])


def _pair(first: SourceMaps, second: SourceMaps, arm: str) -> _Pair:
    numbers = np.full((len(first.map_of), len(NUMBERS)), np.nan)
    both = (first.map_of >= 0) & (second.map_of >= 0)
    same = both & (first.explained == second.explained)
    at = np.flatnonzero(same & ~first.flagged & ~second.flagged)
    boxes = [each.maps.boxes[each.map_of[at]].astype(float) for each in (first, second)]
    # left, top, right, bottom of what both see
    common = np.hstack([np.maximum(*boxes)[:, :2], np.minimum(*boxes)[:, 2:]])
    seen = (common[:, :2] < common[:, 2:]).all(1)
    at, common = at[seen], common[seen]
    ranks = [_unit_ranks(each.maps.soft_in(common, each.map_of[at])) for each in (first, second)]
    ranked = ~np.isnan(ranks).any((0, 2))
    at, common, ranks = at[ranked], common[ranked], [of[ranked] for of in ranks]
    if len(at):
        # Spearman's rho, of ranks of mean 0 and length 1; intersection over union
        numbers[at, :4] = _beside_floors(ranks[0], ranks[1], lambda shared, *_: shared, *_floors(SIDE))
        regions = [each.maps.region_in(common, each.map_of[at], arm) for each in (first, second)]
        if regions[0] is not None and regions[1] is not None:
            floors = _floors(REGION_SIDE, area_of(arm) or 0)
            numbers[at, 4:] = _beside_floors(_flat(regions[0]), _flat(regions[1]), _iou, *floors)
    return _Pair(first, second, numbers, int((both & ~same).sum()), int(same.sum()) - len(at))


def _iou(shared: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ratio(shared, first + second - shared)


def _beside_floors(
    first: np.ndarray, second: np.ndarray, likeness: Likeness, centre: np.ndarray, blobs: np.ndarray
) -> np.ndarray:
    """Of each image how alike its two maps (n, places) are, and what each floor comes to, the mean of both: (n, 4)."""
    others = np.array(evenly_spaced(len(first), MOST_OTHERS))
    blocks = []
    for start in range(0, len(first), _IMAGES_AT_ONCE):
        images = np.arange(start, min(start + _IMAGES_AT_ONCE, len(first)))
        two = [each[images].astype(np.float32) for each in (first, second)]
        sums = [each.sum(1) for each in two]

        def against(maps: Sequence[np.ndarray], two: Any = two, sums: Any = sums) -> np.ndarray:
            """Both ways, the mean: (images, maps)."""
            first, second = (
                likeness(one @ other.T.astype(np.float32), of_one[:, None], other.sum(1, dtype=np.float32))
                for one, of_one, other in zip(two, sums, maps, strict=True)
            )
            return (first + second) / 2

        itself = images[:, None] == others
        another = np.where(itself, 0, against([second[others], first[others]]))
        columns = (
            likeness((two[0] * two[1]).sum(1), *sums),
            ratio(another.sum(1), (~itself).sum(1)),
            against([centre, centre])[:, 0],
            against([blobs, blobs]).mean(1),
        )
        blocks.append(np.stack(columns, 1))
    return np.concatenate(blocks)


@cache
def _floors(side: int, area: float | None = None) -> list[np.ndarray]:
    """Of maps that know nothing, the nearer to the middle the higher (a box), and random blobs: ranks, or the regions
    of an area, both (m, places) of side x side.
    """
    offset = np.abs((np.arange(side) + 0.5) / side - 0.5)
    places = np.arange(side) * BLOB_CELLS // side
    blobs = [smooth_noise(0, number, Purpose.MAP_AGREEMENT)[places][:, places] for number in range(MOST_OTHERS)]
    maps = -np.maximum(offset[:, None], offset)[None], np.stack(blobs)
    return [_unit_ranks(each) if area is None else _highest(each, area) for each in maps]


def _highest(maps: np.ndarray, area: float) -> np.ndarray:
    """The share of the places of maps (m, side, side) with the highest values, of equal ones the first: (m, places)."""
    values = _flat(maps)
    region = np.zeros(values.shape, bool)
    order = np.argsort(-values, axis=1, kind="stable")
    np.put_along_axis(region, order[:, : round(area * values.shape[1])], True, axis=1)
    return region


def _unit_ranks(maps: np.ndarray) -> np.ndarray:
    """Ranks (m, places) of maps (m, side, side), of mean 0 and length 1: a product is rho; NaN of a flat map."""
    ranks = mean_ranks(_flat(maps))
    ranks -= (ranks.shape[1] + 1) / 2
    return ratio(ranks, np.sqrt((ranks**2).sum(1, keepdims=True)))


def _flat(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(len(maps), maps.shape[1] * maps.shape[2])
