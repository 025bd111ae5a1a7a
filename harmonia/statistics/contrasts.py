"""What the cells of one comparison say together: arms and controls, targets, methods, families, sizes.

Intervals are over images. The networks are those that ran: no interval speaks of others.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from harmonia import arms
from harmonia.results.frames import Frame
from harmonia.results.gathered import EXPLAINER, Explainers
from harmonia.statistics.comparison import CellEstimates, Comparison, cell_estimates, judges
from harmonia.statistics.inference import Resampled, at_positions, estimates, exact_mcnemar, group_means, holm, ratio

ALL_SOURCES = "all"


class MeanTransfer(
    Explainers, text="arm", estimates="retention control_retention above_control centre_retention above_centre"
):
    """centre_retention: of the centre box of the same area, which knows where photographers point."""

    random_weights: bool
    cells: int  # that a mean is over
    images: int  # the most that one of them has
    kept_area: float


def mean_transfer(comparison: Comparison) -> MeanTransfer:
    """Retention, the control's and the difference, mean over the other targets: of all sources, and of each.

    Networks that a source is made of are no other targets.
    Means over all sources are of trained ones, where there are two or more; sources of random weights have means of
    their own. A mean is over the cells that have a matched control, or over all where none has.
    """
    cells = comparison.cells
    transfers = cells[judges(cells) & cells["arm"].map(arms.is_feature)]
    several = transfers.groupby("random_weights")["source"].transform("nunique") > 1
    key = [*EXPLAINER, "arm", "random_weights"]
    grouped = [
        (names, group)
        for frame in (transfers[several].assign(source=ALL_SOURCES), transfers)
        for names, group in frame.groupby(key, sort=False)
    ]
    controlled = ~np.isnan(comparison.above_control[0])
    groups = [group.index.to_numpy() for _, group in grouped]
    positions = [group[controlled[group]] if controlled[group].any() else group for group in groups]
    retention, counts = group_means(comparison.retention, positions)
    of_control = at_positions(comparison.retention, comparison.control_position)
    of_centre = at_positions(comparison.retention, comparison.centre_position)
    columns = estimates(
        retention=retention,
        control_retention=group_means(of_control, positions)[0],
        above_control=group_means(comparison.above_control, positions)[0],
        centre_retention=group_means(of_centre, positions)[0],
        above_centre=group_means(comparison.retention - of_centre, positions)[0],
    )
    kept_area = [cells["kept_area"].iloc[group].mean() for group in positions]
    images = [cells["images"].iloc[group].max() for group in positions]
    keys = pd.DataFrame([names for names, _ in grouped], columns=key)
    return MeanTransfer.checked(keys.assign(cells=counts, images=images, kept_area=kept_area, **columns))


class PairedCells(
    Explainers,
    text="first_target first_arm first_method first_variant second_target second_arm second_method second_variant",
    numbers="first_kept_area second_kept_area only_first only_second p p_holm",
    estimates="difference",
):
    """only_first, only_second: how many images one alone got right; difference: of accuracy, first less second."""


class PairedTests(PairedCells, text="kind"):
    """kind: a feature against its matched control, against the whole image, or in two targets."""


def paired_tests(comparison: Comparison) -> PairedTests:
    """Exact McNemar tests between cells of one source and method, Holm-corrected within each kind of question."""
    cells, kinds = comparison.cells, {}
    features = np.flatnonzero(cells["arm"].map(arms.is_feature))
    for kind, others in (("arm, control", comparison.control_position), ("arm, image", comparison.image_position)):
        kinds[kind] = [(position, others[position]) for position in features if others[position] >= 0]
    same_feature = cells.iloc[features].groupby([*EXPLAINER, "arm"], sort=False).indices.values()
    kinds["target, target"] = [pair for group in same_feature for pair in combinations(features[group], 2)]
    frames = [_paired(comparison, pairs).assign(kind=kind) for kind, pairs in kinds.items() if pairs]
    return PairedTests.checked(pd.concat(frames, ignore_index=True)) if frames else PairedTests.of_lines()


def _paired(comparison: Comparison, pairs: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """One line per pair of cells, over the images that both have; the Holm family is all of them."""
    first, second = np.array(pairs).T
    cells = comparison.cells
    hits = np.where(comparison.judged, comparison.right, np.nan)
    frame = cells.iloc[first][EXPLAINER].reset_index(drop=True)
    for name, chosen in (("first", first), ("second", second)):
        for column in ("target", "arm", "method", "variant", "kept_area"):
            frame[f"{name}_{column}"] = cells[column].to_numpy()[chosen]
    frame = frame.assign(**estimates(difference=_accuracy_differences(comparison, first, second)))
    frame[["only_first", "only_second", "p"]] = [exact_mcnemar(hits[:, a], hits[:, b]) for a, b in pairs]
    return frame.assign(p_holm=holm(frame["p"]))


def _accuracy_differences(comparison: Comparison, first: np.ndarray, second: np.ndarray) -> Resampled:
    judged = comparison.judged[:, first] & comparison.judged[:, second]
    images, *hits = comparison.sums(judged, *(comparison.right[:, cells] & judged for cells in (first, second)))
    return ratio(hits[0] - hits[1], images)


def _retention_differences(comparison: Comparison, first: np.ndarray, second: np.ndarray) -> Resampled:
    """Of cells with one target, over the images that both have; NaN where the whole image has not run or is wrong."""
    image = comparison.image_position[first]
    judged = comparison.judged[:, first] & comparison.judged[:, second] & comparison.judged[:, image] & (image >= 0)
    whole, *hits = comparison.sums(*(comparison.right[:, cells] & judged for cells in (image, first, second)))
    return ratio(hits[0] - hits[1], whole)


class MethodPairs(PairedCells, estimates="retention_difference"): ...


def methods(comparison: Comparison) -> MethodPairs:
    """Method against method on the same source, target, arm and images: first less second, accuracy and retention.

    Behind the single targets comes their mean, the source itself and its networks left out: target "others", no test.
    """
    cells = comparison.cells
    shown = cells[cells["arm"].map(arms.is_feature)]
    pairs = []
    for _, group in shown.groupby(["source", "target", "arm", "random_weights"], sort=False):
        order = group.sort_values(["method", "variant"], ascending=False).index
        pairs += combinations(order, 2)
    if not pairs:
        return MethodPairs.of_lines()
    first, second = np.array(pairs).T
    retention = _retention_differences(comparison, first, second)
    single = _paired(comparison, pairs).assign(**estimates(retention_difference=retention))
    others = judges(cells).to_numpy()[first]
    transfers = single[others].assign(first_target="others", second_target="others")
    key = [*EXPLAINER, "first_target", "second_target", "first_arm", "second_arm"]
    key += ["first_method", "first_variant", "second_method", "second_variant"]
    grouped = transfers.groupby(key, sort=False)
    kept: Any = grouped[["first_kept_area", "second_kept_area"]].mean()
    positions = [group.index.to_numpy() for _, group in grouped]
    columns = estimates(
        difference=group_means(_accuracy_differences(comparison, first, second), positions)[0],
        retention_difference=group_means(retention, positions)[0],
    )
    return MethodPairs.checked(pd.concat([single, kept.reset_index().assign(**columns)], ignore_index=True))


class Capacity(
    Frame,
    text="family small large method variant arm",
    numbers="area_to_larger area_to_smaller",
    estimates="to_larger to_smaller difference above_to_larger above_to_smaller above_difference",
):
    """above_NAME: of what is left above control; area_NAME: what the features keep, different on the two ways."""


def capacity(comparison: Comparison) -> Capacity:
    """Retention from the smaller to the larger network of a family, the way back, and the first less the second.

    Size is the number of parameters, as recorded by the jobs; pairs of which one size is unknown are left out.
    """
    cells = comparison.cells
    shown = cells[
        cells["arm"].map(arms.is_feature)
        & (cells["family"] == cells["target_family"])
        & (cells["source_parameters"] != cells["target_parameters"])
        & cells[["source_parameters", "target_parameters"]].notna().all(axis=1)
        & ~cells["random_weights"]
    ]
    up = shown["source_parameters"] < shown["target_parameters"]
    ends = {"small": shown["source"].where(up, shown["target"]), "large": shown["target"].where(up, shown["source"])}
    key = ["family", "small", "large", "method", "variant", "arm"]
    grouped = list(shown.assign(up=up, **ends).groupby(key, sort=False))
    if not grouped:
        return Capacity.of_lines()
    frame = pd.DataFrame([names for names, _ in grouped], columns=key)
    rising, falling = ([group.index[group["up"] == way].to_numpy() for _, group in grouped] for way in (True, False))
    for prefix, draws in (("", comparison.retention), ("above_", comparison.above_control)):
        to_larger, to_smaller = (group_means(draws, way)[0] for way in (rising, falling))
        columns = {"to_larger": to_larger, "to_smaller": to_smaller, "difference": to_larger - to_smaller}
        frame = frame.assign(**estimates(**{prefix + name: of_lines for name, of_lines in columns.items()}))
    for name, ways in (("area_to_larger", rising), ("area_to_smaller", falling)):
        frame[name] = [cells["kept_area"].iloc[way].mean() for way in ways]
    return Capacity.checked(frame)


class Families(
    Frame,
    text="method variant arm",
    counts="itself_cells within_cells between_cells",
    estimates="itself within between kinship above_kinship",
): ...


def families(comparison: Comparison) -> Families:
    """Mean retention of each method and arm to the source itself, to other networks of its family, to other families.

    kinship, above_kinship: what a common family adds to retention, and to what is left above control, between networks
    of whatever strength: in retention = source + target + kinship, by least squares over the cells of different
    networks. The plain means differ also because other sources and targets stand behind them. NaN where the cells do
    not tell the three apart. Random-weight sources are left out.
    """
    cells = comparison.cells
    shown = cells[cells["arm"].map(arms.is_feature) & ~cells["random_weights"] & ~cells["voted"]]
    itself = shown["source"] == shown["target"]
    kin = (shown["family"] == shown["target_family"]) & (shown["family"] != "")
    key = ["method", "variant", "arm"]
    grouped = list(shown.groupby(key, sort=False))
    if not grouped:
        return Families.of_lines()
    draws, counts = {}, {}
    for kind, chosen in (("itself", itself), ("within", kin & ~itself), ("between", ~kin & ~itself)):
        positions = [group.index[chosen[group.index]].to_numpy() for _, group in grouped]
        draws[kind], counts[f"{kind}_cells"] = group_means(comparison.retention, positions)
    pairs = [group[~itself[group.index]] for _, group in grouped]
    for name, of_cells in (("kinship", comparison.retention), ("above_kinship", comparison.above_control)):
        draws[name] = np.stack([_kinship(part, kin[part.index], of_cells[:, part.index]) for part in pairs], 1)
    keys = pd.DataFrame([names for names, _ in grouped], columns=key)
    return Families.checked(keys.assign(**counts, **estimates(**draws)))


def _kinship(pairs: Any, kin: Any, draws: Resampled) -> Resampled:
    """The coefficient of kin in draws = source + target + kin, over the pairs that are defined, (1 + resamples,)."""
    known = ~np.isnan(draws[0])
    pairs, kin, draws = pairs[known], kin[known], draws[:, known]
    models = np.hstack([pd.get_dummies(pairs[end]).to_numpy(float) for end in ("source", "target")])
    design = np.hstack([models, kin.to_numpy(float)[:, None]])
    if not len(pairs) or np.linalg.matrix_rank(design) == np.linalg.matrix_rank(models):
        return np.full(len(draws), np.nan)
    return draws @ np.linalg.pinv(design)[-1]


class ControlledCells(CellEstimates, others=float):
    """Besides, KIND_retention of each kind of control, and its bounds."""


def controls(comparison: Comparison) -> ControlledCells:
    """Every feature arm beside the controls of its area."""
    lines = cell_estimates(comparison)
    features = lines[lines["arm"].map(arms.is_feature)].reset_index(drop=True)
    others = dict.fromkeys(arms.kind_of(arms.by_pixel(arm)) for arm in lines["arm"] if arms.is_control(arm))
    for kind in [kind for kind in others if kind not in (arms.DIM_ARM, arms.BLOBS)]:
        at = comparison.positions(features.assign(arm=[arms.same_area(arm, kind) for arm in features["arm"]]))
        features = features.assign(**estimates(**{f"{kind}_retention": at_positions(comparison.retention, at)}))
    return ControlledCells.checked(features)


def model_order(comparison: Comparison) -> list[str]:
    """The models of a comparison by family, size and name."""
    cells, head = comparison.cells, ["name", "family", "size"]
    sources = cells[["source", "family", "source_parameters"]].set_axis(head, axis=1)
    targets = cells[["target", "target_family", "target_parameters"]].set_axis(head, axis=1)
    models: Any = pd.concat([sources, targets]).drop_duplicates("name")
    return models.sort_values(["family", "size", "name"])["name"].tolist()


class TargetsBeside(Explainers, text="arm", others=float):
    """A column per target, named as it is, and its bounds; NaN where none has run."""

    random_weights: bool


def matrix(comparison: Comparison, arm: str, above_control: bool = False) -> TargetsBeside:
    """Retention of an arm, a line per method and source.

    above_control: what is left of it above the matched control instead. Models stand by family, size and name, in the
    same order on both axes.
    """
    order = model_order(comparison)
    chosen = comparison.cells[comparison.cells["arm"] == arm]
    lines = chosen[[*EXPLAINER, "random_weights"]].drop_duplicates().assign(arm=arm)
    lines = lines.sort_values("source", key=lambda names: names.map(order.index), kind="stable")
    lines = lines.sort_values(["method", "variant"], kind="stable", ignore_index=True)
    targets = [name for name in order if name in set(comparison.cells["target"])]
    draws = comparison.above_control if above_control else comparison.retention
    for target in targets:
        at = comparison.positions(lines.assign(target=target))
        lines = lines.assign(**estimates(**{target: at_positions(draws, at)}))
    # where no control has run there is nothing above it
    return TargetsBeside.checked(lines[lines[targets].notna().any(axis=1)] if above_control else lines)
