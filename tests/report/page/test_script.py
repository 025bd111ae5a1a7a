import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonia.report.page.data import script


def received(text):
    assert text.startswith("harmonia.receive(")
    name, _, value = text.removeprefix("harmonia.receive(").removesuffix(");\n").partition(",")
    return json.loads(name), json.loads(value)


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_any_text_is_plain_ascii_without_a_mark_that_html_or_javascript_reads(key, value):
    text = script("index", {key: [value]})
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert received(text) == ("index", {key: [value]})


def test_arrays_are_base64_of_deflated_little_endian_numbers_with_their_shape():
    array = np.array([[1, 2], [3, 65535]], dtype=">u2")
    _, value = received(script("x", array))
    assert (value["array"], value["shape"]) == ("u2", [2, 2])
    assert np.frombuffer(zlib.decompress(base64.b64decode(value["data"])), "<u2").tolist() == [1, 2, 3, 65535]


def test_what_json_does_not_know_is_refused():
    with pytest.raises(TypeError, match="got set"):
        script("x", {1})
    with pytest.raises(ValueError, match="JSON"):
        script("x", float("nan"))
