"""Which options tell finished jobs apart."""

import pytest

from harmonia.results.jobs import data_options, options_of

TRANSFER = {"source": {"name": "e7"}, "evaluation": {"name": "transfer", "areas": [0.3]}, "data": {"root": "woof"}}
SCORES = TRANSFER | {"evaluation": {"name": "boxes", "metric": {"tolerance_px": 0.0}}}


def told_apart(config, other):
    return options_of(config)[0] != options_of(other)[0]


@pytest.mark.parametrize("config", [TRANSFER, SCORES])
def test_a_job_from_before_there_were_boxes_is_one_without_them(config):
    assert not told_apart(config, config | {"data": {"root": "woof", "boxes": None}})


def test_boxes_tell_scores_apart_and_neither_transfer_nor_data_sets():
    first, second = ({"data": {"root": "woof", "boxes": name}} for name in ("a.csv", "b.csv"))
    assert told_apart(SCORES | first, SCORES | second)
    assert not told_apart(TRANSFER | first, TRANSFER | second)
    assert len({data_options(options_of(SCORES | boxes)[0]) for boxes in (first, second, {})}) == 1


def test_a_class_that_moved_between_versions_makes_no_variant_and_another_class_does():
    old, new, another = (
        TRANSFER | {"fill": {"_target_": path, "name": "black"}, "method": {"inner": {"_target_": f"{path}.Cam"}}}
        for path in ("harmonia.fill.Black", "harmonia.features.fill.Black", "harmonia.features.fill.Mean")
    )
    assert not told_apart(old, new)
    assert told_apart(new, another)
