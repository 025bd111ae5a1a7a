import torch
from pytorch_grad_cam import AblationCAM as OracleAblation
from pytorch_grad_cam import ScoreCAM as OracleScore
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from harmonia.attribution.score_cam import AblationCAM, ScoreCAM

LABELS = torch.tensor([3, 0, 2])


def raw_oracle(kind, model, images):
    class Raw(kind):
        def get_cam_image(self, *args, **kwargs):
            self.raw = torch.as_tensor(super().get_cam_image(*args, **kwargs))
            return self.raw.numpy()

    model.network.relu2.inplace = False
    with Raw(model.network, [model.network.relu2]) as cam:
        cam(images, [ClassifierOutputTarget(int(label)) for label in LABELS])
        return cam.raw


def test_before_pooling_and_a_linear_layer_ablation_cam_weighs_a_channel_by_its_part_of_the_logit(toy, noise, explain):
    model, pixels = toy("small"), noise(3, 16)
    explanation = explain(AblationCAM(), model, pixels, LABELS, batch_size=2)
    with torch.no_grad():
        features = model.network.forward_features((pixels / 255 - model.mean) / model.std)
    part = features.mean((2, 3)) * model.network.fc.weight[LABELS]
    torch.testing.assert_close(explanation.maps, torch.einsum("bc,bchw->bhw", part, features), rtol=1e-4, atol=1e-6)
    assert explanation.passes.tolist() == [2 + 6] * 3


def test_ablation_cam_equals_pytorch_grad_cam_times_the_logit(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(AblationCAM(), model, pixels, LABELS).maps
    scores = model(pixels / 255).gather(1, LABELS[:, None])[:, 0].detach()
    theirs = raw_oracle(OracleAblation, model, normalised(model, pixels))
    torch.testing.assert_close(maps, theirs.float() * scores[:, None, None], rtol=1e-4, atol=1e-6)


def test_score_cam_equals_pytorch_grad_cam_where_every_channel_varies(toy, noise, explain, normalised, monkeypatch):
    # theirs enlarges with the corners aligned
    centred = lambda size: torch.nn.Upsample(size, mode="bilinear", align_corners=False)  # noqa: E731
    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", centred)
    model, pixels = toy("small"), noise(3, 16)
    model.network.conv2.bias.data += 3
    model.network.fc.weight.data *= 50  # else the weights are uniform to 2e-4, and no mask tells
    torch.testing.assert_close(
        explain(ScoreCAM(), model, pixels, LABELS).maps,
        raw_oracle(OracleScore, model, normalised(model, pixels)).float(),
        rtol=1e-4,
        atol=1e-6,
    )


def test_score_cam_weighs_no_constant_channel_and_gives_no_nan(toy, noise, explain):
    model, pixels = toy("small"), noise(2, 16)
    model.network.conv2.weight.data[0] = 0
    model.network.conv2.bias.data[0] = 1000.0  # a constant channel, the brightest of all
    model.network.fc.weight.data[:, 0] = 0  # which the logits do not hear
    maps = explain(ScoreCAM(), model, pixels, LABELS).maps
    assert maps.isfinite().all()
    assert maps.max() < 100
    model.network.conv2.weight.data.zero_()
    assert explain(ScoreCAM(), model, pixels, LABELS).maps.eq(0).all()


def test_where_the_logits_of_masked_images_are_nan_the_map_is_not_a_quiet_zero(toy, noise, explain):
    model, pixels = toy("small"), noise(2, 16)
    calls = []

    def spoil(module, args, output):
        calls.append(1)
        return output if len(calls) == 1 else output * torch.nan  # the first pass shows whole images

    hook = model.network.fc.register_forward_hook(spoil)
    assert explain(ScoreCAM(), model, pixels, LABELS).maps.isnan().all()
    hook.remove()


def test_score_cam_asks_for_each_images_own_class(toy, noise, explain):
    model, pixels = toy("small"), noise(1, 16).expand(2, -1, -1, -1)
    model.network.fc.weight.data *= 20
    maps = explain(ScoreCAM(), model, pixels, torch.tensor([0, 1])).maps
    alone = explain(ScoreCAM(), model, pixels[:1], torch.tensor([1])).maps
    torch.testing.assert_close(maps[1], alone[0])
    assert not torch.allclose(maps[0], maps[1], rtol=1e-3)
