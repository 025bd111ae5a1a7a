"""From an exception to the one line that tells a user what to mend."""

import difflib
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harmonia.cli.hydra_node import Unbegun
from harmonia.errors import FULL, InputError, one_line

# ValueErrors of Hydra's; the first names neither the group nor the value
_NO_OPTION = "Config group override must be a string"
_MISUSED = (_NO_OPTION, "Config group override deletion value", "Only one of --run, --multirun")

# what a launcher that cannot work and a full card say -> subject, rule, value, remedy
_PLUGIN = r"Unknown plugin class : 'hydra_plugins\.hydra_"
_LACKING = (
    (f"{_PLUGIN}joblib", "hydra/launcher=cores needs joblib; pip install '.[joblib]'"),
    (f"{_PLUGIN}submitit", "hydra/launcher=slurm needs submitit; pip install '.[slurm]'"),
    ("n_jobs == 0", "hydra.launcher.n_jobs must be a number of jobs or -1, got 0; write hydra.launcher.n_jobs=2"),
    (
        r"Could not detect .?srun",
        "hydra/launcher=slurm must run where Slurm is, got no srun; use a login node, or hydra/launcher=ray",
    ),
    (
        r"CUDA (?:out of memory|error: (?:out of memory|CUBLAS_STATUS_ALLOC_FAILED))",
        "the GPU must have memory left, got none; say a smaller batch_size=, or end other processes on the card",
    ),
)

# what Hydra and OmegaConf say -> subject, rule, value, remedy
_READINGS = (
    (r"Missing mandatory value: [^\s.]+ full_key: (\S+)", "{0} must be given, it has no default; add {0}=VALUE"),
    (r"Missing mandatory value: (\S+)", "{0} must be given, it has no default; add {0}=VALUE"),
    (r"An item is already at '([^']+)'", "{0} is in the configuration already; write {0}=VALUE without +"),
    (r"(\S+) appears more than once in the final defaults list", "{0} has an option already; write {0}=OPTION"),
    (r"Could not delete (?:from config\. )?'([^']+)'", "{0} is not in the configuration; leave out ~{0}"),
    (r"Sweep parameters '([^'=]+)=(.+)' requires --multirun", "{0}: several values need -m (a sweep), got {1}; add -m"),
    (
        r"Environment variable '([^']+)' not found.* full_key: (\S+)",
        "{1} refers to the environment variable {0}, which must be set; set it, or write {1}=VALUE",
    ),
    (
        r"Interpolation key '([^']+)' not found full_key: (\S+)",
        "{1} refers to {0}, which the configuration lacks; --cfg job prints every key",
    ),
)


def refusal(error: BaseException, conf: Path, words: Sequence[str] = (), main: str = "config") -> str | None:
    """One line (subject, rule, value, remedy) for what a user can mend; None for a defect of ours.

    words are the command line's, where Hydra does not say which it means. main: the yaml that the command composes.
    """
    causes = list(_causes(error))
    unbegun = _unbegun(causes[1]) if isinstance(error, Unbegun) else None
    for cause in causes:
        if isinstance(cause, InputError):
            return one_line(cause)
    for cause in causes:
        if isinstance(cause, OSError) and (line := _storage(cause)):
            return line
    for cause in causes:
        for pattern, line in _LACKING:
            if isinstance(cause, RuntimeError | ValueError) and re.match(pattern, str(cause)):
                return line
    if any(isinstance(cause, InstantiationException) for cause in causes):
        return unbegun
    for cause in causes:
        # an option may be a path; groups of two words are Hydra's alone
        file = re.search(r"(?s)((?:hydra/)?[^/]+)/(.*)", str(getattr(cause, "missing_cfg_file", "")))
        if isinstance(cause, MissingConfigException) and file:
            group, option = file.groups()
            # Hydra lists the options of a group that takes one, not of one that takes several (target)
            return no_such_option(group, option, sorted(set(cause.options or _option_names(group, conf))), conf)
        if isinstance(cause, OverrideParseException):
            reason = str(cause.message).splitlines()[0]
            rule = "must follow Hydra's grammar, KEY=VALUE or GROUP=OPTION, lists as [a,b]"
            return f"{cause.override!r} {rule}: {reason}; {_quoted(str(cause.override))}"
        if isinstance(cause, ValueError) and "integer string conversion" in str(cause):
            return "a number on the command line must have at most 4300 digits, got more; write a smaller one"
        if isinstance(cause, ValueError) and str(cause).startswith(_MISUSED):
            named = _no_option(words, conf) if str(cause).startswith(_NO_OPTION) else None
            return named or one_line(cause)
    if any(isinstance(cause, HydraException | OmegaConfBaseException) for cause in causes):
        return _composition([cause for cause in causes if cause is not error or not unbegun], conf, main)
    return unbegun


def _quoted(word: str) -> str:
    """What to type in a shell in place of a word that Hydra's grammar does not take."""
    key, equals, value = word.partition("=")
    if not equals or value.startswith(("[", "{", '"', "'")):
        return "write KEY=VALUE; quote a value with spaces, brackets or commas: 'KEY=\"VALUE\"'"
    return f"write {typed_word(key, value)}"


def typed_word(key: str, value: str) -> str:
    """KEY=VALUE as a shell and Hydra must have it."""
    if re.fullmatch(r"[\w./-]+", value, re.ASCII):
        return f"{key}={value}"
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + found[2].replace('"', '\\"'), value)
    return shlex.quote(f'{key}="{escaped}"')


def _unbegun(error: BaseException) -> str:
    """Of anything that Hydra raises before a job, whatever it is."""
    got = f"{type(error).__name__}: {one_line(error)}"
    return f"the command line and the yamls must be what Hydra takes, got {got}; --cfg all prints them, --help the keys"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from; what was merely being handled then says nothing about it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _storage(error: OSError) -> str | None:
    named = isinstance(error.filename, str | bytes | os.PathLike)
    if error.strerror is None or not (named or error.errno in FULL):
        return None
    subject = os.fsdecode(error.filename) if named else "the job's folder or the map store"
    return f"{subject}: {error.strerror}; choose another place with hydra.run.dir=, hydra.sweep.dir= or paths.cache="


def _no_option(words: Sequence[str], conf: Path) -> str | None:
    """The first word that gives a group something else than options' names."""
    for word in words:
        group, equals, choice = word.lstrip("+").partition("=")
        group = group.partition("@")[0]
        options = _option_names(group, conf)
        wrong = [one for one in re.split(r"[\[\],]", choice) if one and one.strip("'\"") not in options]
        if equals and options and (wrong or not choice):
            return _must_be_one_of(group, options, wrong[0] if wrong else "null")
    return None


def _composition(causes: Sequence[BaseException], conf: Path, main: str) -> str:
    lines = [line.strip() for cause in causes for line in str(cause).splitlines() if line.strip()]
    text = " ".join(dict.fromkeys(lines))
    for unknown in (r"Key '[^']+' is not in struct\s+full_key: (\S+)", r"Could not override '([^']+)'"):
        if match := re.search(unknown, text):
            return _unknown_key(match[1], conf, main)
    if match := re.search(r"Ambiguous value for argument '([^'=]+)=(.+?)' 1\.", text):
        return _several_values(match[1], match[2], conf)
    match = re.search(r"Interpolation key '([^'.]+)\.[^']*' not found", text)
    if match and (options := _option_names(match[1], conf)):
        return _must_be_one_of(match[1], options, "none")
    for pattern, reading in _READINGS:
        if match := re.search(pattern, text):
            return reading.format(*match.groups())
    # the key goes first, OmegaConf's types say nothing to a user
    plain = [line for line in dict.fromkeys(lines) if not re.match(r"(full_key|object_type|reference_type)[:=]", line)]
    key = re.search(r"full_key: (\S+)", text)
    return " ".join([f"{key[1]}:", *plain] if key else plain)


def _several_values(key: str, values: str, conf: Path) -> str:
    group_of_one = key != "target" and _option_names(key, conf)
    brackets = "" if group_of_one else f", or brackets for a list: '{key}=[{values}]'"
    return f"{key}: several values need -m (a sweep), got {values!r}; add -m{brackets}"


def _unknown_key(key: str, conf: Path, main: str) -> str:
    group, _, rest = key.partition(".")
    if group == "target" and main == "config":
        return _unknown_target_key(rest, conf)
    holders = [name for name in _option_names(group, conf) if key in _option_keys(group, name, conf)]
    if holders and rest:
        have = "has" if len(holders) == 1 else "have"
        return f"{key} is no option of the chosen {group}; {', '.join(holders)} {have} it"
    flag, known = "hydra" if group == "hydra" else "job", _known_keys(conf, main)
    if inner := [name for name in known if name.startswith(f"{key}.")]:
        remedy = f"write {min(inner, key=len)}=VALUE, --cfg {flag} prints every key"
        return f"{key} is no choice but has keys of its own; {remedy}"
    return _no_key(key, known, flag)


def _unknown_target_key(rest: str, conf: Path) -> str:
    """target holds the chosen models by name, and self, which is the source."""
    name, _, option = rest.partition(".")
    if not name:
        return "target must name at least one model, got none; add 'target=[self]'"
    if name == "self":
        return f"target.self is the source itself; set source.{option or 'KEY'}"
    if option:
        known = [f"target.{name}.{key}" for key in _dotted(_loaded("source", "timm", conf))]
        return _no_key(f"target.{name}.{option}", known)
    if name not in (options := _option_names("target", conf)):
        return _must_be_one_of("target", options, repr(name), _close(name, options))
    return f"target.{name}: {name} is not among the chosen targets; add it as in 'target=[self,{name}]'"


def no_such_option(group: str, option: str, options: Sequence[str], conf: Path) -> str:
    """Of an option that a group lacks; the remedy: a title, as Grad-CAM, a near spelling, a path, an architecture."""
    titled = [name for name in options if _letters(_title(conf / group / f"{name}.yaml")) == _letters(option)]
    near = f"; did you mean {titled[0]}?" if titled else _close(option, options)
    own = _of_ones_own(group, option, options)
    if own:
        if not near or ":" in option or os.path.exists(option):
            near = f"; write {own}"
        elif may_be_timms(option, options):
            near = f"{near} Or write {own}"
    return _must_be_one_of(group, options, repr(option), near)


def may_be_timms(name: str, options: Sequence[str]) -> bool:
    """Whether it is more than a slip in an option: most of timm's names have a _, as deit_tiny_patch16_224."""
    return "_" in name or not difflib.get_close_matches(name, options, cutoff=0.75)


def _of_ones_own(group: str, option: str, options: Sequence[str]) -> str:
    """The words that take a path, or a network by its architecture (KIND:ARCH), which no yaml names."""
    name = key = ""
    if os.path.exists(option):
        images, network = ("folder", "root" if os.path.isdir(option) else "labels"), ("fitted", "weights")
        of_group = {"data": images, "method": ("stored", "maps"), "source": network, "target": network}
        name, key = of_group.get(group, ("", ""))
    elif group in ("source", "target"):
        kind, _, option = option.rpartition(":")
        kinds = ("timm", "torchvision", "huggingface")
        name, key = (kind or "timm") if not kind or kind in kinds else "", "arch"
    if name not in options:
        return ""
    chosen, above = (f"'target=[self,{name}]'", f"target.{name}") if group == "target" else (f"{group}={name}", group)
    return f"{chosen} {typed_word(f'{above}.{key}', option)}"


def _title(path: Path) -> str:
    """What the first line of an option's yaml begins with."""
    first = path.read_text(encoding="utf-8").partition("\n")[0] if path.is_file() else ""
    return re.split("[,:.(]", first)[0]


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


def _must_be_one_of(group: str, options: Sequence[str], got: str, hint: str = "") -> str:
    return f"{group} must be one of {', '.join(options)}, got {got}{hint or f'; write {group}=OPTION'}"


def _option_names(group: str, conf: Path) -> list[str]:
    """Nothing where conf/ has no such group."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml")) if re.fullmatch(r"\w+", group) else []


def _option_keys(group: str, name: str, conf: Path) -> set[str]:
    return {f"{group}.{key}" for key in _dotted(_loaded(group, name, conf))}


def _known_keys(conf: Path, main: str) -> list[str]:
    """Dotted keys of the command's yaml and of every group's options, of groups that it has."""
    own: dict = OmegaConf.to_container(OmegaConf.load(conf / f"{main}.yaml"))  # pyright: ignore
    groups = {name for entry in own["defaults"] if isinstance(entry, dict) for name in entry if name.isalpha()}
    keys = set(_dotted(own))
    for group in groups - {"experiment", "study", "target"}:
        keys = keys.union(*(_option_keys(group, name, conf) for name in _option_names(group, conf)))
    return sorted(keys | groups)


def _loaded(group: str, name: str, conf: Path) -> object:
    """A group's option upon the ones that it refines."""
    own = OmegaConf.load(conf / group / f"{name}.yaml")
    refined = OmegaConf.select(own, "defaults", default=())
    below = [_loaded(group, one, conf) for one in refined if one in _option_names(group, conf)]
    return OmegaConf.to_container(OmegaConf.merge(*below, own))


def _dotted(node: object, above: str = "") -> Iterator[str]:
    for name, below in node.items() if isinstance(node, dict) else ():
        if str(name) not in ("defaults", "hydra") and not str(name).startswith(("_", "override")):
            yield f"{above}{name}"
            yield from _dotted(below, f"{above}{name}.")


def _no_key(key: str, known: Sequence[str], flag: str = "job") -> str:
    """With keys near in each of their parts, that end in the one word given, or that take it for a value."""

    def near(name: str) -> bool:
        alike = map(difflib.get_close_matches, key.split("."), ([part] for part in name.split(".")))
        takes_it = key.startswith(f"{name}.") and f"{name}." not in " ".join(known)
        return (name.count(".") == key.count(".") and all(alike)) or name.endswith(f".{key}") or takes_it

    close = _close(key, list(filter(near, known)), 0) or ";"
    return f"the configuration has no key {key!r}{close} --cfg {flag} prints every key"


def _close(value: str, known: Sequence[str], cutoff: float = 0.5) -> str:
    near = difflib.get_close_matches(value, [one for one in known if one != value], 3, cutoff)
    return f"; did you mean {' or '.join(near)}?" if near else ""
