import math

import numpy as np
import pytest
import torch
from metric_batch import batch, by, classifier, pixels
from planted_jobs import scored_maps
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import nn

from harmonia.attribution.cam import GradCAM
from harmonia.attribution.gradient import Gradient
from harmonia.attribution.nulls import Edges, Random
from harmonia.evaluation.metrics.mprt import EfficientMprt, Mprt, histogram_entropy, similarity
from harmonia.evaluation.metrics.randomisation import randomised
from harmonia.statistics.ranking import ranking

SIZE = 16


class Net(nn.Module):
    """Two convolutions and a linear layer, with a position embedding of its own."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 3, SIZE, SIZE))
        self.first = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward_features(self, images):
        return self.second(self.norm(self.first(images + self.place)).sin())

    def forward(self, images):
        return self.head(self.forward_features(images).sigmoid().mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return classifier(Net(), SIZE)


LAYERS = ["head", "second", "norm", "first", "place"]


@pytest.mark.parametrize("cascading", [True, False])
@pytest.mark.parametrize("method", [Edges(), Random(cells=6)])
def test_a_map_of_the_input_alone_has_similarity_one_at_every_layer_and_is_flagged(model, method, cascading):
    metric = Mprt(cascading=cascading)
    scores = metric(batch(model, by(method), pixels(3, SIZE))).scores
    for measure in ("spearman", "ssim"):
        for name in [f"{metric.name}_{measure}", *(f"{metric.name}_{measure}/{layer}" for layer in LAYERS)]:
            assert scores[name].values.tolist() == [1.0] * 3  # exactly: what is nearly 1 would be ranked
    assert scores[f"{metric.name}_looks_at_model"].values.tolist() == [0.0] * 3


def test_methods_whose_maps_do_not_change_share_the_last_rank():
    maps = torch.rand(4, 2, 7, 7, generator=torch.Generator().manual_seed(0))  # of methods and images
    again = torch.cat([maps[:3], maps[3:].flip(3)])
    # at 224 pixels float32's SSIM of equal maps is up to 6e-6 below 1, for each map another number
    of_methods = [similarity(one, other, 224, True, "head") for one, other in zip(maps, again, strict=True)]
    for measure in ("spearman", "ssim"):
        values = torch.stack([found[measure].values for found in of_methods], 1)
        assert values[:, :3].unique().tolist() == [1.0]
        assert ranking(scored_maps(values[..., None].numpy(), {measure: "lower"}))["rank"].tolist() == [3, 3, 3, 1]


def test_a_method_that_looks_at_the_model_is_not_flagged(model):
    scores = Mprt()(batch(model, by(GradCAM(layer="second")), pixels(3, SIZE))).scores
    assert scores["mprt_looks_at_model"].values.tolist() == [1.0] * 3
    assert (scores["mprt_spearman"].values < 1).all()


def literal(model, images, metric):
    """The definition, written out: networks one after another, maps compared one by one."""
    method, correlations = by(Gradient()), []
    rows = torch.arange(len(images))
    original = method(model, images.float() / 255, rows).abs().numpy()
    with randomised(model, metric.granularity, metric.seed) as layers:
        for layer in layers.names:
            layers.randomise(layer)
            maps = method(model, images.float() / 255, rows).abs().numpy()
            correlations.append(
                [spearmanr(one.ravel(), other.ravel())[0] for one, other in zip(original, maps, strict=True)]
            )
            if not metric.cascading:
                layers.restore(layer)
    return np.array(correlations)


@pytest.mark.parametrize("cascading", [True, False])
def test_the_scores_are_those_of_the_definition_written_out(model, cascading):
    metric, images = Mprt(cascading=cascading), pixels(5, SIZE)
    scores = metric(batch(model, by(Gradient()), images)).scores
    expected = literal(model, images, metric)
    for layer, values in zip(LAYERS, expected, strict=True):
        assert scores[f"{metric.name}_spearman/{layer}"].values.numpy() == pytest.approx(values)
    # the unchanged network, which Quantus averages in, has no part in the mean
    assert scores[f"{metric.name}_spearman"].values.numpy() == pytest.approx(expected.mean(0))


def test_both_orders_agree_on_the_first_layer_and_not_on_the_last(model):
    images = pixels(4, SIZE)
    cascading, independent = (
        Mprt(cascading=cascading)(batch(model, by(Gradient()), images)).scores for cascading in (True, False)
    )
    first, last = (
        [
            found[f"{name}_spearman/{layer}"].values
            for found, name in ((cascading, "mprt"), (independent, "mprt_independent"))
        ]
        for layer in (LAYERS[0], LAYERS[-1])
    )
    assert torch.equal(*first)
    assert not torch.equal(*last)


def test_a_map_of_the_position_embedding_changes_with_it_alone(model):
    def explain(model, images, rows):
        return model.network.place[0].sum(0).expand(len(rows), SIZE, SIZE)

    found = Mprt(cascading=False)(batch(model, explain, pixels(2, SIZE))).scores
    of_layer = {layer: found[f"mprt_independent_spearman/{layer}"].values[0].item() for layer in LAYERS}
    assert {layer for layer, value in of_layer.items() if value < 0.999} == {"place"}


@pytest.mark.parametrize(("value", "flag"), [(0.0, "zero"), (2.0, "constant"), (float("nan"), "non-finite")])
def test_a_flagged_map_of_a_random_network_is_undefined_and_named(model, value, flag):
    before = model.network.norm.weight.clone()

    def explain(model, images, rows):
        maps = images.mean(1)
        untouched = torch.equal(model.network.norm.weight, before)
        return maps if untouched else torch.where(rows[:, None, None] == 1, value, maps)

    model.network.norm.weight.data.uniform_()
    before = model.network.norm.weight.clone()
    scores = Mprt(cascading=False)(batch(model, explain, pixels(3, SIZE))).scores
    of_layer = scores["mprt_independent_ssim/norm"]
    assert of_layer.values.isnan().tolist() == [False, True, False]
    assert of_layer.reasons == ("", f"{flag} map with norm randomised", "")
    mean = scores["mprt_independent_ssim"]
    assert mean.values.isnan().tolist() == [False, True, False]
    assert mean.reasons[1] == f"{flag} map with norm randomised; in all 1 of 5 layers"
    assert scores["mprt_independent_spearman/head"].values.tolist() == pytest.approx([1, 1, 1])


def test_the_model_is_what_it_was_also_behind_an_exception(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images, asked = pixels(2, SIZE), []

    def explain(model, images, rows):
        asked.append(rows)
        if len(asked) == 4:
            raise RuntimeError("out of ideas")
        return images.mean(1)

    with pytest.raises(RuntimeError, match="out of ideas"):
        Mprt()(batch(model, explain, images))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model._forward_pre_hooks


def test_every_image_is_explained_once_a_network_and_progress_adds_up(model):
    done, rows, explain = [], [], by(GradCAM(layer="second"))

    def counting(model, images, chosen):
        rows.extend(chosen.tolist())
        return explain(model, images, chosen)

    explained = batch(model, counting, pixels(8, SIZE), done.append)
    rows.clear()
    Mprt()(explained)
    assert sorted(rows) == sorted(6 * list(range(8)))  # the trained network and five others
    assert sum(done) == pytest.approx(8)


def written_out_ssim(original, changed, high):
    """Wang et al. 2004, equation 13, Gaussian window of 11 px, sigma 1.5, the image mirrored at its border."""

    def blur(image):
        return gaussian_filter(image, 1.5, truncate=3.5, mode="mirror")

    first, second = (0.01 * high) ** 2, (0.03 * high) ** 2
    mean, of_changed = blur(original), blur(changed)
    covariance = blur(original * changed) - mean * of_changed
    spread = blur(original**2) - mean**2 + blur(changed**2) - of_changed**2
    alike = (2 * mean * of_changed + first) * (2 * covariance + second)
    return (alike / ((mean**2 + of_changed**2 + first) * (spread + second))).mean()


@pytest.mark.parametrize(("absolute", "high"), [(True, 1.0), (False, 2.0)])
def test_ssim_is_that_of_wang_on_maps_scaled_to_one(absolute, high):
    first, second = torch.randn(2, 2, 20, 20, generator=torch.Generator().manual_seed(0))
    values = similarity(first, 7 * second, 20, absolute, "head")["ssim"].values
    for number in range(2):
        maps = [part[number].double().numpy() for part in (first, second)]
        maps = [np.abs(part) if absolute else part for part in maps]
        expected = written_out_ssim(*(part / np.abs(part).max() for part in maps), high)
        assert values[number].item() == pytest.approx(expected, abs=1e-5)


def test_magnitudes_do_not_tell_a_map_from_its_negative_and_signs_do():
    maps = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    similar = [similarity(maps, -maps, 16, absolute, "head")["spearman"].values.item() for absolute in (True, False)]
    assert similar == pytest.approx([1, -1])


def test_a_map_of_one_magnitude_has_no_ranks():
    maps = torch.ones(1, 16, 16)
    maps[:, :8] = -1
    score = similarity(maps, torch.rand(1, 16, 16), 16, True, "head")["spearman"]
    assert score.values.isnan().all()
    assert score.reasons == ("constant absolute map",)


@pytest.mark.parametrize("evaluation", ["mprt", "mprt_independent"])
def test_a_granularity_that_there_is_not_is_refused_in_one_line(cli, evaluation):
    words = ["source=timm", "source.arch=test_resnet", "source.weights=random", "target=self", "data=folder"]
    code, _, err = cli(*words, "data.root=.", f"evaluation={evaluation}", "evaluation.metric.granularity=blocks")
    assert code == 2
    key = "evaluation.metric.granularity"
    assert err == f"harmonia: {key} must be one of block, layer, got 'blocks'; write {key}=block\n"


def test_what_quantus_leaves_trained_is_drawn_here(model):
    quantus = pytest.importorskip("quantus.helpers.model.pytorch_model", reason="quantus is not installed")
    wrapped = quantus.PyTorchModel(model.network, channel_first=True)
    *_, (_, theirs) = wrapped.get_random_layer_generator("top_down")
    # it asks modules for reset_parameters; an embedding that the network itself owns has none
    assert torch.equal(theirs.place, model.network.place)
    trained = model.network.place.clone()
    with randomised(model, "block", 0) as layers:
        for layer in layers.names:
            layers.randomise(layer)
        assert not torch.equal(model.network.place, trained)


def test_the_unchanged_network_counts_in_quantus_mean():
    """It leaves out "orig", but calls that network "original": of one layer with similarity 0 the mean is .5."""
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    theirs = quantus.MPRT(disable_warnings=True, return_average_correlation=True)
    theirs.evaluation_scores = {"original": [1.0], "head": [0.0]}
    assert theirs.recompute_average_correlation_per_sample() == [0.5]


SIDE = 20


@pytest.fixture
def one_layer():
    torch.manual_seed(0)
    return classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 18 * 18, 4)), SIDE)


def when(model, trained, random):
    """A method whose map is one picture on the trained network and another on the random one."""
    weight = model.network[0].weight.clone()

    def explain(model, images, rows):
        picture = trained if torch.equal(model.network[0].weight, weight) else random
        return picture.expand(len(rows), *picture.shape)

    return explain


def test_the_rise_from_two_levels_to_a_hundred_has_a_closed_form(one_layer):
    two = torch.zeros(SIDE, SIDE)
    two[: SIDE // 2] = 1
    ramp = torch.arange(SIDE**2).float().view(SIDE, SIDE)  # four pixels in each of 100 bins
    found = EfficientMprt()(batch(one_layer, when(one_layer, two, ramp), pixels(3, SIDE))).scores
    assert found["efficient_mprt"].values.tolist() == pytest.approx([math.log(100) / math.log(2) - 1] * 3)
    fallen = EfficientMprt()(batch(one_layer, when(one_layer, ramp, two), pixels(1, SIDE))).scores
    assert fallen["efficient_mprt"].values.item() == pytest.approx(math.log(2) / math.log(100) - 1)


def test_a_map_that_does_not_change_does_not_rise_and_is_flagged(one_layer):
    scores = EfficientMprt()(batch(one_layer, by(Edges()), pixels(3, SIDE))).scores
    assert scores["efficient_mprt"].values.tolist() == [0.0] * 3
    assert scores["efficient_mprt_looks_at_model"].values.tolist() == [0.0] * 3
    scores = EfficientMprt()(batch(one_layer, by(Gradient()), pixels(3, SIDE))).scores
    assert scores["efficient_mprt_looks_at_model"].values.tolist() == [1.0] * 3


def test_a_constant_map_of_the_random_network_is_undefined(one_layer):
    ramp = torch.arange(SIDE**2).float().view(SIDE, SIDE)
    score = EfficientMprt()(batch(one_layer, when(one_layer, ramp, torch.ones(SIDE, SIDE)), pixels(2, SIDE))).scores[
        "efficient_mprt"
    ]
    assert score.values.isnan().all()
    assert score.reasons == ("constant map of the random network",) * 2


def test_every_image_is_explained_twice_and_the_model_is_what_it_was(one_layer):
    rows, explain = [], by(Gradient())

    def counting(one_layer, images, chosen):
        rows.extend(chosen.tolist())
        return explain(one_layer, images, chosen)

    before = {name: tensor.clone() for name, tensor in one_layer.state_dict().items()}
    explained = batch(one_layer, counting, pixels(8, SIDE))
    rows.clear()
    EfficientMprt()(explained)
    assert sorted(rows) == sorted(2 * list(range(8)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in one_layer.state_dict().items())


def test_entropy_is_that_of_the_histogram_written_out():
    maps = torch.randn(2, 30, 30, generator=torch.Generator().manual_seed(0))
    for map_, entropy in zip(maps.numpy(), histogram_entropy(maps, 100).tolist(), strict=True):
        place = np.minimum((100 * (map_ - map_.min()) / (map_.max() - map_.min())).astype(int), 99)
        shares = np.bincount(place.ravel()) / map_.size
        expected = -sum(share * math.log(share) for share in shares if share)
        assert entropy == pytest.approx(expected, abs=1e-3)


def test_entropy_equals_quantus():
    complexity = pytest.importorskip("quantus.functions.complexity_func", reason="quantus is not installed")
    maps = torch.randn(3, 30, 30, generator=torch.Generator().manual_seed(0))
    expected = [complexity.discrete_entropy(map_.numpy(), map_.numpy()) for map_ in maps]
    assert histogram_entropy(maps, 100).numpy() == pytest.approx(expected)
