"""Words that settings choose by; apart, since a wrong one is refused before torch and timm are imported."""

from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
CropMode = Literal["center", "squash", "border"]
Unreadable = Literal["skip", "fail"]  # what an image that cannot be read does to a job
