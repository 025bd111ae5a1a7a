import pandas as pd

from harmonia.report.sections.transfer import mark_random, terminal_lines
from harmonia.report.tables.typeset import table


def test_random_weights_are_said_beside_the_name_of_such_a_source_and_of_it_as_a_target():
    frame = pd.DataFrame(
        {"source": ["e7", "e7_random", "e7_random"], "target": ["e7", "e7", "e7_random"], "random_weights": [0, 1, 1]}
    )
    marked = mark_random(frame.astype({"random_weights": bool}))
    assert marked["source"].tolist() == ["e7", "e7_random (random)", "e7_random (random)"]
    assert marked["target"].tolist() == ["e7", "e7", "e7_random (random)"]


def test_the_terminal_shows_of_transfer_above_control_the_means_and_the_reports_arm_alone():
    lines = [(source, arm) for source in ("all", "e7", "vit") for arm in ("soft", "area30")]
    cells = pd.DataFrame(
        [(*line, f"{number}.5") for number, line in enumerate(lines)], columns=["Source", "Arm", "Above"]
    )
    shown = terminal_lines(table(cells, "Transfer", 2), "soft")
    assert shown["Above"].tolist() == ["0.5", "1.5", "2.5", "4.5"]
    assert shown.attrs["caption"] == "Transfer"


def test_of_a_source_alone_the_terminal_shows_every_arm():
    cells = pd.DataFrame([("e7", "soft", "0.5"), ("e7", "area30", "1.5")], columns=["Source", "Arm", "Above"])
    assert terminal_lines(table(cells, "Transfer", 2), "soft")["Above"].tolist() == ["0.5", "1.5"]
