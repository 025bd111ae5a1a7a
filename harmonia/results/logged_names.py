"""Names under which a job's rows are logged: loggers write them, panels of a W&B workspace show them."""

CURVE_AXIS, CURVES = "curves/kept_area", "curves/{target}/{metric}"
IMAGES = "images"  # the table with a line per image and target
CELLS = "cells"  # the table with a line per scored cell of a mosaic
SAMPLES = "samples"  # pictures of some images
