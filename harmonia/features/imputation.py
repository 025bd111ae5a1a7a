"""Dropped pixels as the weighted means of their neighbours: Laplace's equation on a grid with holes.

The pixels of a hole hang together up to its border, so that elimination takes seconds. Conjugate gradients need a few
steps once a cycle over coarser and coarser grids says roughly what a residual is worth (O. Tatebe, "The multigrid
preconditioned conjugate gradient method", 1993). Intensities are those of elimination to 1e-4.
"""

import numpy as np

_LAST_STEP = 2e-5  # of intensities; what is left is less than five of it
_COARSEST = 8  # pixels of a side: a grid so small is solved by a matrix
_TINY = np.float32(1e-30)  # a channel may have no residual left

# unknown (1, else 0), what its equation gives itself, and the inverse of that, 0 where nothing is unknown: (H, W) each
Level = tuple[np.ndarray, np.ndarray, np.ndarray]


def impute(image: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Each dropped pixel becomes the weighted mean of its eight neighbours, of which some are dropped, too.

    Weights are 1/6 along the axes and 1/12 along the diagonals, over the sum of those that lie in the image.
    image: (C, H, W), intensities; dropped: (H, W), bool, neither all nor none. -> (C, H, W), float64.
    """
    ys, xs = (np.flatnonzero(dropped.any(axis)) for axis in (1, 0))
    box = slice(max(ys[0] - 1, 0), ys[-1] + 2), slice(max(xs[0] - 1, 0), xs[-1] + 2)
    part, holes = image[:, *box].astype(np.float64), dropped[box]
    halvings = max(0, int(np.ceil(np.log2(max(holes.shape) / _COARSEST))))
    beyond = [(0, -side % (1 << halvings)) for side in holes.shape]
    unknown = np.pad(holes, beyond).astype(np.float32)
    levels, inverse = _levels(unknown, np.pad(~holes, beyond).astype(np.float32))
    total = levels[0][1]

    start = part[:, ~holes].mean(1)[:, None, None] * unknown
    known = np.pad(np.where(holes, 0, part), [(0, 0), *beyond])
    solution = start
    residual = (_neighbours(known + start) * unknown - total * start).astype(np.float32)
    direction, gain_before = np.zeros_like(residual), np.float32(1)
    while True:
        worth = _worth(residual, levels, inverse)
        gain = np.einsum("cyx,cyx->c", residual, worth)[:, None, None] + _TINY
        direction = worth + gain / gain_before * direction
        change = total * direction - _neighbours(direction) * unknown
        length = gain / (np.einsum("cyx,cyx->c", direction, change)[:, None, None] + _TINY)
        step = length * direction
        solution = solution + step
        if not np.abs(step).max() >= _LAST_STEP:  # NaN, too, ends it
            break
        residual -= length * change
        gain_before = gain
    filled = image.astype(np.float64)
    height, width = holes.shape
    filled[:, dropped] = solution[:, :height, :width][:, holes]
    return filled


def _levels(unknown: np.ndarray, known: np.ndarray) -> tuple[list[Level], np.ndarray]:
    """Grids of half the side each, finest first, and the inverse of the coarsest one's matrix.

    A coarse cell is unknown where one of its four is; it is pulled to the known ones as they are together.
    """
    pull = _neighbours(known) * unknown
    levels = []
    while True:
        total = (_neighbours(unknown) + pull) * unknown
        levels.append((unknown, total, np.divide(1, total, out=np.zeros_like(total), where=total > 0)))
        height, width = unknown.shape
        if max(height, width) <= _COARSEST:
            break
        cells = (height // 2, 2, width // 2, 2)
        unknown, pull = unknown.reshape(cells).max((1, 3)), pull.reshape(cells).sum((1, 3))
    points = np.eye(unknown.size).reshape(-1, height, width)
    matrix = (total * points - _neighbours(points * unknown) * unknown).reshape(unknown.size, -1)
    return levels, np.linalg.inv(matrix + np.diag(1 - unknown.ravel())).astype(np.float32)


def _worth(residual: np.ndarray, levels: list[Level], inverse: np.ndarray) -> np.ndarray:
    """Roughly the solution that a residual lacks: a V-cycle with one Jacobi step on the way down and one up."""
    (unknown, total, inverted), *coarser = levels
    if not coarser:
        return unknown * (residual.reshape(len(residual), -1) @ inverse).reshape(residual.shape)
    worth = residual * inverted
    left = _neighbours(worth)
    left += residual
    left -= total * worth
    left *= unknown
    worth += unknown * _finer(_worth(_coarser(left), coarser, inverse))
    worth = _neighbours(worth)
    worth += residual
    worth *= inverted
    return worth


def _neighbours(grid: np.ndarray) -> np.ndarray:
    """Twelve times the weighted mean of the eight neighbours; beyond the border is 0."""
    rows = grid + grid
    rows[..., 1:] += grid[..., :-1]
    rows[..., :-1] += grid[..., 1:]
    sums = rows + rows
    sums[..., 1:, :] += rows[..., :-1, :]
    sums[..., :-1, :] += rows[..., 1:, :]
    sums -= 4 * grid
    return sums


def _finer(grid: np.ndarray) -> np.ndarray:
    """Twice the size, bilinear, cells by their centres, the border repeated."""
    for _ in range(2):
        quarter = grid * np.float32(0.25)
        most = grid - quarter
        grid = np.repeat(grid, 2, -1)
        np.add(most[..., 1:], quarter[..., :-1], out=grid[..., 2::2])
        np.add(most[..., :-1], quarter[..., 1:], out=grid[..., 1:-1:2])
        grid = grid.swapaxes(-1, -2)
    return grid


def _coarser(grid: np.ndarray) -> np.ndarray:
    """The transpose of _finer: half the size, sums."""
    for _ in range(2):
        left, right = grid[..., ::2] * np.float32(0.25), grid[..., 1::2] * np.float32(0.25)
        grid = 3 * (left + right)
        grid[..., :-1] += left[..., 1:]
        grid[..., 1:] += right[..., :-1]
        grid[..., 0] += left[..., 0]
        grid[..., -1] += right[..., -1]
        grid = grid.swapaxes(-1, -2)
    return grid
