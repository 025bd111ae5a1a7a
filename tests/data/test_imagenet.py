import pytest
from timm.data import ImageNetInfo

from harmonia.data import imagenet


@pytest.mark.parametrize("text", ["n02086240", "155", "0155"])
def test_wordnet_id_and_index_mean_the_same_class(text):
    assert imagenet.class_name(text) == "n02086240"


@pytest.mark.parametrize("text", ["n00000000", "1000", "-1", "1.0", "٣", "", "Shih-Tzu"])
def test_anything_else_means_no_class(text):
    assert imagenet.class_name(text) is None


def test_wnids_stand_in_the_order_of_the_outputs():
    assert len(set(imagenet.wnids())) == 1000
    assert list(imagenet.wnids()) == sorted(imagenet.wnids())
    assert (imagenet.wnids()[0], imagenet.wnids()[999]) == ("n01440764", "n15075141")


def test_names_are_those_that_timm_gives():
    info = ImageNetInfo()
    assert list(imagenet.wnids()) == info.label_names()
    described = [info.label_name_to_description(wnid).split(",")[0] for wnid in imagenet.wnids()]
    assert [imagenet.readable(wnid) for wnid in imagenet.wnids()] == described


def test_readable_describes_imagenet_classes_and_keeps_other_names():
    assert imagenet.readable("n02086240") == "Shih-Tzu"
    assert imagenet.readable("my class") == "my class"
