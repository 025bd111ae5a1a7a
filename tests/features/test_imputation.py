"""Imputed pixels are those of elimination, whatever the holes."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import spsolve

from harmonia.features.imputation import impute


def eliminated(image: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """The same equations, one a dropped pixel, solved by sparse elimination."""
    height, width = dropped.shape
    number = np.cumsum(dropped).reshape(dropped.shape) - 1
    rows, columns, weights, right = [], [], [], np.zeros((dropped.sum(), len(image)))
    for y, x in np.argwhere(dropped):
        row = number[y, x]
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                weight = 0 if (v, u) == (y, x) else 2 if v == y or u == x else 1
                rows.append(row), columns.append(row), weights.append(weight)
                if dropped[v, u]:
                    rows.append(row), columns.append(number[v, u]), weights.append(-weight)
                else:
                    right[row] += weight * image[:, v, u]
    system = csr_array((np.array(weights, float), (rows, columns)), shape=(len(right),) * 2)
    filled = image.copy()
    filled[:, dropped] = spsolve(system, right).reshape(right.shape).T
    return filled


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


HOLES = {
    "one pixel": disc(9, 9, 4, 4, 0.5),
    "a corner pixel": disc(9, 9, 0, 0, 0.5),
    "a row": disc(1, 40, 0, 20, 15),
    "all but a corner": ~disc(60, 60, 0, 0, 0.5),
    "all but one pixel within": ~disc(75, 50, 20, 30, 0.5),
    "a corner": disc(120, 90, 0, 0, 80),
    "a frame": ~disc(101, 100, 50, 50, 45),
    "grains": np.random.default_rng(0).random((90, 97)) < 0.5,
    "few are known": np.random.default_rng(1).random((96, 64)) < 0.98,
    "stripes": np.broadcast_to((np.arange(80) % 5 > 0)[:, None], (80, 70)),
    "two thirds of a wide image": np.broadcast_to(np.arange(300) > 100, (150, 300)),
    "two, far apart": disc(64, 128, 10, 10, 6) | disc(64, 128, 50, 120, 12),
}


@pytest.mark.parametrize("dropped", HOLES.values(), ids=HOLES)
def test_pixels_are_those_of_elimination_to_1e_4_and_known_ones_stay(dropped):
    image = np.random.default_rng(2).random((3, *dropped.shape))
    image[1] = 0.25  # a channel that has nothing to solve
    filled = impute(image, dropped)
    np.testing.assert_allclose(filled, eliminated(image, dropped), atol=1e-4)
    assert np.array_equal(filled[:, ~dropped], image[:, ~dropped])


def test_an_image_of_extremes_ends_as_near():
    """A black and a white half: the steepest that a hole can be."""
    image = np.zeros((1, 100, 100))
    image[..., 50:] = 1
    dropped = disc(100, 100, 50, 50, 48)
    np.testing.assert_allclose(impute(image, dropped), eliminated(image, dropped), atol=1e-4)
