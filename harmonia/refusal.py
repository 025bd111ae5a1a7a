"""From an exception to the one line that tells a user what to mend."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harmonia.errors import InputError


def refusal(error: BaseException, conf: Path) -> str | None:
    """One line (subject, rule, value, remedy) for what a user can mend; None for a defect of ours."""
    for cause in _causes(error):
        if isinstance(cause, InputError):
            return " ".join(str(cause).split())
    for cause in _causes(error):
        if isinstance(cause, MissingConfigException) and "/" in str(cause.missing_cfg_file):
            return _unknown_option(cause, conf)
        if isinstance(cause, OverrideParseException):
            reason = str(cause.message).splitlines()[0]
            return (
                f"{cause.override!r} must follow Hydra's grammar, KEY=VALUE or GROUP=OPTION, lists as [a,b]: {reason}"
            )
    for cause in _causes(error):
        if isinstance(cause, HydraException | OmegaConfBaseException):
            return _composition(cause, conf)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unknown_option(error: MissingConfigException, conf: Path) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    # Hydra lists the options of a group that takes one, not of one that takes several (target)
    options = sorted(set(error.options or (path.stem for path in (conf / group).glob("*.yaml"))))
    return f"{group} must be one of {', '.join(options)}, got {option!r}{_close(option, options)}"


def _composition(error: Exception, conf: Path) -> str:
    lines = [line.strip() for cause in _causes(error) for line in str(cause).splitlines() if line.strip()]
    text = " ".join(dict.fromkeys(lines))
    unknown = re.search(r"Key '([^']+)' is not in struct\s+full_key: (\S+)", text)
    if unknown:
        return _unknown_key(unknown[2], conf)
    group = re.search(r"Could not override '([^']+)'", text)
    if group:
        return _unknown_key(group[1].split("@")[0], conf)
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        return f"{missing[1]} must be given, it has no default; add {missing[1]}=VALUE"
    return text


def _unknown_key(key: str, conf: Path) -> str:
    known = _known_keys(conf)
    return f"the configuration has no key {key!r}{_close(key, known)}; --cfg job prints every key"


def _known_keys(conf: Path) -> list[str]:
    """Dotted keys of config.yaml and of every group's options."""
    keys = {folder.name for folder in conf.iterdir() if folder.is_dir() and folder.name != "hydra"}
    for path in sorted(conf.glob("*.yaml")) + sorted(conf.glob("*/*.yaml")):
        if path.parent.name in ("experiment", "target"):
            continue
        prefix = () if path.parent == conf else (path.parent.name,)
        keys |= {".".join((*prefix, *key)) for key in _dotted(OmegaConf.to_container(OmegaConf.load(path)))}
    return sorted(keys)


def _dotted(node: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, dict):
        for name, below in node.items():
            if str(name) not in ("defaults", "hydra") and not str(name).startswith(("_", "override")):
                yield (*above, str(name))
                yield from _dotted(below, (*above, str(name)))


def _close(value: str, known: list[str]) -> str:
    near = difflib.get_close_matches(value, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
