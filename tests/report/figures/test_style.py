"""Laws of what figures share."""

import pytest

from harmonia.report.figures.style import grid, legend_above


@pytest.mark.parametrize("lines", [3, 24])
@pytest.mark.parametrize("name", ["lite0", "lite0+deit_tiny · SS_CPU\n(method.draw….held_out=12)"])
def test_a_legend_lies_above_all_panels_and_leaves_them_their_room(lines, name):
    figure, axes = grid(5, 3, 2.3, 1.9)
    for line in range(lines):
        axes[line % 5].plot([0, 1], [0, 1], label=f"{name} {line}")
    legend_above(figure, axes)
    figure.get_layout_engine().execute(figure)
    (legend,) = figure.legends
    places = [panel.get_window_extent() for panel in axes]
    assert max(place.y1 for place in places) < legend.get_window_extent().y0
    assert min(place.height for place in places) > figure.dpi  # an inch
