"""Laws of the answer's picture: bars are as long as the numbers, maps first, each control once."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from harmonia.report.figures.answer import answer_figures
from harmonia.report.figures.style import GREY


def answer(arm="area30", **columns):
    """Of lines of transfer above control; a column's three numbers are the value and its bounds."""
    count = len(columns["retention"])
    lines = {"source": ["e7"] * count, "method_name": ["Grad-CAM", "RISE"][:count], "who": ["a", "b"][:count]}
    for name in ("retention", "control_retention", "centre_retention", "guess"):
        numbers = np.array(columns.get(name, [(np.nan,) * 3] * count))
        lines |= {name + end: numbers[:, at] for at, end in enumerate(("", "_low", "_high"))}
    table = SimpleNamespace(columns=["Map", "Top 30 %"])
    return SimpleNamespace(arm=arm, lines=pd.DataFrame(lines), table=table)


def bars(figure):
    (panel,) = figure.drawn.axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    return {name: bar.get_width() for name, bar in zip(names, panel.patches, strict=True)}


def test_maps_and_their_controls_are_as_long_as_their_numbers():
    (figure,) = answer_figures(
        answer(retention=[(0.5, 0.4, 0.6)], control_retention=[(0.1, 0.05, 0.2)], centre_retention=[(0.75, 0.75, 0.75)])
    )
    assert bars(figure) == {"Grad-CAM": 50, "random blobs": pytest.approx(10), "centred box": 75}
    (panel,) = figure.drawn.axes
    assert [line.get_xdata().tolist() for line in panel.lines] == [[40, 60], pytest.approx([5, 20])]  # none of no width
    assert [text.get_text() for text in panel.texts] == ["50 %", "10 %", "75 %"]
    assert [line.get_ydata()[0] for line in panel.lines] == [0, 1]


def test_a_control_that_two_maps_share_stands_once_and_others_are_named_after_their_map():
    shared = answer(retention=[(0.5, 0.4, 0.6), (0.3, 0.2, 0.4)], control_retention=[(0.1, 0.0, 0.2)] * 2)
    (figure,) = answer_figures(shared)
    assert list(bars(figure)) == ["Grad-CAM", "RISE", "random blobs"]
    guessed = answer(retention=[(0.5, 0.4, 0.6)], guess=[(0.3, 0.3, 0.3)])
    assert bars(next(answer_figures(guessed))) == {"Grad-CAM": 50, "guess": pytest.approx(30)}
    beyond = answer(retention=[(0.5, 0.4, 0.6)], guess=[(10, 10, 10)])  # of networks that hardly name anything
    assert bars(next(answer_figures(beyond))) == {"Grad-CAM": 50}
    own = answer(retention=[(0.5, 0.4, 0.6), (0.3, 0.2, 0.4)], control_retention=[(0.1, 0.0, 0.2), (0.2, 0.1, 0.3)])
    (figure,) = answer_figures(own)
    assert list(bars(figure)) == ["Grad-CAM", "RISE", "random blobs", "random blobs, RISE"]
    (panel,) = figure.drawn.axes
    assert {to_hex(bar.get_facecolor()) for bar in panel.patches[2:]} == {GREY}


def test_labels_of_two_long_names_are_whole():
    names = [f"Soundness Saliency (steps={steps}) of mobilenetv3_small_050" for steps in (39, 1200)]
    long = answer(retention=[(0.5, 0.4, 0.6), (0.3, 0.2, 0.4)], control_retention=[(0.1, 0, 0.2), (0.2, 0.1, 0.3)])
    long.lines = long.lines.assign(method_name=names)
    (figure,) = answer_figures(long)
    labels = [" ".join(name.split()) for name in bars(figure)]
    assert labels == [*names, "random blobs", f"random blobs, {names[1]}"]


def test_where_no_map_has_a_number_nothing_is_drawn():
    assert not list(answer_figures(answer(retention=[(np.nan,) * 3])))
