"""Stored maps are found by what a method is: hours of results hang on these digests."""

import pytest
from planted_patterns import preset

from harmonia.store.identity import fingerprint
from harmonia.store.manifest import set_key

KEYS = {
    "gc": "5649516d0071921b",
    "ss": "20afe63cce9be44b",
    "ss_cpu": "c5309f5098cb72c2",
    "ss_paper": "467752b118225b6c",
    "ss_faithful": "7aca91e6813234fb",
}


@pytest.mark.parametrize("name", KEYS)
def test_stored_maps_of_a_method_keep_their_key(name):
    # a digest that changes asks for a new version of the method, or for leaving its settings alone
    assert set_key(fingerprint(preset(name)))[:16] == KEYS[name]


def test_an_option_that_came_later_is_in_the_key_once_it_is_used():
    assert not {"jitter", "smooth"} & fingerprint(preset("ss")).keys()
    used = fingerprint(preset("ss_jitter"))
    assert (used["jitter"], used["smooth"]) == (0.05, 2)
