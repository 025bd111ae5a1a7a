"""Image classifiers of Hugging Face transformers: source=huggingface source.arch=FOLDER, or its name on the hub."""

import logging
from pathlib import Path
from typing import Any

import torch

from harmonia.errors import InputError, home, refused
from harmonia.models import checkpoint
from harmonia.models import weights as weights_file
from harmonia.models.classes import given_classes
from harmonia.models.contract import Built
from harmonia.models.memory import in_memory
from harmonia.models.spec import ModelSpec
from harmonia.models.transform import view_options


def build(spec: ModelSpec, seed: int) -> Built:
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise InputError(f"{spec.name}: kind huggingface needs transformers; pip install '.[huggingface]'") from error
    # a folder needs no hub; code that lies beside weights is never run
    where = home(spec.arch) if "~" in spec.arch else Path(spec.arch)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are many lines, the outcome is one
    local = {"local_files_only": where.is_dir(), "trust_remote_code": False}
    rule, remedy = f"{spec.name}: transformers cannot load it", "give arch=FOLDER with config.json, "
    remedy += "preprocessor_config.json and model.safetensors, as save_pretrained writes them"
    with refused(rule, remedy):  # whatever a folder's files make of it
        config = AutoConfig.from_pretrained(str(where), **local)
        given = spec.overrides()
        known = {"size", "mean", "std"} <= given.keys()
        processor = None if known else AutoImageProcessor.from_pretrained(str(where), **local)
        if spec.weights != "hub":
            if spec.classes is not None:
                config.num_labels = len(given_classes(spec))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network: Any = AutoModelForImageClassification.from_config(config)
        else:
            network, loaded = AutoModelForImageClassification.from_pretrained(
                str(where), **local, config=config, output_loading_info=True
            )
            _refuse_partial(spec, loaded)
    if spec.weights not in ("hub", "random"):
        path = weights_file.find_weights(str(spec.weights), spec.name, spec.arch)
        weights_file.load_strictly(network, checkpoint.read(path, spec.name).state, spec.name, path)
    view = {} if known else view_options(processor, spec.name)
    return in_memory(network.float(), view, spec)


def _refuse_partial(spec: ModelSpec, loaded: dict) -> None:
    lacking = [*loaded.get("missing_keys", ()), *(key for key, *_ in loaded.get("mismatched_keys", ()))]
    if lacking:
        raise InputError(
            f"{spec.name}: {spec.arch} must have all of the network's tensors, it lacks {len(lacking)} (first: "
            f"{sorted(lacking)[0]}), which would be drawn at random; give the folder of a trained classifier"
        )
