"""How metrics order attribution methods, and whether they agree: means, ranks, rank correlations, with intervals.

Nothing here makes one number of several metrics. Intervals are those of statistics.inference, the same resamples for
every cell and metric; methods, networks and maps are held fixed.
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from harmonia.results.frames import Frame
from harmonia.results.gathered import EXPLAINER, Explainers
from harmonia.results.gathered_scores import Metrics, ScoredMaps
from harmonia.statistics.inference import NUM_RESAMPLES, Resampled, interval, ratio, resamples, strata
from harmonia.statistics.ranks import MIN_SIGNIFICANT, image_correlations, mean_over_cells, mean_ranks, spearman


class RankedMethods(Explainers, text="metric better", estimates="value rank"):
    """A line per cell and metric that has run: its mean, and its rank among the source's methods, 1 is best."""

    methods: int  # how many the rank is among
    rank_images: int  # those that all of these methods have
    images: int  # with the score
    undefined: int  # images without it


class MetricAgreement(Frame, text="first second", estimates="rho"):
    """A line per pair of metrics, turned so that more is better."""


class AgreementOverMethods(MetricAgreement, text="source", counts="methods"):
    """Of each source; NaN where fewer than MIN_SIGNIFICANT methods have both."""


class AgreementOverImages(MetricAgreement):
    """Mean over cells."""

    cells: int  # in which MIN_IMAGES images or more have both


def resampled_means(scores: ScoredMaps) -> Resampled:
    """Each cell's mean of each metric over the images that have it, (1 + resamples, cells, metrics)."""
    columns = scores.values.reshape(len(scores.image_ids), -1)
    # equal columns have the same mean, bit for bit: a product of matrices does not promise it, and ranks would follow
    values, inverse = np.unique(np.nan_to_num(columns, nan=np.inf), axis=1, return_inverse=True)
    has_value = np.isfinite(values)
    filled = np.where(has_value, values, 0)
    blocks = []
    for counts in resamples(strata(scores.labels), NUM_RESAMPLES):
        counts = counts.astype(float)
        blocks.append(ratio(counts @ filled, counts @ has_value.astype(float)))
    return np.concatenate(blocks)[:, inverse.reshape(-1)].reshape(-1, *scores.values.shape[1:])


def comparable(scores: ScoredMaps) -> ScoredMaps:
    """The scores of the images that all of a source's methods have by the metric, NaN elsewhere.

    Means over different images do not compare: a method without a score of the hard ones would win. Methods without
    any score of the metric have no say.
    """
    values = scores.values.copy()
    for places in scores.cells.groupby("source", sort=False).indices.values():
        part = values[:, places]
        lacking = np.any(np.isnan(part) & ~np.all(np.isnan(part), axis=0), axis=1, keepdims=True)
        values[:, places] = np.where(lacking, np.nan, part)
    return replace(scores, values=values)


def oriented(scores: ScoredMaps, numbers: np.ndarray) -> np.ndarray:
    """Numbers (..., metrics) turned so that more is better; those of metrics that judge nothing stay."""
    return numbers * np.where(scores.metrics["better"] == "lower", -1.0, 1.0)


def resampled_ranks(scores: ScoredMaps, means: Resampled) -> Resampled:
    """Each cell's rank among its source's methods by each metric: 1 is best, ties share a mean rank.

    NaN for metrics that describe and do not judge, without a mean, and where a source has one method.
    """
    ranks = np.full(means.shape, np.nan)
    judging = (scores.metrics["better"] != "").to_numpy()
    for places in scores.cells.groupby("source", sort=False).indices.values():
        for metric in np.flatnonzero(judging):
            ran = places[~np.isnan(means[0, places, metric])]
            if len(ran) > 1:
                part = -oriented(scores, means[..., ran, :])[..., metric]
                # a resample without any defined image of one method ranks nothing
                ranks[:, ran, metric] = mean_ranks(part)
    return ranks


def ranking(scores: ScoredMaps) -> RankedMethods:
    """What each metric says of each cell, with 95 % intervals."""
    alike = comparable(scores)
    ranks = resampled_ranks(alike, resampled_means(alike))
    values, places = interval(resampled_means(scores)), interval(ranks)
    defined, compared = ((~np.isnan(of_all.values)).sum(0) for of_all in (scores, alike))
    unscored = scores.reasons.groupby(["cell", "metric"])["images"].sum().to_dict()
    lines = []
    for at, images in np.ndenumerate(defined):
        explainer, metric = scores.cells.iloc[at[0]], scores.metrics[Metrics.columns_of()].iloc[at[1]]
        undefined = unscored.get((at[0], metric["metric"]), 0)
        if images + undefined:  # else it has not run
            of_source = (scores.cells["source"] == explainer["source"]).to_numpy()
            methods = (~np.isnan(ranks[0, of_source, at[1]])).sum()
            counts = (methods, compared[at], images, undefined)
            lines.append((*explainer[EXPLAINER], *metric, *values[at], *places[at], *counts))
    return RankedMethods.of_lines(lines)


class RankSpread(
    Explainers, numbers="best worst spread", text="best_by worst_by", counts="fewest_methods most_methods metrics"
):
    """Places are (rank - 1) / (methods - 1), 0 the best, 1 the last: metrics may rank different numbers of methods."""


def rank_spread(lines: RankedMethods) -> RankSpread:
    """Of each source's method its best and worst place over the metrics, and which metrics these are; no mean."""
    ranked = lines[lines["rank"].notna()]
    ranked = ranked.assign(place=(ranked["rank"] - 1) / (ranked["methods"] - 1))
    spread = []
    for names, part in ranked.groupby(EXPLAINER, sort=False):
        best, worst = part["place"].min(), part["place"].max()
        metrics = (", ".join(part.loc[part["place"] == place, "metric"]) for place in (best, worst))
        counts = part["methods"].min(), part["methods"].max(), len(part)
        spread.append((*names, best, worst, worst - best, *metrics, *counts))
    return RankSpread.of_lines(spread)


def agreement_over_methods(scores: ScoredMaps) -> AgreementOverMethods:
    """Spearman's rho of each two metrics' means over comparable images, over the methods of a source.

    The interval says what other images would give, not other methods.
    """
    means = oriented(scores, resampled_means(comparable(scores)))
    lines = []
    for source, places in scores.cells.groupby("source", sort=False).indices.items():
        for pair in combinations(range(means.shape[2]), 2):
            methods = places[~np.isnan(means[0][places][:, pair]).any(1)]
            rhos = np.full(len(means), np.nan)
            if len(methods) >= MIN_SIGNIFICANT:
                rhos = spearman(*(means[:, methods, metric] for metric in pair))
            names = scores.metrics["metric"].iloc[list(pair)]
            lines.append((source, *names, *interval(rhos), len(methods)))
    columns = ["source", *MetricAgreement.columns_of(), "methods"]
    return AgreementOverMethods.checked(pd.DataFrame(lines, columns=columns))


def agreement_over_images(scores: ScoredMaps) -> AgreementOverImages:
    """Spearman's rho of each two metrics over the images of a cell, its mean over cells."""
    rhos = image_correlations(scores.labels, oriented(scores, scores.values))
    lines = [
        (*scores.metrics["metric"].iloc[list(pair)], *mean_over_cells(rhos[:, :, *pair]))
        for pair in combinations(range(len(scores.metrics)), 2)
    ]
    return AgreementOverImages.of_lines(lines)
