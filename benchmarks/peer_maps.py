"""Grad-CAM, Layer-CAM and integrated gradients of harmonia and of its peers: seconds over a forward, equal maps.

All explain the class that the network predicts, and start without it. All show the network four images at once, as ours
does on a CPU whatever the batch size (ADR 9).
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import torch
from captum.attr import IntegratedGradients as CaptumIG
from captum.attr import LayerGradCam
from side_by_side import alternate, both, median, ratio
from torch import Tensor

from harmonia.attribution.cam import GradCAM, LayerCAM
from harmonia.attribution.captum_methods import IntegratedGradients
from harmonia.attribution.contract import Request
from harmonia.attribution.passes import CPU_PASS, BatchSize
from harmonia.models.classifier import Classifier

PEERS = ("harmonia", "Captum", "torch-cam", "pytorch-grad-cam")
FORWARD, TWICE = "forward", "forward of twice as many"
MOST_APART = 1e-4  # of the greatest value of a map; sums in another order

Explain = Callable[[], Tensor]  # maps (B, h, w), raw


def rows(classifier: Classifier, steps: int, repeats: int) -> Iterator[list[str]]:
    """Network, method, the forward, twice as many at once, each library's ratio, and how far maps are apart."""
    side, generator = classifier.view.size, torch.Generator().manual_seed(0)
    twice = torch.randint(0, 256, (2 * CPU_PASS, 3, side, side), dtype=torch.uint8, generator=generator)
    pixels = twice[:CPU_PASS]
    for method, turns, explain in (
        ("Grad-CAM", repeats, cams(classifier, pixels, "GradCAM")),
        ("Layer-CAM", repeats, cams(classifier, pixels, "LayerCAM")),
        ("integrated gradients", repeats // 3 or 1, gradients(classifier, pixels, steps)),
    ):
        apart = difference(explain)
        if not apart <= MOST_APART:  # nor NaN
            raise SystemExit(f"{method} of {classifier.name}: maps must be equal to {MOST_APART}, got {apart:.1e}")
        bare = {FORWARD: lambda: forward(classifier, pixels), TWICE: lambda: forward(classifier, twice)}
        seconds = alternate({**bare, **explain}, turns)
        alone = 1000 / CPU_PASS * median(seconds[FORWARD]).cpu
        saved = ratio(seconds[TWICE], seconds[FORWARD]).cpu / 2
        times = [ratio(seconds[peer], seconds[FORWARD]) if peer in seconds else None for peer in PEERS]
        yield [classifier.name, method, f"{alone:.1f} ms", f"{saved:.2f}", *map(both, times), f"{apart:.0e}"]


def forward(classifier: Classifier, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(pixels.float() / 255)


def asked(pixels: Tensor) -> Tensor:
    """On frozen weights the others need a gradient of the images."""
    return (pixels.float() / 255).requires_grad_()


def predicted(classifier: Classifier, pixels: Tensor) -> Tensor:
    """For a library that must be told the class."""
    return forward(classifier, pixels).argmax(1)


def cams(classifier: Classifier, pixels: Tensor, kind: str) -> dict[str, Explain]:
    """By library; those that have the method, can lay out the network's tokens and are installed."""
    method = {"GradCAM": GradCAM, "LayerCAM": LayerCAM}[kind]
    name = method().layer_of(classifier)
    layer, of_tokens = classifier.layer(name), hasattr(classifier.network, "num_prefix_tokens")
    lay_out = classifier.spatial if of_tokens else None
    # the layer by name: "auto" costs the pass of one more image for each call, a shard in a real run
    explain: dict[str, Explain] = {"harmonia": lambda: method(layer=name)(request_of(classifier, pixels)).maps}
    if kind == "GradCAM" and not of_tokens:
        captum = LayerGradCam(classifier, layer)

        def captum_cam() -> Tensor:
            return captum.attribute(asked(pixels), target=predicted(classifier, pixels)).detach()[:, 0]

        explain["Captum"] = captum_cam
    if find_spec("torchcam"):
        import torchcam.methods

        def torch_cam() -> Tensor:
            with getattr(torchcam.methods, kind)(classifier, layer, reshape_transform=lay_out) as extractor:
                logits = classifier(asked(pixels))
                return extractor(logits.argmax(1).tolist(), logits, normalized=False)[0]

        explain["torch-cam"] = torch_cam
    if find_spec("pytorch_grad_cam"):
        import pytorch_grad_cam

        class Raw(getattr(pytorch_grad_cam, kind)):
            """Keeps its maps from before ReLU, scaling and resizing."""

            def get_cam_image(self, *args, **kwargs) -> np.ndarray:
                self.raw = super().get_cam_image(*args, **kwargs)
                return self.raw

        def grad_cam() -> Tensor:
            with Raw(classifier, [layer], lay_out) as extractor:
                extractor(asked(pixels), None)  # of the predicted classes
                return torch.as_tensor(extractor.raw)

        explain["pytorch-grad-cam"] = grad_cam
    return explain


def gradients(classifier: Classifier, pixels: Tensor, steps: int) -> dict[str, Explain]:
    """Captum's on the bare network, from the normalised image to 0, one step of all images at a time."""
    mean, std = classifier.mean, classifier.std
    captum = CaptumIG(classifier.network)

    def alone() -> Tensor:
        images = (pixels.float() / 255 - mean) / std
        settings = {"n_steps": steps, "method": "gausslegendre", "internal_batch_size": len(pixels)}
        return captum.attribute(images, baselines=0, target=predicted(classifier, pixels), **settings).detach().sum(1)

    ours = IntegratedGradients(steps=steps)
    return {"harmonia": lambda: ours(request_of(classifier, pixels)).maps, "Captum": alone}


def request_of(classifier: Classifier, pixels: Tensor) -> Request:
    return Request(
        model=classifier,
        pixels=pixels,
        choose_labels=lambda logits, positions: logits.argmax(1),
        replacements=lambda *_: pixels,
        device=torch.device("cpu"),
        batch_size=BatchSize(len(pixels)),
        positions=torch.arange(len(pixels)),
        image_keys=np.arange(len(pixels), dtype=np.uint64),
        on_progress=lambda images: None,
    )


def difference(explain: dict[str, Explain]) -> float:
    """The greatest between ours and another's, over the greatest of ours; behind the ReLU that some apply."""
    maps = {library: run().relu() for library, run in explain.items()}
    ours = maps["harmonia"]
    return float(torch.stack([(theirs - ours).abs().max() / ours.max() for theirs in maps.values()]).max())
