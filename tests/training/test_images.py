"""Laws of the images of a fit: which ones teach and judge, what is refused, and their crops."""

import shutil

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from harmonia.cli.entry import conf_folder
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.training.crops import cropped
from harmonia.training.fit import fit_network
from harmonia.training.images import class_of, list_images, read_images
from harmonia.training.network import trainable
from harmonia.training.settings import TrainingData

VIEW = View(size=16, crop_pct=1.0, crop_mode="center", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


def data_of(root, **options) -> TrainingData:
    usual = {"class_map": None, "held_out": 0.25, "seed": 0, "per_class": None, "memory_gb": 1}
    return TrainingData(root=str(root), **{**usual, **options})


def ids(records):
    return {record.image_id for record in records}


def test_train_and_val_folders_are_taken_as_they_are(colours):
    listed = list_images(data_of(colours, per_class=5))
    assert listed.classes == ("blue", "green", "red")
    assert (len(listed.learned), len(listed.judged)) == (15, 12)
    assert {image_id.split("/")[0] for image_id in ids(listed.judged)} == {"val"}


def test_without_a_val_folder_a_share_of_each_class_is_held_out_by_a_seed(colours):
    listed, same, other = (list_images(data_of(colours / "train", seed=seed)) for seed in (0, 0, 1))
    assert ids(listed.judged) == ids(same.judged) != ids(other.judged)
    assert ids(listed.judged).isdisjoint(ids(listed.learned))
    assert sorted(map(class_of, listed.judged)) == ["blue"] * 3 + ["green"] * 3 + ["red"] * 3
    assert len(listed.learned) == 27


def test_images_beyond_memory_are_decoded_again_to_the_same_pixels(colours):
    kept, again = (read_images(data_of(colours, memory_gb=bound), VIEW, "skip") for bound in (1, 0))
    for in_memory, decoded in zip(kept, again, strict=True):
        positions = torch.tensor([3, 0])
        assert in_memory.kept is not None
        assert decoded.kept is None
        assert torch.equal(in_memory[positions][1], decoded[positions][1])


def test_unreadable_images_are_counted_and_left_out_or_end_the_fit(colours, tmp_path, caplog):
    root = shutil.copytree(colours, tmp_path / "data")
    (root / "train" / "red" / "0.png").write_bytes(b"no image")
    learned, _ = read_images(data_of(root), VIEW, "skip")
    assert len(learned) == 35
    assert "1 of 36 images cannot be read and are left out" in caplog.text
    with pytest.raises(InputError, match=r"0\.png cannot be read"):
        read_images(data_of(root), VIEW, "fail")


def broken(root, what):
    match what:
        case "one class":
            for split in ("train", "val"):
                shutil.rmtree(root / split / "red")
                shutil.rmtree(root / split / "blue")
        case "an empty class":
            for path in (root / "train" / "red").iterdir():
                path.unlink()
        case "a class that is judged alone":
            (root / "val" / "grey").mkdir()
            Image.new("RGB", (8, 8)).save(root / "val" / "grey" / "0.png")
        case "no train folder":
            shutil.rmtree(root / "train")
        case "a class without a readable image":
            for path in (root / "train" / "red").iterdir():
                path.write_bytes(b"no image")


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("one class", "train must hold at least two classes, got 'green' alone; name another"),
        ("an empty class", "red must hold images, got none; fill it or remove it"),
        ("a class that is judged alone", "must hold classes of .*train alone, got 'grey'; move it away"),
        ("no train folder", "must have a train folder beside val, got none; name another folder"),
        ("a class without a readable image", "images of red must be readable, got none; replace them"),
    ],
)
def test_a_folder_that_teaches_nothing_is_refused_in_one_line(colours, tmp_path, what, line):
    root = shutil.copytree(colours, tmp_path / "data")
    broken(root, what)
    with pytest.raises(InputError, match=line) as refused:
        read_images(data_of(root), VIEW, "skip")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["epochs=0"], "epochs must be at least 1, got 0; write epochs=1"),
        (["batch_size=1"], "batch_size must be at least 2, got 1"),
        (["source.input_size=4000"], "source.input_size must be at most 2048, got 4000"),
        (["crop_scale=[0.9,0.5]"], r"crop_scale must rise, got \[0.9, 0.5\]; write 'crop_scale=\[0.5,1\]'"),
        (["trainer.precision=16-mixed"], "must not be 16-mixed .* write trainer.precision=bf16-mixed"),
        (["trainer.precision=64"], "trainer.precision must be one of auto, 32-true, tf32, bf16-mixed"),
        (["shuffled_labels=3"], "shuffled_labels must be true or false, got 3; write shuffled_labels=true"),
        (["data.held_out=0"], "data.held_out must be at least 0.001, got 0; write data.held_out=0.1"),
        (["trainer._target_=os.system"], "trainer._target_ must lie in harmonia, got 'os.system'"),
        (["source=fitted"], "a fitted network must have a file, got weights=random; add source.weights="),
        (["lr=1e20"], "lr must be at most 100, got 1e.20; write lr=0.002"),
        (["lr=0"], "lr must be at least 1e-09, got 0; write lr=0.002"),
        (["crop_scale=[0,1]"], "crop_scale must be at least 0.01, got 0; write 0.01 in its place"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(colours, settings, tmp_path, words, line):
    with pytest.raises(InputError, match=line) as refused:
        fit_network(settings(colours, tmp_path / "fit", *words))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["lr", "clip", "ema", "warmup", "label_smoothing", "data.held_out"])
def test_what_a_range_says_to_write_is_the_default(colours, settings, tmp_path, key):
    default = OmegaConf.select(OmegaConf.load(conf_folder() / "fit.yaml"), key)
    with pytest.raises(InputError, match=f"; write {key}={default}$"):
        settings(colours, tmp_path, f"{key}=-1")


def test_a_folder_of_others_is_left_alone(colours, settings, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"must be a new folder, an empty one or a fit's, got 'thesis.tex' in it"):
        fit_network(settings(colours, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "model.safetensors").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(InputError, match=r"must lie in its folder, got the link 'model.safetensors'; remove it"):
        fit_network(settings(colours, linked))


def test_a_network_without_a_head_that_can_be_replaced_is_refused(colours, settings, tmp_path):
    source = settings(colours, tmp_path, "source.factory=networks:headless").source
    with pytest.raises(
        InputError, match=r"its last layer must be one that can be replaced by 2 classes, got: 0, which"
    ):
        trainable(source, ("cat", "dog"), 0)


def test_a_crop_shows_its_part_of_a_ramp_and_is_mirrored_by_its_draw():
    """Of an image whose intensity is the place across, cell j of a crop [l, l + w] shows l + w (j + 1/2) / n."""
    ramp = ((torch.arange(32) + 0.5) / 32).expand(2, 1, 24, 32)
    draws = torch.tensor([[0.0, 0.5, 1.0, 0.0, 0.9], [0.0, 0.5, 0.0, 0.0, 0.1]])
    crops = cropped(ramp, draws, torch.ones(2), (8, 8), (0.25, 0.25), 0.5)
    cells = (torch.arange(8) + 0.5) / 8
    torch.testing.assert_close(crops[0, 0], (0.5 + 0.5 * cells).expand(8, 8))
    torch.testing.assert_close(crops[1, 0, :, 1:], (0.5 * cells).flip(0).expand(8, 8)[:, 1:])


def test_the_whole_image_is_a_crop_that_changes_nothing():
    images = torch.rand(3, 3, 8, 8)
    crops = cropped(images, torch.full((3, 5), 0.5), torch.ones(3), (8, 8), (1, 1), 0)
    torch.testing.assert_close(crops, images)
