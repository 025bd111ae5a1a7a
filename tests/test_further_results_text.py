"""docs/fills.md, harmonised.md and controls.md say what their tables say: line by line, number by number."""

import re

import pytest
from result_tables import CONTROLS, MAPS_SHARED, UNDER_FILLS, cell, cells, lines_of, numbers_left

# sentence, table, line, column, in the order of the page, as in test_results_text.py
ABOVE, KEPT, BOX = "Above control (points)", "Retention (%)", "Above centre box (points)"
_FILLS = "fills/transfer_above_control"
FILLS = [
    ("Holds: {0} points more", _FILLS, "black/all/GC/area30", ABOVE),
    ("all six**: {0} to", _FILLS, "another_image/all/GC/area30", ABOVE),
    (" {0} points more", _FILLS, "mean/all/GC/area30", ABOVE),
    ("Holds: {0} points more", _FILLS, "black/all/SS/area30", ABOVE),
    ("all six**: {0} to", _FILLS, "another_image/all/SS/area30", ABOVE),
    (" {0} points more", _FILLS, "mean/all/SS/area30", ABOVE),
    ("Holds: {0} points [{1}, {2}]", _FILLS, "black/all/SS/area30", BOX),
    ("all six**: {0} to", _FILLS, "another_image/all/SS/area30", BOX),
    (" {0} points more", _FILLS, "layer_mask/all/SS/area30", BOX),
    ("not hold: {0} points [{1}, {2}]", _FILLS, "black/all/GC/area30", BOX),
    ("sources: {0} to", _FILLS, "another_image/all/GC/area30", BOX),
    (" {0} points more", _FILLS, "layer_mask/all/GC/area30", BOX),
    ("Lite0 ({0} [{1}, {2}])", _FILLS, "black/lite0/GC/area30", BOX),
    ("MobileNetV2 ({0} [{1}, {2}])", _FILLS, "black/mobilenetv2/GC/area30", BOX),
    ("told ({0} [{1}, {2}])", _FILLS, "black/lite2/GC/area30", BOX),
    ("keep less ({0} [{1}, {2}])", _FILLS, "black/deit_tiny/GC/area30", BOX),
    ("alone ({0} [{1}, {2}])", _FILLS, "layer_mask/deit_tiny/GC/area30", BOX),
    ("mean colour ({0})", _FILLS, "mean/deit_tiny/GC/area30", BOX),
    ("another image ({0})", _FILLS, "another_image/deit_tiny/GC/area30", BOX),
    ("Holds: {0} % is kept", _FILLS, "black/all/SS/soft", KEPT),
    ("under five**: {0} to", _FILLS, "drop_tokens/all/SS/soft", KEPT),
    (" {0} %.", _FILLS, "noisy_linear/all/SS/soft", KEPT),
    ("another image {0} % is kept", _FILLS, "another_image/all/SS/soft", KEPT),
    ("the map keeps {0} points [{1}, {2}] more", _FILLS, "black/all/SS/soft", ABOVE),
    ("mean colour ({0})", _FILLS, "mean/all/SS/soft", ABOVE),
    ("a blur ({0})", _FILLS, "blur/all/SS/soft", ABOVE),
    ("another image ({0} points)", _FILLS, "another_image/all/SS/soft", ABOVE),
    ("be told: {0} [{1}, {2}]", _FILLS, "noisy_linear/all/SS/soft", ABOVE),
    ("Holds: {m0} points", _FILLS, "black/all/GC/soft", ABOVE),
    ("mean colour ({0})", _FILLS, "mean/all/GC/soft", ABOVE),
    ("a blur ({0})", _FILLS, "blur/all/GC/soft", ABOVE),
    ("imputation ({0})", _FILLS, "noisy_linear/all/GC/soft", ABOVE),
    ("another image ({0} points)", _FILLS, "another_image/all/GC/soft", ABOVE),
    ("keep {0} %, those", _FILLS, "black/deit_tiny/GC/area30", KEPT),
    (" {0} % |", _FILLS, "black/lite2/GC/area30", KEPT),
    ("{0} and", _FILLS, "mean/deit_tiny/GC/area30", KEPT),
    (" {0} % over the mean colour", _FILLS, "mean/lite2/GC/area30", KEPT),
    ("{0} and", _FILLS, "blur/deit_tiny/GC/area30", KEPT),
    (" {0} % over a blur", _FILLS, "blur/lite2/GC/area30", KEPT),
]
_RELIABLE, _ABOVE_NOTHING = "fills/fill_reliability", "Control above nothing (points)"
JUDGES = [
    ("least, {0} to", _RELIABLE, "lite2/another_image", _ABOVE_NOTHING),
    (" {0} points, but", _RELIABLE, "lite2/black", _ABOVE_NOTHING),
    ("on black ({0})", _RELIABLE, "deit_tiny/black", _ABOVE_NOTHING),
]
_SHARED = "harmonised/harmonised"
_JOINT, _POINTS = "lite0+deit_tiny+mobilenetv2", "Difference (points)"
_AS_MANY, _VOTES = "the best of them, as many passes", "votes of 2 networks"
SHARED = [
    ("three pairs {0} [{1}, {2}] on", _SHARED, "black/2 networks/SS_CPU/area30/their mean", _POINTS),
    ("and {0} [{1}, {2}] over", _SHARED, "mean/2 networks/SS_CPU/area30/their mean", _POINTS),
    ("gains {0} [{1}, {2}] and", _SHARED, "black/lite0+mobilenetv2/SS_CPU/area30/their mean", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, "mean/lite0+mobilenetv2/SS_CPU/area30/their mean", _POINTS),
    ("on black {0} [{1}, {2}], over", _SHARED, f"black/{_JOINT}/SS_CPU/area30/their mean", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_JOINT}/SS_CPU/area30/their mean", _POINTS),
    ("Two: {0} [{1}, {2}] on", _SHARED, "black/2 networks/SS_CPU/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}] over", _SHARED, "mean/2 networks/SS_CPU/area30/the best of them", _POINTS),
    ("Three: {0} [{1}, {2}] and", _SHARED, f"black/{_JOINT}/SS_CPU/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_JOINT}/SS_CPU/area30/the best of them", _POINTS),
    ("two carry {0} [{1}, {2}] points more on", _SHARED, f"black/2 networks/SS_CPU/area30/{_AS_MANY}", _POINTS),
    ("and {0} [{1}, {2}] over", _SHARED, f"mean/2 networks/SS_CPU/area30/{_AS_MANY}", _POINTS),
    ("Three carry {0} [{1}, {2}] and", _SHARED, f"black/{_JOINT}/SS_CPU/area30/{_AS_MANY}", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_JOINT}/SS_CPU/area30/{_AS_MANY}", _POINTS),
    ("of Grad-CAM {0} [{1}, {2}] and", _SHARED, f"black/{_VOTES}/GC/area30/their mean", _POINTS),
    (" {0} [{1}, {2}], of", _SHARED, f"mean/{_VOTES}/GC/area30/their mean", _POINTS),
    (" {0} [{1}, {2}] on", _SHARED, f"black/{_VOTES}/SS_CPU/area30/their mean", _POINTS),
    ("be told, {0} [{1}, {2}].", _SHARED, f"mean/{_VOTES}/SS_CPU/area30/their mean", _POINTS),
    ("Grad-CAM {0} [{1}, {2}] and", _SHARED, f"black/{_VOTES}/GC/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}], Soundness", _SHARED, f"mean/{_VOTES}/GC/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}] and", _SHARED, f"black/{_VOTES}/SS_CPU/area30/the best of them", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_VOTES}/SS_CPU/area30/the best of them", _POINTS),
    ("passes, {0} [{1}, {2}];", _SHARED, f"black/{_VOTES}/SS_CPU/area30/{_AS_MANY}", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_VOTES}/SS_CPU/area30/{_AS_MANY}", _POINTS),
    ("the best on black, {0} [{1}, {2}].", _SHARED, "black/vote lite0+deit_tiny/GC/area30/the best of them", _POINTS),
    ("difference is {0} [{1}, {2}] on", _SHARED, "black/2 networks/SS_CPU/area30/their vote", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, "mean/2 networks/SS_CPU/area30/their vote", _POINTS),
    ("told: {0} [{1}, {2}] and", _SHARED, f"black/{_JOINT}/SS_CPU/area30/their vote", _POINTS),
    (" {0} [{1}, {2}].", _SHARED, f"mean/{_JOINT}/SS_CPU/area30/their vote", _POINTS),
]
_CURVES, _BLOBS, _BOX, _BEYOND = (
    "controls/cross_curves",
    "Above blobs (points)",
    "Above centre (points)",
    "Beyond blobs (points)",
)
CURVES = [
    ("Insertion is {0} to", _CURVES, "deit_tiny/GC/lite0", _BLOBS),
    (" {0} points above blobs", _CURVES, "lite0/SS/mobilenetv2", _BLOBS),
    ("deletion {0} to", _CURVES, "lite0/SS/lite0", _BEYOND),
    (" {0} points beyond them", _CURVES, "deit_tiny/GC/deit_tiny", _BEYOND),
    ("itself among them, {0} to", _CURVES, "lite0/SS/lite2", _BOX),
    (" {0} points; in DeiT-Tiny", _CURVES, "lite0/SS/mobilenetv2", _BOX),
    ("told: {0} [{1}, {2}] |", _CURVES, "lite0/SS/deit_tiny", _BOX),
    ("MobileNetV2, {0} and", _CURVES, "deit_tiny/SS/lite2", _BOX),
    (" {0} points; in Lite0", _CURVES, "deit_tiny/SS/mobilenetv2", _BOX),
    ("told: {0} [{1}, {2}],", _CURVES, "deit_tiny/SS/lite0", _BOX),
    (" {0} [{1}, {2}] |", _CURVES, "deit_tiny/SS/deit_tiny", _BOX),
    ("itself among them, {0} to", _CURVES, "lite0/GC/lite2", _BOX),
    (" {0} points; in DeiT-Tiny", _CURVES, "lite0/GC/lite0", _BOX),
    ("seen: {0} [{1}, {2}] |", _CURVES, "lite0/GC/deit_tiny", _BOX),
    ("itself among them: {m0} to", _CURVES, "deit_tiny/GC/deit_tiny", _BOX),
    (" {m0} points |", _CURVES, "deit_tiny/GC/lite0", _BOX),
]


@pytest.mark.parametrize(
    ("page", "begins", "ends", "claims", "of_design"),
    [
        (UNDER_FILLS, "## What holds", "## The numbers", FILLS, {"0", "30", "1,000", "2307.02150"}),
        (UNDER_FILLS, "Every fill that", "<!-- fills/fill_reliability.md", JUDGES, set()),
        (MAPS_SHARED, "**Does a joint", "An earlier run", SHARED, set()),
        (CONTROLS, "**It matters to all", "So do not put", CURVES, set()),
    ],
)
def test_every_number_of_the_text_is_one_of_the_tables(page, begins, ends, claims, of_design):
    assert numbers_left(page, begins, ends, claims) == of_design


def test_what_is_said_to_hold_under_fills_has_intervals_that_say_so():
    head, _, *lines = map(cells, lines_of(_FILLS))

    def above(column, method, arm):
        shown = {line[0]: line[head.index(column)] for line in lines if line[1:4] == ["all", method, arm]}
        numbers = {fill: [*map(float, re.findall(r"-?[\d.]+", text))] for fill, text in shown.items() if text != "–"}
        others = {fill: number for fill, (number, *_) in numbers.items() if fill != "black"}
        return {fill for fill, (_, low, _) in numbers.items() if low > 0}, others

    fairer = {"mean", "blur", "noisy_linear", "another_image", "drop_tokens", "layer_mask"}
    for method in ("GC", "SS"):
        assert above(ABOVE, method, "area30")[0] == {"black"} | fairer
    assert above(BOX, "SS", "area30")[0] == {"black"} | fairer
    assert above(BOX, "GC", "area30")[0] == fairer
    assert above(ABOVE, "SS", "soft")[0] == {"mean", "blur", "another_image"}
    assert above(ABOVE, "GC", "soft")[0] == {"mean", "blur", "noisy_linear", "another_image"}
    kept = {tuple(line[:4]): float(line[head.index(KEPT)].split()[0]) for line in lines}
    for fill in ("black", *fairer - {"drop_tokens"}):
        of_sources = {key[1]: number for key, number in kept.items() if key[::2] == (fill, "GC") and key[3] == "area30"}
        assert min(of_sources, key=of_sources.__getitem__) == "deit_tiny", fill
    ranges = re.findall(r"under (?:all six|five)\*\*(?:, in the mean over sources)?: ([\d.]+) to ([\d.]+)", UNDER_FILLS)
    claimed = [
        (ABOVE, "GC", "area30"),
        (ABOVE, "SS", "area30"),
        (BOX, "SS", "area30"),
        (BOX, "GC", "area30"),
        (KEPT, "SS", "soft"),
    ]
    for at, ((low, high), line) in enumerate(zip(ranges, claimed, strict=True)):
        numbers = above(*line)[1]
        if at > 3:  # of five: another image has a sentence of its own
            assert min(numbers, key=numbers.__getitem__) == "another_image"
            del numbers["another_image"]
        assert [float(low), float(high)] == [min(numbers.values()), max(numbers.values())]
    ends = {
        (line[1], line[0]): [*map(float, re.findall(r"-?[\d.]+", line[head.index(BOX)]))][1:]
        for line in lines
        if line[1] != "all" and line[2:4] == ["GC", "area30"]
    }
    more, less = ({place for place, pair in ends.items() if holds(*pair)} for holds in (_is_more, _is_less))
    anywhere = {(source, fill) for source in ("lite0", "lite2", "mobilenetv2") for fill in fairer}
    assert more == anywhere | {("lite0", "black"), ("mobilenetv2", "black"), ("deit_tiny", "layer_mask")}
    assert less == {("deit_tiny", fill) for fill in ("black", "mean", "another_image")}
    assert len([source for source, _ in ends if source == "deit_tiny"]) == 1 + 5


def test_which_fills_are_said_to_judge_and_where_blobs_keep_least_is_so():
    head, _, *lines = map(cells, lines_of(_RELIABLE))
    named = [dict(zip(head, line, strict=True)) for line in lines]
    assert {line["Judges"] for line in named if line["Fill"] != "layer_mask"} == {"yes"}
    assert {line["Judges"] for line in named if line["Fill"] == "layer_mask"} == {"–"}
    above = {(line["Target"], line["Fill"]): line[_ABOVE_NOTHING].split()[0] for line in named}
    least = {place: float(above[place]) for place in above if place[1] in ("black", "another_image")}
    del least["deit_tiny", "black"]
    rest = [float(number) for place, number in above.items() if place not in least and number != "–"]
    assert [min(least.values()), max(least.values())] == [2.5, 4.4]
    assert max(least.values()) < min(rest)


def _is_more(low, high):
    return low > 0


def _is_less(low, high):
    return high < 0


def test_what_maps_that_are_shared_are_said_to_carry_more_than_has_intervals_that_say_so():
    head, _, *lines = map(cells, lines_of(_SHARED))
    joint, votes = ("2 networks", _JOINT), (_VOTES, f"vote {_JOINT}")
    judged = {(source, method) for method, sources in (("SS_CPU", joint + votes), ("GC", votes)) for source in sources}
    beside = {"their mean", "the best of them", _AS_MANY, "their vote"}
    ends = {
        (fill, source, method, against): [*map(float, re.findall(r"-?[\d.]+", line[head.index(_POINTS)])[1:])]
        for line in lines
        for fill, source, method, _, against in [line[:5]]
        if (source, method) in judged and against in beside
    }
    # fills; Soundness Saliency at as many passes, too, joint masks beside votes
    assert len(ends) == 2 * (4 * 3 + 2 * 2 + 2)
    # both pairs with DeiT-Tiny gain on the mean of their networks, under both fills
    for pair in ("lite0+deit_tiny", "deit_tiny+mobilenetv2"):
        for fill in ("black", "mean"):
            line = f"{fill}/{pair}/SS_CPU/area30/their mean"
            assert float(re.findall(r"-?[\d.]+", cell(_SHARED, line, _POINTS))[1]) > 0
    assert {place for place, (_, high) in ends.items() if high < 0} == {("black", _VOTES, "SS_CPU", _AS_MANY)}
    assert {place for place, (low, _) in ends.items() if low > 0} == {
        ("black", "2 networks", "SS_CPU", "their vote"),
        ("black", "2 networks", "SS_CPU", "their mean"),
        ("mean", "2 networks", "SS_CPU", "their mean"),
        ("black", _JOINT, "SS_CPU", "their mean"),
        ("black", _VOTES, "SS_CPU", "their mean"),
        ("black", _VOTES, "GC", "their mean"),
        ("mean", _VOTES, "GC", "their mean"),
    }


def test_what_is_said_of_the_order_of_pixels_is_so():
    head, _, *lines = map(cells, lines_of(_CURVES))
    bounds = {
        column: {tuple(line[:3]): [*map(float, re.findall(r"-?[\d.]+", line[head.index(column)]))] for line in lines}
        for column in (_BLOBS, _BOX, _BEYOND)
    }
    for column, name in ((_BLOBS, "Insertion is"), (_BEYOND, "deletion")):
        of_column = bounds[column].values()
        assert len(of_column) == 16
        assert all(low > 0 for _, low, _ in of_column)
        values = [value for value, *_ in of_column]
        assert f"{name} {min(values)} to {max(values)} points" in CONTROLS
    more = {place for place, (_, low, _) in bounds[_BOX].items() if low > 0}
    convolutional = {"lite0", "lite2", "mobilenetv2"}
    assert more == {("lite0", method, target) for method in ("SS", "GC") for target in convolutional} | {
        ("deit_tiny", "SS", target) for target in ("lite2", "mobilenetv2")
    }
    less = {place for place, (*_, high) in bounds[_BOX].items() if high < 0}
    assert less == {("deit_tiny", "GC", target) for target in (*convolutional, "deit_tiny")}
    for target in (*convolutional, "deit_tiny"):
        for column, extreme in ((_BLOBS, min), (_BEYOND, max)):
            into = {place: value for place, (value, *_) in bounds[column].items() if place[2] == target}
            assert extreme(into, key=into.__getitem__) == ("deit_tiny", "GC", target)
