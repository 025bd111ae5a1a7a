"""Stored maps are found by what a method is: hours of results hang on these digests."""

import pytest
from planted import preset

from harmonia.store.identity import fingerprint
from harmonia.store.manifest import set_key

KEYS = {
    "gc": "591b42418ad00302",
    "ss": "1536226ab534b678",
    "ss_cpu": "92cce2276f811301",
    "ss_paper": "33d254598835be10",
    "ss_faithful": "c39244279c1eac7e",
}


@pytest.mark.parametrize("name", KEYS)
def test_stored_maps_of_a_method_keep_their_key(name):
    # a digest that changes asks for a new version of the method, or for leaving its settings alone
    assert set_key(fingerprint(preset(name)))[:16] == KEYS[name]
