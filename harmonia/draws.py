"""Random numbers that depend on what they are for, never on when they are drawn.

A counter-based generator (the finaliser of SplitMix64; Steele, Lea, Flood 2014): every number is
a hash of (seed, image, step, draw), so results do not depend on batch size, order, neighbours,
restarts or the number of processes.
"""

import enum
import hashlib

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri

BLOB_CELLS = 64  # of each side of smooth noise
BLOB_SIGMA = 0.1  # of each side; ours: about the grain of a 7x7 map

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@enum.unique
class Purpose(enum.IntEnum):
    """What a number is drawn for: a word of its hash. A purpose with many draws adds the draw's number, below 2**32.

    Two draws have none, and words that no other has: (seed, image) for the pool; with the step, 0 and up, in its place
    for the replacement images of a method.
    """

    HELD_OUT = 2**32  # replacement images that judge a mask
    FILL = 2**32 + 1  # replacement images behind a feature
    POOL_CROP = 2**32 + 2
    POOL_ORDER = 2**32 + 3
    BLOBS = 2**35
    REPRESENTATIONS = 2**36  # which images' representations a job keeps
    PARTNERS = 2**37  # whose map stands in for an image's own
    GRADIENT_SHAP = 2**38
    RISE = 2**39
    RANDOM_MAP = 2**40
    MOSAICS = 2**41
    MOSAIC_PLACES = 2**41 + 1
    INFIDELITY = 2**42
    FAITHFULNESS_CORRELATION = 2**43
    MAX_SENSITIVITY = 2**44
    SMOOTH_GRAD = 2**45
    RANDOM_LABEL = 2**46
    MAP_AGREEMENT = 2**47  # blobs that maps of two networks are held against
    HELD_OUT_IMAGES = 2**48  # of a folder to train on, that judge the network
    SHUFFLED_LABELS = 2**48 + 1
    TRAINING_ORDER = 2**49  # of images, in each epoch
    TRAINING_CROPS = 2**50
    JITTER = 2**52
    TRAINING_DROPS = 2**51  # what a network itself draws: dropout, depths


def image_key(image_id: str) -> int:
    """A 64-bit number that stands for an image wherever something is drawn for it."""
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "little")


def counter_hash(*words: int | np.ndarray) -> np.ndarray:
    """Uniform uint64 numbers, one for each combination of the broadcast integer words."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for word in words:
            state = state ^ np.asarray(word).astype(np.uint64)
            state = state + _INCREMENT
            state = (state ^ (state >> np.uint64(30))) * _MIX_1
            state = (state ^ (state >> np.uint64(27))) * _MIX_2
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(*words: int | np.ndarray) -> np.ndarray:
    """Uniform float64 numbers in (0, 1), one for each combination of the broadcast integer words."""
    return ((counter_hash(*words) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(*words: int | np.ndarray) -> np.ndarray:
    """Standard normal float64 numbers, one for each combination of the broadcast integer words."""
    return ndtri(uniform(*words))


def smooth_noise(seed: int, key: int, purpose: Purpose) -> np.ndarray:
    """White noise behind a Gaussian that wraps around, so that no part is preferred: (BLOB_CELLS, BLOB_CELLS)."""
    white = counter_hash(seed, key, purpose, np.arange(BLOB_CELLS**2)) / 2.0**64
    return gaussian_filter(white.reshape(BLOB_CELLS, BLOB_CELLS), BLOB_SIGMA * BLOB_CELLS, mode="wrap")
