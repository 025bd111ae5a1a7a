"""Small trees of images with different bytes each."""

from collections.abc import Callable
from pathlib import Path

import pytest
from paths import SHARED
from PIL import Image

Tree = Callable[[Path, dict[str, int]], Path]


@pytest.fixture
def tree() -> Tree:
    def write(root: Path, sizes: dict[str, int]) -> Path:
        """So many images in each class folder, named 0.png, 1.png, ..."""
        for position, (folder, size) in enumerate(sizes.items()):
            (root / folder).mkdir(parents=True)
            for number in range(size):
                Image.new("RGB", (2, 2), (position, number, 7)).save(root / folder / f"{number}.png")
        return root

    return write


@pytest.fixture
def shared_data() -> Path:
    """Real images beside the project, which users do not have."""
    path = SHARED / "data"
    if not path.is_dir():
        pytest.skip("the shared trial data does not lie beside the project")
    return path
