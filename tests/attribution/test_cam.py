import pytest
import torch
from captum.attr import LayerGradientXActivation
from pytorch_grad_cam import GradCAMPlusPlus as OraclePlusPlus
from pytorch_grad_cam import HiResCAM as OracleHiRes
from pytorch_grad_cam import LayerCAM as OracleLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from harmonia.attribution.cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from harmonia.attribution.captum_methods import IntegratedGradients
from harmonia.attribution.gradient import InputXGradient
from harmonia.attribution.layer import ClassGradient
from harmonia.errors import InputError
from harmonia.evaluation.mosaics.presentation import PartHead, on_mosaics
from harmonia.models.classifier import ModelSpec
from harmonia.models.load import load

LABELS = torch.tensor([3, 0, 2])


def random_classifier(arch):
    return load(ModelSpec(name="small", arch=arch, family="test", weights="random", input_size=None))


def oracle(kind, model, images, layer="conv2"):
    """pytorch-grad-cam's raw maps, from before its scaling and resizing."""

    class Raw(kind):
        def get_cam_image(self, *args, **kwargs):
            self.raw = torch.as_tensor(super().get_cam_image(*args, **kwargs))
            return self.raw.numpy()

    model.network.relu2.inplace = False
    with Raw(model.network, [model.layer(layer)]) as cam:
        cam(images.requires_grad_(), [ClassifierOutputTarget(int(label)) for label in LABELS])
        return cam.raw


def test_hirescam_equals_pytorch_grad_cam_and_captum(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(HiResCAM(layer="conv2"), model, pixels, LABELS).maps
    torch.testing.assert_close(maps, oracle(OracleHiRes, model, normalised(model, pixels)))
    captum = LayerGradientXActivation(model.network, model.network.conv2)
    found = captum.attribute(normalised(model, pixels).requires_grad_(), target=LABELS)
    torch.testing.assert_close(maps, found.sum(1).detach())


def test_layercam_equals_pytorch_grad_cam_where_features_are_not_negative(toy, noise, explain, normalised):
    # theirs clips the product's gradient and the features' sum; behind a ReLU both are ours
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(LayerCAM(layer="relu2"), model, pixels, LABELS).maps
    assert maps.max() > 0
    torch.testing.assert_close(maps, oracle(OracleLayer, model, normalised(model, pixels), "relu2"))


def test_grad_cam_plus_plus_equals_pytorch_grad_cam_where_gradients_dwarf_its_epsilon(toy, noise, explain, normalised):
    model, pixels = toy("small"), noise(3, 16)
    model.network.fc.weight.data *= 1000
    maps = explain(GradCAMPlusPlus(layer="relu2"), model, pixels, LABELS).maps
    torch.testing.assert_close(
        maps, oracle(OraclePlusPlus, model, normalised(model, pixels), "relu2"), rtol=1e-4, atol=1e-4
    )


def test_grad_cam_plus_plus_is_equations_19_and_its_weights_written_out(toy, noise, explain):
    model, pixels = toy("small"), noise(1, 16)
    maps = explain(GradCAMPlusPlus(layer="relu2"), model, pixels, LABELS[:1]).maps[0]
    outputs = []
    model.network.relu2.register_forward_hook(lambda module, args, output: outputs.append(output))
    with torch.no_grad():
        model(pixels / 255)
    features = outputs[0][0]  # C 4 4; every gradient is the class's weight over 16 positions
    expected = torch.zeros(4, 4)
    for channel, weight in zip(features, model.network.fc.weight[3] / 16, strict=True):
        alpha = weight**2 / (2 * weight**2 + sum(channel.flatten()) * weight**3)
        expected += sum(alpha * max(weight, 0) for _ in range(16)) * channel
    torch.testing.assert_close(maps, expected)


def test_on_signed_features_a_weight_stays_between_0_and_half_the_positive_gradients():
    # -2/g is the pole of a channel whose features are negative; behind a ReLU none is
    gradients = torch.full((1, 3, 2, 2), 0.5)
    features = torch.tensor([-0.99, -1.01, 1.0])[:, None, None].expand(1, 3, 2, 2).contiguous()
    class_gradient = ClassGradient(features, gradients, torch.zeros(1, 4), torch.zeros(1, dtype=torch.long))
    alpha = torch.tensor([1 / 2, 1 / 2, 1 / (2 + 4 * 0.5)])
    expected = (alpha * 4 * 0.5 * features[0, :, 0, 0]).sum()
    torch.testing.assert_close(GradCAMPlusPlus().maps(class_gradient), expected.expand(1, 2, 2))


def test_a_channel_without_gradient_has_no_weight_and_no_nan(toy, noise, explain):
    model = toy("small")
    model.network.fc.weight.data[:, :3] = 0
    assert explain(GradCAMPlusPlus(layer="relu2"), model, noise(2, 16)).maps.isfinite().all()
    model.network.fc.weight.data.zero_()
    assert explain(GradCAMPlusPlus(layer="relu2"), model, noise(2, 16)).maps.eq(0).all()


@pytest.mark.parametrize("method", [HiResCAM(), GradCAM()])
def test_before_global_pooling_and_a_linear_layer_hirescam_and_grad_cam_sum_to_the_logit(method, toy, noise, explain):
    model, pixels = toy("small"), noise(3, 16)
    maps = explain(method, model, pixels, LABELS).maps
    scores = model(pixels / 255).gather(1, LABELS[:, None])[:, 0] - model.network.fc.bias[LABELS]
    torch.testing.assert_close(maps.sum((1, 2)), scores.detach())


@pytest.mark.parametrize("method", [HiResCAM, LayerCAM, InputXGradient, IntegratedGradients])
def test_in_front_of_a_normalisation_features_times_gradients_cancel_and_are_refused(method, explain, noise):
    model = random_classifier("test_vit")
    with pytest.raises(InputError, match=r"features times gradients cancel .* layer=normalised"):
        explain(method(layer="blocks.4"), model, noise(2, model.view.size))


@pytest.mark.parametrize("method", [HiResCAM, LayerCAM])
def test_of_a_vit_these_cams_look_behind_the_last_blocks_normalisation(method, explain, noise):
    model = random_classifier("test_vit")
    assert method().layer_of(model) == "blocks.5.norm1"
    assert explain(method(), model, noise(2, model.view.size)).maps.abs().amax((1, 2)).gt(0).all()


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("test_resnet", "layer4"),
        ("test_convnext", "stages"),
        ("vit_relpos_small_patch16_rpn_224", "blocks.10"),  # normalises behind its attention
        ("vit_base_patch16_siglip_gap_224", "blocks.10"),  # pools patches, beside the normalisation
    ],
)
@pytest.mark.slow
def test_where_the_scale_of_the_last_feature_map_matters_the_normalised_layer_is_the_default_one(arch, name):
    model = random_classifier(arch)
    assert model.layer_name("normalised") == model.layer_name("final") == name


def test_a_head_that_reads_a_cells_tokens_notices_their_scale(explain, noise):
    presented = PartHead(on_mosaics(random_classifier("test_vit"), 2, "tiled").classifier, 2, 0)
    assert HiResCAM().layer_of(presented) == "blocks.4"
    maps = explain(HiResCAM(), presented, noise(1, 2 * presented.classifier.view.size)).maps
    assert maps.abs().sum() > 0
