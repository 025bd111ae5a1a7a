"""Dropped pixels as the weighted means of their neighbours: Laplace's equation on a grid with holes.

The pixels of a hole hang together up to its border, so that elimination takes seconds. Conjugate gradients need a few
steps once a cycle over coarser and coarser grids says roughly what a residual is worth (O. Tatebe, "The multigrid
preconditioned conjugate gradient method", 1993). Intensities are those of elimination to 1e-4, and
to 3e-4 where a few pixels of a large image are all that is known.
"""

import numpy as np

_LAST_STEP = 2e-5  # of intensities; what is left is less than five of it
_COARSEST = 8  # pixels of a side: a grid so small is solved by a matrix
_TINY = np.float32(1e-30)  # a channel may have no residual left

# Of cells in a frame of one that stays 0, (H, W) each: unknown (1, else 0), sixteen times what its equation gives it,
# and the inverse of that, 0 where nothing is unknown.
Level = tuple[np.ndarray, np.ndarray, np.ndarray]


def impute(image: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Each dropped pixel becomes the weighted mean of its eight neighbours, of which some are dropped, too.

    Weights are 1/6 along the axes and 1/12 along the diagonals, over the sum of those that lie in the image.
    image: (C, H, W), intensities; dropped: (H, W), bool, neither all nor none. -> (C, H, W), float64.
    """
    ys, xs = (np.flatnonzero(dropped.any(axis)) for axis in (1, 0))
    box = slice(max(ys[0] - 1, 0), ys[-1] + 2), slice(max(xs[0] - 1, 0), xs[-1] + 2)
    holes = dropped[box]
    halvings = max(0, int(np.ceil(np.log2(max(holes.shape) / _COARSEST))))
    frame = [(1, 1 + -side % (1 << halvings)) for side in holes.shape]
    unknown, known = (np.pad(cells, frame).astype(np.float32) for cells in (holes, ~holes))
    levels, inverse = _levels(unknown, known)
    total = levels[0][1]

    part = np.pad(image[:, *box].astype(np.float32), [(0, 0), *frame])
    mean = (part * known).sum((1, 2), keepdims=True) / known.sum()
    residual = _sums((part - mean) * known) * unknown
    solution, direction, gain_before = np.zeros_like(residual), np.zeros_like(residual), np.float32(1)
    while True:
        worth = _worth(residual, levels, inverse)
        gain = _dots(residual, worth)
        direction *= gain / gain_before
        direction += worth
        change = total * direction - _sums(direction) * unknown
        length = gain / _dots(direction, change)
        step = length * direction
        solution += step
        if not np.abs(step).max() >= _LAST_STEP:  # NaN, too, ends it
            break
        residual -= length * change
        gain_before = gain
    filled = image.astype(np.float64)
    height, width = holes.shape
    filled[:, *box] = np.where(holes, (solution + mean)[:, 1 : height + 1, 1 : width + 1], filled[:, *box])
    return filled


def _levels(unknown: np.ndarray, known: np.ndarray) -> tuple[list[Level], np.ndarray]:
    """Grids of half the side each, finest first, and the inverse of the coarsest one's matrix.

    A coarse cell is unknown where one of its four is; it is pulled to the known ones as they are together.
    """
    pull = _sums(known) * unknown
    levels = []
    while True:
        total = (_sums(unknown) + pull) * unknown
        levels.append((unknown, total, unknown / np.maximum(total, 1)))
        if max(unknown.shape) <= _COARSEST + 2:
            break
        unknown, pull = np.minimum(_of_four(unknown), 1), _of_four(pull)
    points = np.eye(unknown.size, dtype=np.float32).reshape(-1, *unknown.shape)
    matrix = (total * points - _sums(points * unknown) * unknown).reshape(unknown.size, -1)
    return levels, np.linalg.inv(matrix + np.diag(1 - unknown.ravel()))


def _worth(residual: np.ndarray, levels: list[Level], inverse: np.ndarray) -> np.ndarray:
    """Roughly the solution that a residual lacks: a V-cycle with one Jacobi step on the way down and one up."""
    (unknown, _, inverted), *coarser = levels
    if not coarser:
        return unknown * (residual.reshape(len(residual), -1) @ inverse).reshape(residual.shape)
    worth = residual * inverted
    left = _sums(worth)
    left *= unknown
    finer = _finer(_worth(_of_four(_sums(_edged(left))), coarser, inverse))
    finer *= unknown
    worth += finer
    worth = _sums(worth)
    worth += residual
    worth *= inverted
    return worth


def _dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of each channel the product summed, (C, 1, 1)."""
    return left.reshape(len(left), 1, -1) @ right.reshape(len(right), -1, 1) + _TINY


def _sums(grid: np.ndarray) -> np.ndarray:
    """Of each cell, its neighbours and itself, with weights 1 2 1 along both axes; of the frame anything.

    Pairs of pairs, in one row over all ends: the frame keeps rows apart.
    """
    width, flat = grid.shape[-1], grid.ravel()
    sums = np.zeros_like(grid)
    for apart in (1, 1, width):
        flat = flat[apart:] + flat[:-apart]
    np.add(flat[width:], flat[:-width], out=sums.ravel()[width + 1 : -width - 1])
    return sums


def _edged(grid: np.ndarray) -> np.ndarray:
    """The same grid; its frame repeats the border."""
    grid[..., 0, :], grid[..., -1, :] = grid[..., 1, :], grid[..., -2, :]
    grid[..., 0], grid[..., -1] = grid[..., 1], grid[..., -2]
    return grid


def _of_four(grid: np.ndarray) -> np.ndarray:
    """Half the size, sums; behind _edged and _sums the transpose of _finer, but for its scale."""
    rows = grid[..., 1:-1:2, :] + grid[..., 2:-1:2, :]
    sums = np.zeros((*grid.shape[:-2], *(side // 2 + 1 for side in grid.shape[-2:])), np.float32)
    np.add(rows[..., 1:-1:2], rows[..., 2:-1:2], out=sums[..., 1:-1, 1:-1])
    return sums


def _finer(grid: np.ndarray) -> np.ndarray:
    """Twice the size, bilinear, cells by their centres, the border repeated; over sixteen, since residuals are sums."""
    channels, height, width = grid.shape
    rows = np.empty((channels, height - 2, 2 * width - 2), np.float32)
    rows[..., 1:-1:2] = rows[..., 2:-1:2] = grid[:, 1:-1, 1:-1] * np.float32(1 / 256)
    finer = np.empty((channels, 2 * height - 2, 2 * width - 2), np.float32)
    finer[:, 1:-1:2] = finer[:, 2:-1:2] = rows
    return _sums(_edged(finer))
