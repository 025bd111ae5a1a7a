"""Laws of insertion and deletion curves in a target: means under them, by hand, and what a planted order shows."""

from itertools import pairwise

import numpy as np
import pytest
from rows_in_memory import as_gathered

from harmonia.statistics.comparison import cell_estimates, compare
from harmonia.statistics.cross_curves import cross_curves, curve_points

pytestmark = pytest.mark.usefixtures("few_resamples")
AREAS = (10, 30, 70, 90)


def compared(gathered_cell, seen, blobs, centre=None, images=40):
    """Cells of a target that names an image once a share of the view is seen: by the map's order, by blobs."""

    def cell(arm, needed):
        return gathered_cell("".join("1" if needed(number) else "0" for number in range(images)), arm=arm)

    cells = [cell("image", lambda number: True)]
    for area in AREAS:
        cells.append(cell(f"area{area}", lambda number, area=area: area >= seen(number)))
        cells.append(cell(f"complement{area}", lambda number, area=area: area < seen(number)))
        cells.append(cell(f"blobs{area}", lambda number, area=area: area >= blobs(number)))
        if centre:
            cells.append(cell(f"centre{area}", lambda number, area=area: area >= centre(number)))
    (comparison,) = compare(as_gathered(*cells))
    return comparison


def test_numbers_are_means_under_curves_of_retention_by_hand(gathered_cell):
    comparison = compared(gathered_cell, lambda n: 5 + 25 * (n % 4), lambda n: 20 + 30 * (n % 3), lambda n: 40)
    (line,) = cross_curves(comparison).to_dict("records")
    retention = cell_estimates(comparison).set_index("arm")["retention"]

    def by_hand(arms, areas):
        pieces = zip(pairwise(areas), pairwise(arms), strict=True)
        steps = [(b - a) * (retention[x] + retention[y]) / 2 for (a, b), (x, y) in pieces]
        return sum(steps) / (areas[-1] - areas[0])

    insertion = by_hand([f"area{area}" for area in AREAS], AREAS)
    of_blobs = by_hand([f"blobs{area}" for area in AREAS], AREAS)
    deletion = by_hand([f"complement{area}" for area in AREAS], AREAS)
    rest = by_hand([f"blobs{100 - area}" for area in AREAS], AREAS)
    centre = by_hand([f"centre{area}" for area in AREAS], AREAS)
    expected = [insertion, of_blobs, insertion - of_blobs, insertion - centre, deletion, rest, rest - deletion]
    names = ["insertion", "insertion_of_blobs", "insertion_above_blobs", "insertion_above_centre"]
    names += ["deletion", "deletion_of_blobs", "deletion_beyond_blobs"]
    assert [line[name] for name in names] == pytest.approx(expected)
    assert (line["areas_inserted"], line["areas_deleted"], line["images"]) == (4, 4, 40)
    assert line["insertion_low"] <= line["insertion"] <= line["insertion_high"]


def test_a_good_order_is_above_blobs_a_reversed_one_below_and_blobs_are_as_good_as_themselves(gathered_cell):
    early, late = (lambda n: 5), (lambda n: 80)
    good, bad, same = (
        cross_curves(compared(gathered_cell, seen, blobs)).iloc[0]
        for seen, blobs in ((early, lambda n: 50), (late, lambda n: 50), (lambda n: 50, lambda n: 50))
    )
    assert good["insertion_above_blobs"] > 0 < good["deletion_beyond_blobs"]
    assert bad["insertion_above_blobs"] < 0 > bad["deletion_beyond_blobs"]
    assert same["insertion_above_blobs"] == same["deletion_beyond_blobs"] == 0
    assert np.isnan(good["insertion_above_centre"])


def test_without_three_areas_of_both_curves_there_is_no_line(gathered_cell):
    cells = [gathered_cell("1111", arm=arm) for arm in ("image", "area30", "blobs30", "complement30", "blobs70")]
    (comparison,) = compare(as_gathered(*cells))
    assert cross_curves(comparison).empty
    assert list(cross_curves(comparison)) == list(cross_curves(compared(gathered_cell, lambda n: 5, lambda n: 50)))


def test_points_are_the_cells_retention_by_area_shown_or_removed(gathered_cell):
    comparison = compared(gathered_cell, lambda n: 5 + 25 * (n % 4), lambda n: 20 + 30 * (n % 3), lambda n: 40)
    retention = cell_estimates(comparison).set_index("arm")["retention"]
    points = curve_points(comparison)
    expected = {("insertion", kind, area): f"{kind}{area}" for kind in ("area", "blobs", "centre") for area in AREAS}
    expected |= {("deletion", "complement", area): f"complement{area}" for area in AREAS}
    expected |= {("deletion", "blobs", area): f"blobs{100 - area}" for area in AREAS}
    drawn = {(line.curve, line.shown, round(100 * line.share)): line.retention for line in points.itertuples()}
    assert drawn == {place: retention[arm] for place, arm in expected.items()}


def test_points_have_no_centre_where_it_has_not_run_and_none_without_both_curves(gathered_cell):
    points = curve_points(compared(gathered_cell, lambda n: 5, lambda n: 50))
    assert set(points["shown"]) == {"area", "blobs", "complement"}
    (comparison,) = compare(as_gathered(*(gathered_cell("1111", arm=arm) for arm in ("image", "area30", "blobs30"))))
    assert curve_points(comparison).empty
    assert set(curve_points(comparison)) == set(points)
