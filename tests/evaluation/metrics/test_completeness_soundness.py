import metric_batch
import pytest
import torch
from metric_batch import scored, small, value, varied

from harmonia.evaluation.metrics.completeness_soundness import CompletenessSoundness

SIZE = 8
PARTS = ("", "/predicted", "/runner_up", "/wrong_mean", "_least")


class Confident(torch.nn.Module):
    """Class 0 has probability .9 once the first row is shown, .4 before; class 3 has no weight worth naming."""

    def forward(self, images):
        shown = images[:, :, 0].amin((1, 2)) > 0
        p = torch.where(shown, 0.9, 0.4)
        rest = 1 - p
        return torch.stack([p, 0.7 * rest, 0.3 * rest - 1e-4, torch.full_like(p, 1e-4)], 1).log()


def rows_in_order(order):
    maps = torch.zeros(1, SIZE, SIZE)
    for rank, row in enumerate(order):
        maps[0, row] = SIZE - rank
    return maps


def test_the_scores_are_what_the_probabilities_say():
    white = torch.full((1, 3, SIZE, SIZE), 255, dtype=torch.uint8)
    model = metric_batch.classifier(Confident(), SIZE)
    first, last = rows_in_order(range(SIZE)), rows_in_order(reversed(range(SIZE)))
    metric = CompletenessSoundness(steps=SIZE)
    # the row that carries the class is inserted first: the class is whole from the first step on
    scores = scored(metric, model, white, first)
    assert [value(scores, f"completeness_auc{part}").item() for part in PARTS[:2]] == pytest.approx([1, 1])
    assert value(scores, "soundness_auc").item() == pytest.approx(1)
    # inserted last: it is whole at the last of eight steps only
    scores = scored(metric, model, white, last)
    area = (7 * 0.4 + 0.9) / 8
    assert value(scores, "completeness_auc").item() == pytest.approx(area / 0.9, rel=1e-5)
    assert value(scores, "soundness_auc").item() == pytest.approx(1)
    # and class 1, .07 of the image, gets .42 on the way there: below the floor of .1 the image's word counts as .1
    runner_up = (7 * 0.42 + 0.07) / 8
    assert value(scores, "soundness_auc/runner_up").item() == pytest.approx(0.1 / runner_up, rel=1e-5)
    assert value(scores, "soundness_auc_least").item() == pytest.approx(0.1 / runner_up, rel=1e-5)
    assert value(scores, "completeness_auc/runner_up").item() == 1
    assert value(scores, "completeness_auc/wrong_mean").item() == 1


@pytest.mark.parametrize("floor", [0.01, 0.1])
def test_every_label_choice_equals_a_literal_re_write_of_the_release(floor):
    """f_a and AUC_a as in the authors' code: 28 equal insertions into grey, mean, no point without a pixel."""
    model, pixels, maps = small(14, gain=20.0), metric_batch.pixels(4, 14), varied(4, 14)
    labels = torch.tensor([3, 1, 0, 2])
    scores = scored(CompletenessSoundness(floor=floor), model, pixels, maps, labels)
    for row in range(4):
        image = pixels[row].float() / 255
        order = maps[row].flatten().argsort(descending=True)
        curve = []
        for step in range(1, 29):
            keep = torch.zeros(14 * 14)
            keep[order[: 7 * step]] = 1
            keep = keep.view(14, 14)
            with torch.no_grad():
                curve.append(model((keep * image + (1 - keep) * 0.5)[None]).softmax(1)[0].tolist())
        f = curve[-1]
        auc = [sum(point[a] for point in curve) / 28 for a in range(4)]
        alpha = [min(1, max(floor, auc[a]) / min(1, f[a])) for a in range(4)]
        beta = [min(1, max(floor, f[a]) / auc[a]) for a in range(4)]
        ranked = sorted(range(4), key=lambda a: -f[a])
        for name, by_class in (("completeness_auc", alpha), ("soundness_auc", beta)):
            expected = [
                by_class[labels[row]],
                by_class[ranked[0]],
                by_class[ranked[1]],
                sum(by_class[a] for a in ranked[1:]) / 3,
                min(by_class),
            ]
            assert [value(scores, name + part)[row].item() for part in PARTS] == pytest.approx(expected, abs=1e-5)
    assert scores.passes.tolist() == [28] * 4


def test_of_the_predicted_class_any_map_is_sound_and_the_least_label_tells_maps_apart():
    """Random pixels never show the class better than the image; on the way they call for others."""
    white = torch.full((1, 3, SIZE, SIZE), 255, dtype=torch.uint8)
    model = metric_batch.classifier(Confident(), SIZE)
    metric = CompletenessSoundness(steps=SIZE)
    first, last = (scored(metric, model, white, rows_in_order(order)) for order in (range(SIZE), reversed(range(SIZE))))
    assert value(first, "soundness_auc") == value(last, "soundness_auc") == pytest.approx(1)
    assert value(first, "soundness_auc_least") > 2 * value(last, "soundness_auc_least")
