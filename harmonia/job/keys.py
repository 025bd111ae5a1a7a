"""Which set in the store each stage of a job has: what changes a number stands in its key (ADR 3)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harmonia.attribution.contract import Attribution
from harmonia.data.manifest import ImageSet
from harmonia.features.fill import Fill
from harmonia.features.maps import UNREADABLE
from harmonia.job.settings import Settings
from harmonia.models.classifier import Classifier
from harmonia.models.labels import LabelPolicy
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet

# Raised whenever views, labels, replacement draws or the reading of images change stored numbers: part of every key.
ARITHMETIC = 2


@dataclass(frozen=True, kw_only=True)
class Keys:
    """A method a kind of set; asking for a set opens it."""

    # ShardSet.open of the cache's folder, or ShardSet.peek where nothing may be written
    open_set: Callable[[str, str, Mapping[str, Any], int, int], ShardSet]
    settings: Settings
    images: ImageSet
    source: Classifier
    method: Attribution
    fill: Fill
    label_policy: LabelPolicy

    @cached_property
    def maps(self) -> ShardSet:
        """The maps that exactly this source, method, label policy and data have; never the targets."""
        label = fingerprint(self.label_policy)
        identity = {"label": label, "data": self.images.digest, **self._explained_by(self.method)}
        return self.open("maps", f"{self.source.name}-{self.settings.method.name}", identity)

    def mosaics(self, method: Attribution, protocol: str, shown: Mapping[str, Any], count: int) -> ShardSet:
        """Maps by this source and method of cells of mosaics. shown: how the network sees them; count: of cells."""
        name = f"{self.source.name}-{self.settings.method.name}-{protocol}"
        return self.open("maps", name, {**self._explained_by(method), **shown}, count)

    def predictions(self, model: Classifier) -> ShardSet:
        """What exactly this model answers on exactly these whole images."""
        identity = {
            "model": model.identity(),
            "arrays": ["logits", "representation"],  # a set of before there were representations is no such set
            "data": self.images.digest,
        }
        return self.open("predictions", model.name, identity)

    def features(self, target: Classifier, reading: Mapping[str, Any]) -> ShardSet:
        """What a target answers on features of the maps, read so and filled so; the maps must be complete."""
        identity = {
            "maps": self.maps.key,
            "model": target.identity(),
            "reading": dict(reading),
            "fill": fingerprint(self.fill),
            "pool": self.images.pool_digest,
            "seed": self.settings.seed,
            # maps of other images are controls: what stands in for which depends on the images that could be read
            "unreadable": [index for index, fact in enumerate(self.maps.facts()) if fact["flag"] == UNREADABLE],
        }
        return self.open("features", f"{self.maps.manifest.name}-on-{target.name}", identity)

    def scores(self, scoring: Mapping[str, Any]) -> ShardSet:
        """Scores of the maps; the maps' key holds the source, the method, the labels and the images."""
        name = f"{self.maps.manifest.name}-{self.settings.evaluation.name}"
        return self.open("scores", name, {"maps": self.maps.key, **scoring})

    def _explained_by(self, method: Attribution) -> dict[str, Any]:
        identity = {"source": self.source.identity(), "method": fingerprint(method)}
        if method.backgrounds is not None:
            identity |= {"pool": self.images.pool_digest, "seed": self.settings.seed}
        return identity

    def open(self, kind: str, name: str, identity: dict[str, Any], count: int | None = None) -> ShardSet:
        """The set of a kind with this identity: one array and one fact an image, or an item of count."""
        images = len(self.images.records) if count is None else count
        key = identity | {"arithmetic": ARITHMETIC}
        return self.open_set(kind, name, key, images, self.settings.store.shard_size)
