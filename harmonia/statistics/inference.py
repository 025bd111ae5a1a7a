"""Intervals and tests for numbers that share their images: paired bootstrap, McNemar, Holm.

Bootstrap: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13 (percentile interval).
Every class is resampled within itself at its own size, as the data sets were drawn, and one resample of the
images serves every cell, so that differences and ratios between cells are paired.

A resampled statistic is an array whose first line is that of the images themselves, each further line that of one
resample. Any function of it, line by line, is a resampled statistic again.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.stats import binomtest

NUM_RESAMPLES = 10_000
LEVEL = 0.95
_COUNTS_AT_ONCE = 2_000_000  # bounds the memory of a pass whatever the number of images

Resampled = np.ndarray  # (1 + resamples, ...)


def strata(labels: Sequence[str] | np.ndarray) -> np.ndarray:
    """The stratum of each image, numbered from 0: its class.

    A class with one image would never vary and feign certainty, so all such classes form one stratum; if there is
    only one of them, it joins the smallest other class.
    """
    codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]
    sizes = np.bincount(codes)
    alone = sizes[codes] == 1
    if alone.sum() == 1 and len(sizes) > 1:
        alone |= codes == np.where(sizes == 1, sizes.max() + 1, sizes).argmin()
    codes = np.where(alone, len(sizes), codes)
    return np.unique(codes, return_inverse=True)[1]


def resamples(strata: np.ndarray, num_resamples: int) -> Iterator[np.ndarray]:
    """How often each image occurs, float32 (lines, images), in blocks; the first line is all ones.

    The same strata give the same resamples, so that several passes over them stay paired. An only image never varies:
    it has no resample, so that its interval is undefined.
    """
    num_images = len(strata)
    yield np.ones((1, num_images), np.float32)
    order = np.argsort(strata, kind="stable")
    sizes = np.bincount(strata)
    of_image, starts = np.repeat(sizes, sizes), np.repeat(np.cumsum(sizes) - sizes, sizes)
    generator = np.random.default_rng(0)
    step = max(1, _COUNTS_AT_ONCE // max(1, num_images))
    for first in range(0, num_resamples if num_images > 1 else 0, step):
        lines = min(step, num_resamples - first)
        drawn = order[generator.integers(of_image, size=(lines, num_images)) + starts]
        drawn += num_images * np.arange(lines)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=lines * num_images)
        yield counts.reshape(lines, num_images).astype(np.float32)


def resampled_sums(columns: np.ndarray, strata: np.ndarray) -> Resampled:
    """For how many images each boolean column is true, (1 + resamples, m); columns (images, m)."""
    if columns.dtype != bool:
        raise ValueError(f"columns must be boolean, whose float32 sums are exact, got {columns.dtype}")
    distinct, inverse = np.unique(np.packbits(columns, axis=0), axis=1, return_index=True, return_inverse=True)[1:]
    numbers = columns[:, distinct].astype(np.float32)
    sums = np.concatenate([counts @ numbers for counts in resamples(strata, NUM_RESAMPLES)])
    return sums[:, inverse.reshape(-1)]


def resampled_f1(labels: np.ndarray, predicted: np.ndarray, strata: np.ndarray) -> Resampled:
    """F1 of several classifiers, (1 + resamples, cells, 2): averaged by support, and equally.

    labels (images,) and predicted (images, cells) are codes of classes; -1 leaves an image out. The averages go over
    the classes present among the (resampled) labels, as in results.summary.summarise. Of a resample that lacks a class
    of the images, which only classes of one image allow (see strata), the equal average is undefined: it would be that
    of another set of classes, and lie to one side of the images' own.
    """
    num_classes = int(labels.max(initial=0)) + 1
    distinct, inverse = np.unique(predicted, axis=1, return_inverse=True)  # targets see the same images many times
    tables = [_class_counts(labels, cell, num_classes) for cell in distinct.T]
    blocks = []
    for counts in resamples(strata, NUM_RESAMPLES):
        block = np.empty((len(counts), len(tables), 3))  # both averages, and over how many classes
        for position, table in enumerate(tables):
            hits, support, answers = np.split((table @ counts.T).astype(float), 3)
            present = support > 0
            # present classes alone: others have no F1, and 0/0 there
            f1 = np.divide(2 * hits, support + answers, out=np.zeros_like(hits), where=present)
            block[:, position, 0] = ratio((f1 * support).sum(0), support.sum(0))
            block[:, position, 1] = ratio(f1.sum(0), present.sum(0))
            block[:, position, 2] = present.sum(0)
        blocks.append(block)
    draws = np.concatenate(blocks)
    draws[..., 1][draws[..., 2] < draws[0, :, 2]] = np.nan
    return draws[:, inverse.reshape(-1), :2]


def _class_counts(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> sparse.csr_array:
    """Indicators (3 K, images): right as class k, labelled k, called k."""
    images = np.arange(len(labels))
    used = (labels >= 0) & (predicted >= 0)
    parts = (used & (labels == predicted), used, used & (predicted < num_classes))
    lines = np.concatenate([labels[parts[0]], num_classes + labels[used], 2 * num_classes + predicted[parts[2]]])
    columns = np.concatenate([images[part] for part in parts])
    ones = np.ones(len(lines), np.float32)
    return sparse.csr_array((ones, (lines, columns)), shape=(3 * num_classes, len(labels)))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def interval(draws: Resampled) -> np.ndarray:
    """Value, lower and upper bound of the percentile interval along the last axis; NaN where it is undefined.

    One undefined resample makes both bounds NaN: leaving it out would condition on luck. So do draws
    without any resample.
    """
    value, resampled = draws[0], draws[1:]
    if not len(resampled):
        return np.stack([value, *[np.full_like(value, np.nan)] * 2], -1)
    tails = (1 - LEVEL) / 2
    bounds = np.quantile(resampled, [tails, 1 - tails], axis=0)
    return np.stack([value, *np.where(np.isnan(value), np.nan, bounds)], -1)


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


def exact_mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[int, int, float]:
    """Images right only in the first, only in the second, and McNemar's exact two-sided p.

    Q. McNemar 1947. first and second are 1, 0, or NaN where an image is missing; images missing in either are left
    out, and without any image p is NaN. No discordant image gives p = 1.
    """
    if np.isnan(first - second).all():
        return 0, 0, float("nan")
    only_first, only_second = int((first > second).sum()), int((first < second).sum())  # NaN is neither
    discordant = only_first + only_second
    p = binomtest(only_first, discordant).pvalue if discordant else 1.0
    return only_first, only_second, float(p)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p values (S. Holm 1979); NaN stays NaN and is no member of the family."""
    p = np.asarray(p_values, dtype=float)
    order, tested = np.argsort(p), np.count_nonzero(~np.isnan(p))  # NaN lies last
    adjusted = np.empty_like(p)
    # by hand: statsmodels collects garbage at each call, a quarter of a second
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (tested - np.arange(len(p)))), 1)
    return adjusted
