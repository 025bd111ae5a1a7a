import numpy as np
import pytest
from planted_jobs import plant_scores, plant_transfer, scored_maps
from scipy.stats import spearmanr, t

from harmonia.results.gathered import gather, job_rows
from harmonia.results.gathered_scores import gather_scores, job_scores
from harmonia.results.jobs import find_jobs
from harmonia.results.localisation import LOCALISATION
from harmonia.results.rows import ROWS
from harmonia.statistics.comparison import compare
from harmonia.statistics.metric_transfer import Transferred, metric_links, scatter_points, transferred

pytestmark = pytest.mark.usefixtures("few_resamples")

IMAGES = 20


@pytest.fixture
def linked(tmp_path):
    """linked(): what the jobs below tmp_path come to."""

    def make():
        jobs = find_jobs(tmp_path)
        assert not any((job.folder / LOCALISATION).is_file() for job in jobs)
        rows = gather([job_rows(job) for job in jobs if (job.folder / ROWS).is_file()])
        found, _ = gather_scores([job_scores(job) for job in jobs if not (job.folder / ROWS).is_file()])
        return transferred(found, compare(rows), rows, jobs)

    return make


def hits(kept):
    """Of IMAGES images, so many named on area30, and 4 of them on the blobs."""
    return {
        "image": [True] * IMAGES,
        "area30": [n < kept for n in range(IMAGES)],
        "blobs30": [n < 4 for n in range(IMAGES)],
    }


def p_explained(feature, control=0.1):
    return {"image": [0.9] * IMAGES, "area30": list(feature), "blobs30": [control] * IMAGES}


def test_transfer_is_above_control_in_the_targets_that_are_not_the_source(tmp_path, linked):
    feature = np.linspace(0, 1, IMAGES)
    plant_transfer(tmp_path / "0", "lite0", "gc", hits(10), p_explained(feature))
    plant_scores(tmp_path / "1", "lite0", "gc", {"deletion": [0.5] * IMAGES})
    (part,) = linked()
    assert part.fill == "black"
    # the source itself, right on everything, would give 0: (10 - 4) / 20 is of the others
    assert part.of_cells.tolist() == pytest.approx([0.3])
    assert part.of_images[:, 0] == pytest.approx(feature - 0.1)


def test_scores_without_transfer_of_the_same_maps_have_no_link(tmp_path, linked):
    plant_transfer(tmp_path / "0", "lite0", "gc", hits(10), p_explained([0.5] * IMAGES))
    plant_scores(tmp_path / "1", "lite0", "ss", {"deletion": [0.5] * IMAGES})
    plant_scores(tmp_path / "2", "lite0", "gc", {"deletion": [0.5] * IMAGES}, seed=7)
    assert linked() == []


def test_a_source_of_random_weights_has_no_part(tmp_path, linked):
    plant_transfer(tmp_path / "0", "lite0", "gc", hits(10), p_explained([0.5] * IMAGES), weights="random")
    plant_scores(tmp_path / "1", "lite0", "gc", {"deletion": [0.5] * IMAGES}, weights="random")
    assert linked() == []


def test_maps_are_matched_by_what_made_them_also_where_names_are_the_same(tmp_path, linked):
    for number, k in enumerate((9, 17)):
        smooth = {"smooth": {"k": k}}
        plant_transfer(tmp_path / f"t{k}", "lite0", "gc", hits(8 + 4 * number), p_explained([0.5] * IMAGES), **smooth)
        plant_scores(tmp_path / f"s{k}", "lite0", "gc", {"deletion": [0.5 + number] * IMAGES}, **smooth)
    (part,) = linked()
    of_variant = dict(zip(part.scores.cells["variant"], part.of_cells, strict=True))
    assert of_variant == {"smooth.k=9": pytest.approx(0.2), "smooth.k=17": pytest.approx(0.4)}


def planted(methods, sources=("lite0",), seed=0, images=IMAGES):
    """Metric good orders methods as transfer does, bad against it (lower is better there), chance by chance."""
    generator = np.random.default_rng(seed)
    cells = [(source, f"m{number}") for source in sources for number in range(methods)]
    above = np.array([0.1 * int(method[1:]) + 10 * sources.index(source) for source, method in cells])
    values = np.stack([above**2, above, generator.normal(size=len(cells))], 1)
    values = np.tile(values, (images, 1, 1))
    scores = scored_maps(values, {"good": "higher", "bad": "lower", "chance": "higher"}, cells)
    return Transferred(scores, "black", above, np.full((images, len(cells)), np.nan))


def test_over_methods_rho_says_whether_the_better_method_transfers_more():
    links = metric_links(planted(6)).set_index("metric")
    assert links.loc["good", "over_cells"] == pytest.approx(1)
    assert links.loc["bad", "over_cells"] == pytest.approx(-1)
    assert links["methods"].tolist() == [6] * 3


def test_sources_do_not_make_a_correlation_that_their_methods_lack():
    part = planted(6, ("lite0", "lite2"), seed=1)
    means = part.scores.values[0, :, 2]
    by_hand = np.mean([spearmanr(means[at], part.of_cells[at])[0] for at in (slice(0, 6), slice(6, 12))])
    line = metric_links(part).set_index("metric").loc["chance"]
    assert line["over_cells"] == pytest.approx(by_hand)
    assert (line["cells"], line["methods"], line["sources"]) == (12, 6, 2)
    # pooled over both, the sources' own levels would decide
    part.scores.values[:, 6:, 2] += 100
    assert metric_links(part).set_index("metric").loc["chance", "over_cells"] == pytest.approx(by_hand)
    assert spearmanr(part.scores.values[0, :, 2], part.of_cells)[0] > by_hand + 0.2


def test_the_interval_over_methods_is_a_jackknife_that_takes_a_method_from_all_sources():
    part = planted(6, ("lite0", "lite2"), seed=1)
    means, above = part.scores.values[0, :, 2].reshape(2, 6), part.of_cells.reshape(2, 6)
    rhos = [
        np.mean([spearmanr(np.delete(means[s], method), np.delete(above[s], method))[0] for s in range(2)])
        for method in range(6)
    ]
    error = np.sqrt(5 / 6 * np.sum((rhos - np.mean(rhos)) ** 2))
    line = metric_links(part).set_index("metric").loc["chance"]
    half = t.ppf(0.975, 5) * error
    expected = np.clip([line["over_cells"] - half, line["over_cells"] + half], -1, 1)
    assert line[["over_cells_low", "over_cells_high"]].tolist() == pytest.approx(expected.tolist())


def test_five_methods_in_perfect_order_have_two_orders_of_120_and_no_interval():
    for sources in (("lite0",), ("lite0", "lite2")):
        links = metric_links(planted(5, sources)).set_index("metric")
        assert links.loc[["good", "bad"], "over_cells_p"].tolist() == pytest.approx([2 / 120] * 2)
        assert links.loc[["good", "bad"], ["over_cells_low", "over_cells_high"]].isna().all(axis=None)


def test_four_methods_are_too_few():
    links = metric_links(planted(4))
    assert links["over_cells"].isna().all()
    assert links["most_methods"].tolist() == [4] * 3


def test_over_images_rho_is_within_cells_and_lower_is_turned():
    part = planted(2, images=30)
    generator = np.random.default_rng(0)
    above = generator.normal(size=(30, 2))
    part.scores.values[..., 0] = above + 100 * np.arange(2)  # the cells' levels have no part
    part.scores.values[..., 1] = -above
    part.scores.values[..., 2] = generator.normal(size=(30, 2))
    part = Transferred(part.scores, "black", part.of_cells, above)
    links = metric_links(part).set_index("metric")
    assert links.loc[["good", "bad"], "over_images"].tolist() == pytest.approx([1, 1])
    assert links.loc["chance", "over_images_low"] < 0 < links.loc["chance", "over_images_high"]
    assert links["image_cells"].tolist() == [2] * 3


def test_a_point_is_a_cell_that_has_both_numbers():
    part = planted(3)
    part.of_cells[1] = np.nan
    found = scatter_points(part)
    assert found[found["metric"] == "bad"][["method", "value", "above"]].to_numpy().tolist() == [
        ["m0", 0, 0],
        ["m2", pytest.approx(0.2), pytest.approx(0.2)],
    ]
