import pytest
import torch
from skimage.segmentation import slic

from harmonia.attribution.lima import LiMA, greedy

SIZE, CELL = 16, 4
LABELS = torch.tensor([3, 0, 2])
WEIGHTS = 20, 5, 0.05


def squares(count):
    """Images of 16 flat squares without black: superpixels that SLICO finds."""
    cells = torch.randint(1, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    return cells.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3).to(torch.uint8)


def regions_of(pixels, segments):
    image = pixels.permute(1, 2, 0).double().numpy() / 255
    return torch.from_numpy(slic(image, n_segments=segments, slic_zero=True, start_label=0)).long()


class Parts(torch.nn.Module):
    """Of class 0 the logit is what parts of the image are worth that are not black, and a constant."""

    def __init__(self, worth, bias=-3.0):
        super().__init__()
        self.worth, self.bias = worth, bias

    def forward(self, images):
        shown = (images.amax(1) > 0).float()
        logit = (shown * self.worth).sum((1, 2)) + self.bias
        return torch.stack([logit, -logit], 1)


def passes_of(regions, pending):
    """Of the image, and of every round: what is shown and what is left, beside the front and beside the back."""
    passes = 1
    while regions > 1:
        passes += 2 * regions
        if regions > pending:
            passes += 2 * pending
            regions -= 1
        regions -= 1
    return passes


def slow_ranks(model, image, regions, label, pending, weights):
    """The rounds written out, one network pass at a time."""
    consistency, collaboration, confidence = weights
    everything = set(regions.unique().tolist())

    def p(subset):
        shown = sum((regions == region for region in subset), torch.zeros_like(regions, dtype=torch.bool))
        return model((image * shown)[None])[0].double().softmax(0)

    def value(subset):
        shown, without = p(subset), p(everything - subset)
        entropy = -(shown * shown.log()).sum() / torch.tensor(float(len(shown))).log()
        gain = consistency * shown[label] + collaboration * (1 - without[label])
        return (gain + confidence * (1 - entropy)).item()

    front, back, left = [], [], set(everything)
    while len(left) > 1:
        values = {region: value({*front, region}) for region in left}
        front.append(max(values, key=values.__getitem__))
        del values[front[-1]]
        if len(left) > pending:
            worst = sorted(values, key=values.__getitem__)[:pending]
            beside = {region: value({*back, region}) for region in worst}
            back.append(min(beside, key=beside.__getitem__))
        left -= {*front, *back}
    order = [*front, *left, *back[::-1]]
    ranks = torch.zeros(regions.shape)
    for place, region in enumerate(order):
        ranks[regions == region] = (len(order) - place) / len(order)
    return ranks


def test_the_one_region_that_carries_the_class_comes_first_and_the_one_that_costs_it_last(explain):
    pixels, worth = squares(1), torch.zeros(SIZE, SIZE)
    worth[4:8, 8:12], worth[12:, :4] = 6 / CELL**2, -6 / CELL**2
    maps = explain(LiMA(segments=16, pending=4), Parts(worth), pixels, torch.tensor([0])).maps
    assert regions_of(pixels[0], 16).max() == 15
    assert (maps[0] == 1).nonzero().tolist() == [[y, x] for y in range(4, 8) for x in range(8, 12)]
    assert (maps[0] == maps.min()).nonzero().tolist() == [[y, x] for y in range(12, 16) for x in range(4)]
    assert maps.unique().tolist() == pytest.approx([rank / 16 for rank in range(1, 17)])


def test_of_another_class_the_same_regions_come_in_the_other_order(explain):
    worth = torch.linspace(-1, 1, 16).view(4, 4).repeat_interleave(CELL, 0).repeat_interleave(CELL, 1) / CELL**2
    maps = [
        explain(LiMA(segments=16, confidence=0), Parts(worth, 0.0), squares(1), torch.tensor([label])).maps
        for label in (0, 1)
    ]
    for map_, sign in zip(maps, (1, -1), strict=True):
        assert torch.equal(map_.flatten().argsort(stable=True), (sign * worth).flatten().argsort(stable=True))


@pytest.mark.parametrize(("segments", "pending", "weights"), [(16, 3, WEIGHTS), (9, 1, (1, 0, 0)), (6, 99, WEIGHTS)])
@torch.no_grad()
def test_it_equals_a_slow_re_write(segments, pending, weights, toy, noise, explain):
    model, pixels = toy("small"), noise(3, SIZE)
    model.network.fc.weight.data *= 20  # else probabilities differ by little more than rounding
    numbers = dict(zip(("consistency", "collaboration", "confidence"), weights, strict=True))
    explanation = explain(LiMA(segments=segments, pending=pending, **numbers), model, pixels, LABELS)
    for row, label in enumerate(LABELS.tolist()):
        regions = regions_of(pixels[row], segments)
        slow = slow_ranks(model, pixels[row] / 255, regions, label, pending, weights)
        torch.testing.assert_close(explanation.maps[row], slow)
        assert explanation.passes[row] == passes_of(len(regions.unique()), pending)


def test_as_many_pending_as_regions_is_plain_greedy_search_with_its_passes():
    worth, asked = torch.tensor([3.0, 1.0, 4.0, 2.0, 5.0]), []

    def score(subsets):
        asked.extend(subsets)
        return torch.stack([worth[subset].sum() for subset in subsets])

    for pending, scored in ((1, 5 + 1 + 3 + 1), (2, 5 + 2 + 3 + 2), (5, 5 + 4 + 3 + 2)):
        asked.clear()
        assert greedy(score, 5, pending) == [4, 2, 0, 3, 1]
        assert len(asked) == scored
    assert greedy(score, 1, 1) == [0]
    assert passes_of(49, 8) == 1609
    assert passes_of(64, 8) == 2591
    assert passes_of(49, 1000) == 49 * 50 - 1  # as conf/method/lima.yaml says


def test_maps_are_the_same_bit_for_bit_alone_in_a_batch_and_in_another_order(toy, noise, explain):
    model, pixels, method = toy("small"), noise(3, SIZE), LiMA(segments=9, pending=2)
    together = explain(method, model, pixels, LABELS)
    other = torch.tensor([2, 0, 1])
    assert torch.equal(explain(method, model, pixels[other], LABELS[other], batch_size=2).maps, together.maps[other])
    for row in range(3):
        alone = explain(method, model, pixels[[row]], LABELS[[row]], batch_size=1)
        assert torch.equal(alone.maps, together.maps[[row]])
        assert torch.equal(alone.p_explained, together.p_explained[[row]])


def test_regions_that_make_no_difference_come_in_no_order_of_places(explain):
    plain = torch.full((1, 3, SIZE, SIZE), 102, dtype=torch.uint8)
    maps = explain(LiMA(segments=16), Parts(torch.zeros(SIZE, SIZE)), plain, torch.tensor([0])).maps
    regions = regions_of(plain[0], 16)
    ranks = torch.stack([maps[0][regions == region].unique() for region in range(int(regions.max()) + 1)])[:, 0]
    assert len(ranks.unique()) == len(ranks) > 12
    assert abs(torch.corrcoef(torch.stack([ranks, torch.arange(len(ranks))]))[0, 1]) < 0.5


@pytest.mark.parametrize(("channels", "size"), [(1, (16, 16)), (4, (8, 24)), (2, (24, 8))])
def test_grey_and_many_channels_and_rectangles_have_maps_of_the_view(channels, size, explain):
    pixels = torch.randint(1, 256, (1, channels, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    carries = regions_of(pixels[0], 12) == 5
    worth = 6 * carries / carries.sum()
    maps = explain(LiMA(segments=12), Parts(worth), pixels, torch.tensor([0])).maps
    assert maps.shape == (1, *size)
    assert torch.equal(maps[0] == 1, carries)


def test_passes_that_do_not_fit_are_halved_and_the_map_is_the_same(explain):
    class Tight(Parts):
        def forward(self, images):
            if len(images) > 2:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 MiB")
            return super().forward(images)

    worth = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0)) / 20
    roomy, tight = (
        explain(LiMA(segments=16), kind(worth), squares(2), torch.tensor([0, 1])) for kind in (Parts, Tight)
    )
    assert torch.equal(roomy.maps, tight.maps)
    assert torch.equal(roomy.passes, tight.passes)


def test_where_the_answers_to_subsets_are_nan_the_map_is_nan(explain):
    class Spoilt(Parts):
        def forward(self, images):
            return super().forward(images) * torch.where((images == 0).all(1).any((1, 2)), torch.nan, 1.0)[:, None]

    explanation = explain(LiMA(segments=4), Spoilt(torch.zeros(SIZE, SIZE)), squares(1), torch.tensor([0]))
    assert explanation.maps.isnan().all()
    assert explanation.p_explained.isfinite().all()
