import pytest

from harmonia.report.figures.style import style


@pytest.fixture(autouse=True)
def drawn_in_style():
    """As a report draws them."""
    with style():
        yield
