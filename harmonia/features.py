"""The feature of an image: what its map keeps, over a fill (Kadir, Addluri, Sonntag 2023, section 3)."""

from harmonia.shapes import Images, Keep


def compose(images: Images, keep: Keep, fill: Images) -> Images:
    """keep * images + (1 - keep) * fill; with a fill of 0 the Hadamard product image ⊙ map.

    Images and fill are intensities in [0, 1], before the target's normalisation: black is black for every model.
    """
    return keep * images + (1 - keep) * fill
