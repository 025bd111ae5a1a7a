import pandas as pd

from harmonia.report.sections.transfer import mark_random


def test_random_weights_are_said_beside_the_name_of_such_a_source_and_of_it_as_a_target():
    frame = pd.DataFrame(
        {"source": ["e7", "e7_random", "e7_random"], "target": ["e7", "e7", "e7_random"], "random_weights": [0, 1, 1]}
    )
    marked = mark_random(frame.astype({"random_weights": bool}))
    assert marked["source"].tolist() == ["e7", "e7_random (random)", "e7_random (random)"]
    assert marked["target"].tolist() == ["e7", "e7", "e7_random (random)"]
