"""Integrated gradients and occlusion by Captum, at the image or at an inner layer.

M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, https://arxiv.org/abs/1703.01365;
M. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, https://arxiv.org/abs/1311.2901.
Parameters as in Rao, Böhle, Schiele 2022. An absent feature is 0: at the input the normalisation's mean colour.
"""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from harmonia.attribution.head import FromHead, Head, HeadBatch
from harmonia.attribution.layer import refuse_vanishing
from harmonia.errors import InputError, Within
from harmonia.shapes import Maps

AT_INPUT, ELSEWHERE = (16, 8), (5, 2)  # Occlusion's window and stride


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(FromHead, version=3, normalise="percentile", auto="input"):
    """Features times their mean gradient on the way from 0, summed over channels.

    It sums to f(x) - f(0) up to the steps.
    """

    steps: Annotated[int, Within(1, 10**4)] = 20  # of a Gauss-Legendre quadrature

    def passes(self, head: Head) -> int:
        return head.own_passes + self.steps + (head.layer != "input")

    def maps(self, part: HeadBatch) -> Maps:
        features = part.head.features
        if part.head.layer != "input":  # on a way along which the logits do not change, all lies in the first step
            refuse_vanishing(features * part.gradient(features))
        products = CaptumIntegratedGradients(part.head, multiply_by_inputs=True).attribute(
            features,
            baselines=0,
            target=part.labels,
            additional_forward_args=(part.rows,),
            n_steps=self.steps,
            method="gausslegendre",
            internal_batch_size=len(features),  # one step of every image at a time: memory does not grow with the steps
        )
        return products.detach().sum(1).float()


@dataclass(frozen=True, kw_only=True)
class Occlusion(FromHead, version=2, normalise="positive_minmax", auto="input"):
    """The logit's drop for every window set to 0, spread evenly over the window, overlaps summed.

    Captum averages overlaps; the average is turned into the sum.
    """

    window: Annotated[int | None, Within(1, 2048)] = None  # cells of the layer; null: 16 at the input, 5 elsewhere
    stride: Annotated[int | None, Within(1, 2048)] = None  # null: 8 at the input, 2 elsewhere

    def window_and_stride(self, head: Head) -> tuple[int, int]:
        """In cells of the layer."""
        default = AT_INPUT if head.layer == "input" else ELSEWHERE
        window, stride, (h, w) = self.window or default[0], self.stride or default[1], head.features.shape[-2:]
        if stride > window:
            raise InputError(
                f"method.stride must be at most method.window, got {stride} > {window}; write method.stride={window}"
            )
        if window > min(h, w):
            layer = f"layer {head.layer!r} of {h} x {w} cells"
            raise InputError(f"method.window must fit {layer}, got {window}; write method.window={min(h, w)}")
        return window, stride

    def passes(self, head: Head) -> int:  # Captum takes one without any window
        down, across = (windows(side, *self.window_and_stride(head)) for side in head.features.shape[-2:])
        return head.own_passes + 1 + down * across

    def maps(self, part: HeadBatch) -> Maps:
        window, stride = self.window_and_stride(part.head)
        channels, h, w = part.head.features.shape[1:]
        mean = CaptumOcclusion(part.head).attribute(
            part.head.features,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, stride, stride),
            baselines=0,
            target=part.labels,
            additional_forward_args=(part.rows,),
        )
        down, across = (coverage(side, window, stride).to(mean) for side in (h, w))
        # every channel of a cell carries the drop of the whole cell
        return mean[:, 0] * down[:, None] * across / window**2


def windows(side: int, window: int, stride: int) -> int:
    """Places of a window along one axis; the last one may reach beyond the end."""
    return ceil((side - window) / stride) + 1


def coverage(side: int, window: int, stride: int) -> Tensor:
    """How many windows cover each cell of one axis, (side,)."""
    starts = torch.arange(windows(side, window, stride)) * stride
    cells = torch.arange(side)[:, None]
    return ((cells >= starts) & (cells < starts + window)).sum(1)
