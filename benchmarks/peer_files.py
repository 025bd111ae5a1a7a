"""The maps of torch-cam's own task beside harmonia.explain: image files in, Grad-CAM maps of a ResNet-18 out.

torch-cam's scripts/eval_perf.py goes through Imagenette's validation images that way: files through torchvision's
transform, 32 at once, the predicted class. It then shows the masked images, too, which is no part of this.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torchcam.methods
from PIL import Image
from side_by_side import alternate, bare, median, ratio
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.transforms import CenterCrop, Compose, ConvertImageDtype, Normalize, PILToTensor, Resize

import harmonia
from harmonia.models.classifier import Classifier

AT_ONCE = 32  # the script's batch
MOST_APART = 1e-3  # of the greatest value: the store keeps 16 bits


class Files(Dataset[Tensor]):
    def __init__(self, files: Sequence[Path], transform: Compose):
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.open(self.files[index]).convert("RGB"))


def rows(files: Sequence[Path], px: int, turns: int) -> Iterator[list[str]]:
    """Images, a forward, both libraries' CPU seconds over the forwards', and how far their maps are apart."""
    torch.manual_seed(0)
    network = resnet18().eval().requires_grad_(False)
    cut = [Resize(px * 8 // 7), CenterCrop(px), PILToTensor(), ConvertImageDtype(torch.float32)]
    transform = Compose([*cut, Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    source = harmonia.classifier(network, transform=transform)
    apart = difference(ours(source, files), theirs(network, transform, files))
    if not apart <= MOST_APART:  # nor NaN
        raise SystemExit(f"maps must be equal to {MOST_APART}, got {apart:.1e}")
    programs = {
        "forwards": lambda: bare(source, len(files)),
        "harmonia": lambda: ours(source, files),
        "torch-cam": lambda: theirs(network, transform, files),
    }
    seconds = alternate(programs, turns)
    forward = 1000 / len(files) * median(seconds["forwards"]).cpu
    times = [ratio(seconds[library], seconds["forwards"]).cpu for library in ("harmonia", "torch-cam")]
    yield [str(len(files)), f"{forward:.1f} ms", *(f"{each:.2f}" for each in times), f"{apart:.0e}"]


def ours(source: Classifier, files: Sequence[Path]) -> Tensor:
    with tempfile.TemporaryDirectory() as cache:
        return torch.as_tensor(harmonia.explain(source, list(files), "gc", cache=cache).raw)


def theirs(network: nn.Module, transform: Compose, files: Sequence[Path]) -> Tensor:
    maps = []
    with torchcam.methods.GradCAM(network, "layer4") as extractor:
        for images in DataLoader(Files(files, transform), AT_ONCE):
            logits = network(images.requires_grad_())
            maps += extractor(logits.argmax(1).tolist(), logits, normalized=False)
    return torch.cat(maps)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The greatest, over the greatest value; behind the ReLU of torch-cam."""
    return float((ours.float().relu() - theirs.relu()).abs().max() / theirs.max())
