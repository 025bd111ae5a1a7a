import pytest

from harmonia.cli.arguments import keyword_arguments
from harmonia.errors import InputError


def test_words_become_values_by_key():
    words = ["run=a=b", "arm=soft"]
    assert keyword_arguments(words, ["run", "arm"], "harmonia.report") == {"run": "a=b", "arm": "soft"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "run must be given"),
        (["run="], "run must have a value"),
        (["run"], "run must have a value"),
        (["run=a", "run=b"], "'run=b' too"),
        (["run=a", "amr=soft"], "did you mean 'arm'"),
        (["run=a", "colour=red"], "see python -m harmonia.report --help"),
    ],
)
def test_a_wrong_word_is_named_with_its_remedy(words, said):
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        keyword_arguments(words, ["run", "arm"], "harmonia.report")
