"""Which set in the store each stage of a job has: what changes a number stands in its key (ADR 3)."""

from collections.abc import Callable, Mapping

from harmonia.attribution.contract import Attribution
from harmonia.data.manifest import ImageSet
from harmonia.features.fill import Fill
from harmonia.features.maps import UNREADABLE
from harmonia.models.classifier import Classifier
from harmonia.store.identity import fingerprint
from harmonia.store.sets import ShardSet

# Raised whenever views, labels, replacement draws or the reading of images change stored numbers: part of every key.
ARITHMETIC = 2

OpenSet = Callable[..., ShardSet]


def open_maps(
    opened: OpenSet, settings: Mapping, images: ImageSet, source: Classifier, method: Attribution
) -> ShardSet:
    """The set of maps that exactly this source, method, label policy and data have; never the targets."""
    identity = {
        "source": source.identity(),
        "method": fingerprint(method),
        "label": _label_policy(settings["label"]),
        "data": images.digest,
        "arithmetic": ARITHMETIC,
    }
    if method.backgrounds is not None:
        identity |= {"pool": images.pool_digest, "seed": settings["seed"]}
    name = f"{source.name}-{settings['method']['name']}"
    shard_size = settings["store"]["shard_size"]
    return opened("maps", name, identity, len(images.records), shard_size)


def _label_policy(options: Mapping) -> dict:
    """The function's name and its options; neither where its code lives (ADR 11) nor what the yaml calls it."""
    name = options["_target_"].rpartition(".")[2]
    return {"function": name, **{key: value for key, value in options.items() if key not in ("name", "_target_")}}


def open_grid_maps(
    opened: OpenSet,
    settings: Mapping,
    images: ImageSet,
    source: Classifier,
    method: Attribution,
    protocol: str,
    shown: Mapping,
    count: int,
) -> ShardSet:
    """The set of maps that exactly this source and method have of these mosaics."""
    identity = {"source": source.identity(), "method": fingerprint(method), **shown, "arithmetic": ARITHMETIC}
    if method.backgrounds is not None:
        identity |= {"pool": images.pool_digest, "seed": settings["seed"]}
    name = f"{source.name}-{settings['method']['name']}-{protocol}"
    return opened("maps", name, identity, count, settings["store"]["shard_size"])


def open_predictions(opened: OpenSet, settings: Mapping, images: ImageSet, target: Classifier) -> ShardSet:
    """What exactly this target answers on exactly these whole images."""
    identity = {
        "model": target.identity(),
        "arrays": ["logits", "representation"],  # named: a set from before there were representations is no such set
        "data": images.digest,
        "arithmetic": ARITHMETIC,
    }
    shard_size = settings["store"]["shard_size"]
    return opened("predictions", target.name, identity, len(images.records), shard_size)


def open_features(
    opened: OpenSet,
    settings: Mapping,
    images: ImageSet,
    maps: ShardSet,
    fill: Fill,
    target: Classifier,
    reading: Mapping,
) -> ShardSet:
    """What a target answers on features of these maps, read so and filled so."""
    identity = {
        "maps": maps.key,
        "model": target.identity(),
        "reading": dict(reading),
        "fill": fingerprint(fill),
        "pool": images.pool_digest,
        "seed": settings["seed"],
        # the maps of other images are controls: what stands in for which depends on the images that could be read
        "unreadable": [index for index, fact in enumerate(maps.facts()) if fact["flag"] == UNREADABLE],
        "arithmetic": ARITHMETIC,
    }
    name = f"{maps.manifest.name}-on-{target.name}"
    return opened("features", name, identity, len(images.records), settings["store"]["shard_size"])


def open_scores(opened: OpenSet, settings: Mapping, maps: ShardSet, scoring: Mapping) -> ShardSet:
    """Scores of these maps; the maps' key holds the source, the method, the labels and the images."""
    identity = {"maps": maps.key, **scoring, "arithmetic": ARITHMETIC}
    name = f"{maps.manifest.name}-{settings['evaluation']['name']}"
    return opened("scores", name, identity, maps.count, settings["store"]["shard_size"])
