import functools
import http.server
import socket
import tarfile
import threading
from pathlib import Path

import pytest

from harmonia.data import download, fastai
from harmonia.data.fastai import imagenette
from harmonia.errors import InputError

BREEDS = ("n02086240", "n02087394")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing on the tests' stderr."""


@pytest.fixture
def home(tmp_path, tree, monkeypatch):
    """A loopback server with a tiny imagewoof2-160.tgz: 2 x 2 validation, 2 x 3 training images."""
    content = tree(tmp_path / "made" / "imagewoof2-160", {f"val/{wnid}": 2 for wnid in BREEDS})
    tree(content, {f"train/{wnid}": 3 for wnid in BREEDS})
    for split in ("train", "val"):
        (content / split / BREEDS[0] / "0.png").rename(content / split / BREEDS[0] / f"ILSVRC2012_val_{split}.png")
    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "imagewoof2-160.tgz", "w:gz") as tar:
        tar.add(content, "imagewoof2-160")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fastai, "VAL_SIZES", {"imagenette": 3925, "imagewoof": 4})
    monkeypatch.setattr(fastai, "CLEAN_SIZE", 2)
    monkeypatch.setattr(download, "SCHEMES", ("http://127.0.0.1:",))
    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(fastai, "HOME", f"http://127.0.0.1:{server.server_address[1]}")
        yield
        server.shutdown()


def no_socket(*_: object, **__: object) -> None:
    raise AssertionError("a socket was opened")


def ids(records) -> list[str]:
    return [record.image_id for record in records]


def test_val_is_downloaded_once_and_train_is_the_pool(home, tmp_path, monkeypatch):
    images = imagenette("imagewoof", variant="160px", cache=tmp_path / "cache")
    assert images.name == "imagewoof"
    assert images.class_names == BREEDS
    assert [image_id.split("/")[0] for image_id in ids(images.records)] == ["val"] * 4
    assert [image_id.split("/")[0] for image_id in ids(images.pool)] == ["train"] * 6
    assert not (tmp_path / "cache" / "imagewoof2-160.tgz").exists()
    monkeypatch.setattr(socket, "socket", no_socket)
    assert imagenette("imagewoof", variant="160px", cache=tmp_path / "cache", download=False) == images


def test_clean500_is_the_ilsvrc_validation_files_of_both_splits(home, tmp_path):
    images = imagenette("imagewoof", unseen=True, variant="160px", cache=tmp_path / "cache")
    assert ids(images.records) == [
        f"train/{BREEDS[0]}/ILSVRC2012_val_train.png",
        f"val/{BREEDS[0]}/ILSVRC2012_val_val.png",
    ]
    assert len(images.pool) == 5
    assert not set(ids(images.pool)) & set(ids(images.records))


def test_an_incomplete_download_is_refused(home, tmp_path, monkeypatch):
    monkeypatch.setattr(fastai, "VAL_SIZES", {"imagewoof": 3929})
    with pytest.raises(InputError, match="must hold 3,929 images, got 4; delete the folder"):
        imagenette("imagewoof", variant="160px", cache=tmp_path / "cache")
    monkeypatch.setattr(fastai, "VAL_SIZES", {"imagewoof": 4})
    monkeypatch.setattr(fastai, "CLEAN_SIZE", 500)
    with pytest.raises(InputError, match="500 files"):
        imagenette("imagewoof", unseen=True, variant="160px", cache=tmp_path / "cache")


def test_download_false_opens_no_socket_and_names_every_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(InputError) as caught:
        imagenette("imagenette", variant="320px", cache=tmp_path, download=False)
    for part in (
        "data.download=true",
        "data.root=PATH",
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
        str(tmp_path / "imagenette2-320.tgz"),
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("load", [functools.partial(imagenette, name) for name in ("imagenette", "imagewoof")])
def test_a_local_copy_may_have_any_size(tmp_path, tree, monkeypatch, load):
    monkeypatch.setattr(socket, "socket", no_socket)
    root = tree(tmp_path, {"val/n02086240": 2, "train/n02086240": 1})
    assert (len(load(root=root).records), len(load(root=root).pool)) == (2, 1)


def test_wrong_choices_name_the_right_ones(tmp_path):
    with pytest.raises(InputError, match="full, 320px, 160px"):
        imagenette("imagewoof", variant="huge", cache=tmp_path)
    with pytest.raises(InputError, match="imagenette, imagewoof"):
        imagenette("imagenet", unseen=True, cache=tmp_path)
    with pytest.raises(InputError, match=r"paths\.cache=PATH"):
        imagenette("imagewoof")


def test_a_copy_without_ilsvrc_files_has_no_clean_images(tmp_path, tree):
    with pytest.raises(InputError, match="ILSVRC2012_val_"):
        imagenette("imagewoof", unseen=True, root=tree(tmp_path, {"val/n02086240": 2}))


def test_real_images_give_the_known_counts(shared_data):
    woof = imagenette("imagewoof", root=shared_data / "imagewoof", limit=30, pool_size=20)
    assert (len(woof.records), len(woof.pool), len(woof.class_names)) == (30, 20, 10)
    clean = imagenette("imagewoof", unseen=True, root=Path(shared_data / "imagewoof"), pool_size=20)
    names = [path.name for path in (shared_data / "imagewoof").rglob("ILSVRC2012_val_*")]
    assert sorted(record.path.name for record in clean.records) == sorted(names)
