"""One line for what a user can mend, none for a defect."""

import errno
import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harmonia.cli.entry import Refused, conf_folder
from harmonia.cli.refusal import refusal, typed_word
from harmonia.errors import InputError

METHODS = ", ".join(sorted(path.stem for path in (conf_folder() / "method").glob("*.yaml")))


def raised(error, cause=None):
    """The error as Python has it once raised from its cause."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def line(error, *words):
    return refusal(error, conf_folder(), words)


def composed(*overrides):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("config", [*overrides, "paths.job=job", "tracking.group=sweep"])
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def refused(*overrides):
    """The line for overrides that do not compose or do not resolve."""
    with pytest.raises((HydraException, OmegaConfBaseException, ValueError)) as error:
        composed(*overrides)
    message = line(error.value, *overrides)
    assert message is not None, repr(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("word", ["gradcam", "Grad-CAM", "grad_cam"])
def test_a_method_may_be_meant_by_its_title(word):
    assert refused(f"method={word}").endswith("; did you mean gc?")


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("data=photos", "; write data=folder data.root=photos"),
        ("data=photos/val", "; write data=folder data.root=photos/val"),
        ("data={tmp}/photos", "; write data=folder data.root={tmp}/photos"),
        ("data='my photos'", "; write data=folder 'data.root=\"my photos\"'"),
        ("data=photos/labels.csv", "; write data=folder data.labels=photos/labels.csv"),
        ("data=nowhere/photos", "got 'nowhere/photos'; write data=OPTION"),
        ("source=resnet18", "; write source=timm source.arch=resnet18"),
        ("source=torchvision:alexnet", "; write source=torchvision source.arch=alexnet"),
        ("source=lite3", "; did you mean lite2 or lite1 or lite0?"),
        ("source=fited", "; did you mean fitted or lite2 or lite1?"),
        ("target=[self,mobilenet2]", "; did you mean mobilenetv2 or joint?"),
        (
            "source=mobilenetv2_100",
            "; did you mean mobilenetv2? Or write source=timm source.arch=mobilenetv2_100",
        ),
        (
            "source=mobilenetv3_small_050",
            "; did you mean mobilenetv2? Or write source=timm source.arch=mobilenetv3_small_050",
        ),
        ("source=resnet152", " write source=timm source.arch=resnet152"),
        ("source=photos/val", "; write source=fitted source.weights=photos/val"),
        ("target=[self,resnet18]", "; write 'target=[self,timm]' target.timm.arch=resnet18"),
        ("target=photos", "; write 'target=[self,fitted]' target.fitted.weights=photos"),
        ("method=photos", "; write method=stored method.maps=photos"),
        ("fill=photos", "got 'photos'; write fill=OPTION"),
    ],
)
def test_what_is_the_users_own_is_refused_with_the_words_that_take_it(word, remedy, tmp_path, monkeypatch):
    (tmp_path / "photos/val").mkdir(parents=True)
    (tmp_path / "my photos").mkdir()
    (tmp_path / "photos/labels.csv").touch()
    monkeypatch.chdir(tmp_path)
    message = refused(word.format(tmp=tmp_path))
    assert message.endswith(remedy.format(tmp=tmp_path))
    assert message.startswith(f"{word.partition('=')[0]} must be one of ")


@pytest.mark.parametrize(
    "value", ["photos/val-1.2", "größe", "写真/val", "a,b", "[a]", "it's", 'a "b"', "back\\slash\\", "$HOME", "a=b"]
)
def test_a_remedy_is_one_word_of_a_shell_that_hydra_reads_as_the_value(value):
    (word,) = shlex.split(typed_word("data.root", value))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == value


@pytest.mark.parametrize("word", ["source=foo:bar", "source=hf-hub:timm/resnet18"])
def test_a_prefix_that_harmonia_does_not_know_is_not_dropped(word):
    assert "arch=" not in refused(word)


@pytest.mark.parametrize("wrap", [RuntimeError, InstantiationException, ConfigCompositionException, Refused])
def test_an_input_error_is_its_message_on_one_line_whatever_wraps_it(wrap):
    error = InputError("seed must be\n   a number")
    assert line(error) == "seed must be a number"
    assert line(raised(wrap("around"), error)) == "seed must be a number"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a defect"),
        KeyError("key"),
        raised(InstantiationException("Error in call to target"), TypeError("a defect")),
        InstantiationException("no cause"),
        OSError("a reason alone"),
        ConnectionError(errno.ECONNREFUSED, "Connection refused"),
    ],
)
def test_a_defect_has_no_line(error):
    assert line(error) is None


def test_what_was_being_handled_when_a_defect_came_up_does_not_hide_it():
    defect = TypeError("a defect")
    defect.__context__ = FileNotFoundError(errno.ENOENT, "No such file or directory", "expected.json")
    assert line(defect) is None


def test_an_error_that_is_its_own_cause_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert line(first) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EACCES, "Permission denied"),
        (errno.ENOENT, "No such file or directory"),
        (errno.ENOTDIR, "Not a directory"),
        (errno.EROFS, "Read-only file system"),
        (errno.ENOSPC, "No space left on device"),
        (errno.EEXIST, "File exists"),
        (errno.EISDIR, "Is a directory"),
    ],
)
@pytest.mark.parametrize("wrap", [None, RuntimeError, InstantiationException, Refused])
def test_a_place_that_cannot_be_used_is_named_with_the_keys_that_move_it(code, reason, wrap):
    error = OSError(code, reason, "/data/maps")
    expected = f"/data/maps: {reason}; choose another place with hydra.run.dir=, hydra.sweep.dir= or paths.cache="
    assert line(error if wrap is None else raised(wrap("around"), error)) == expected


def test_a_real_failure_to_make_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as failure:
        (tmp_path / "file" / "folder").mkdir()
    assert line(failure.value).startswith(f"{tmp_path / 'file' / 'folder'}: Not a directory; choose another place")


def test_a_full_disk_names_no_file():
    assert line(OSError(errno.ENOSPC, "No space left on device")).startswith(
        "the job's folder or the map store: No space left on device; choose another place with"
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["method=gc", "method.steps=3"],
            "method.steps is no option of the chosen method; ig, ss, ss_cpu, ss_faithful, ss_jitter, ss_paper have it",
        ),
        (
            ["method=gc", "method.start.layer=x"],
            "method.start is no option of the chosen method; ss, ss_cpu, ss_faithful, ss_jitter, ss_paper have it",
        ),
        (
            ["method=ss_faithful", "method.start.layer=x"],
            "method.start.layer is no option of the chosen method; ss, ss_cpu, ss_jitter have it",
        ),
        (["label.seed=3"], "label.seed is no option of the chosen label; random has it"),
        (
            ["target=self", "target.e7.weights=x"],
            "target.e7: e7 is not among the chosen targets; add it as in 'target=[self,e7]'",
        ),
        (["target=self", "target.self.weights=x"], "target.self is the source itself; set source.weights"),
        (["target=[]", "target.e7.weights=x"], "target must name at least one model, got none; add 'target=[self]'"),
        (["method=null"], f"method must be one of {METHODS}, got null; write method=OPTION"),
        (["seed=1", "fill=black", "method=3"], f"method must be one of {METHODS}, got 3; write method=OPTION"),
        (["~method"], f"method must be one of {METHODS}, got none; write method=OPTION"),
        (["+seed=3"], "seed is in the configuration already; write seed=VALUE without +"),
        (["+method=gc"], "method has an option already; write method=OPTION"),
        (["~foo"], "foo is not in the configuration; leave out ~foo"),
        (["seed=${nope}"], "seed refers to nope, which the configuration lacks; --cfg job prints every key"),
        (
            ["seed=${oc.env:NO_SUCH_VARIABLE}"],
            "seed refers to the environment variable NO_SUCH_VARIABLE, which must be set; set it, or write seed=VALUE",
        ),
        (["source=timm"], "source.arch must be given, it has no default; add source.arch=VALUE"),
        (["method=stored"], "method.maps must be given, it has no default; add method.maps=VALUE"),
        (["hydra.job.chdirr=1"], "the configuration has no key 'hydra.job.chdirr'; --cfg hydra prints every key"),
    ],
)
@pytest.mark.slow
def test_what_does_not_compose_says_what_to_write(overrides, expected):
    assert refused(*overrides) == expected


@pytest.mark.parametrize(
    ("overrides", "subject", "hint"),
    [
        (["target=self", "target.e77.weights=x"], "target must be one of", "got 'e77'; did you mean e7?"),
        (["target=e6", "target.e6.weightz=x"], "no key 'target.e6.weightz'", "did you mean target.e6.weights"),
        (["method=ss", "method.stepz=3"], "no key 'method.stepz'", "did you mean method.steps"),
        (["source@foo=e7"], "no key 'source@foo'", "--cfg job"),
        (["seed.x=3"], "no key 'seed.x'", "did you mean seed"),
    ],
)
def test_a_key_that_does_not_exist_gets_a_near_one_and_never_itself(overrides, subject, hint):
    message = refused(*overrides)
    assert subject in message
    assert hint in message
    suggested = message.partition("did you mean ")[2].partition("?")[0].split(" or ")
    assert subject.split("'")[1:2] != suggested[:1]


@pytest.mark.parametrize(
    ("key", "suggested"),
    [
        ("method.x", ";"),
        ("evaluation.foo", ";"),
        ("methd", "; did you mean method?"),
        ("method.layr", "; did you mean method.layer?"),
        ("limit", "; did you mean data.limit?"),
        ("areas", "; did you mean evaluation.areas?"),
    ],
)
def test_a_key_is_near_in_each_of_its_parts_or_none_is_named(key, suggested):
    assert refused(f"{key}=3") == f"the configuration has no key '{key}'{suggested} --cfg job prints every key"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("source=lite0,lite1", "source: several values need -m (a sweep), got 'lite0,lite1'; add -m"),
        (
            "target=self,e6",
            "target: several values need -m (a sweep), got 'self,e6'; add -m, or brackets for a list: "
            "'target=[self,e6]'",
        ),
    ],
)
def test_several_values_need_a_sweep(word, expected):
    key, _, values = word.partition("=")
    text = (  # as hydra/_internal/config_loader_impl.py has it
        f"Ambiguous value for argument '{word}'\n1. To use it as a list, use {key}=[value1,value2]\n"
        f"2. To use it as string, quote the value: {key}=\\'value1,value2\\'\n"
        "3. To sweep over it, add --multirun to your command line"
    )
    assert line(ConfigCompositionException(text)) == expected
    assert values in expected


@pytest.mark.parametrize("value", ["/my photos (1)", 'a "b" c', "a,b)", "back\\slash :x("])
def test_a_word_that_hydra_does_not_take_is_said_as_a_shell_must_have_it(value):
    with pytest.raises(OverrideParseException) as error:
        OverridesParser.create().parse_overrides([f"data.root={value}"])
    said = line(error.value) or ""
    (word,) = shlex.split(said.rpartition("; write ")[2])
    assert OverridesParser.create().parse_override(word).value() == value


def test_any_other_text_of_hydra_is_one_line():
    cause = ValueError("Value 'abc' is not a valid bool\n    full_key: hydra.job.chdir\n    object_type=JobConf")
    error = raised(ConfigCompositionException("Error merging override\nhydra.job.chdir=abc"), cause)
    assert line(error) == (
        "hydra.job.chdir: Error merging override hydra.job.chdir=abc Value 'abc' is not a valid bool"
    )
    text = "Only one of --run, --multirun, --cfg, --info and --shell_completion can be specified"
    assert line(ValueError(text)) == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            "Unknown plugin class : 'hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher'",
            ".[joblib]",
        ),
        ("Unknown plugin class : 'hydra_plugins.hydra_submitit_launcher.x.SlurmLauncher'", ".[slurm]"),
        ('Could not detect "srun", are you indeed on a slurm cluster?', "hydra/launcher=ray"),
        ("CUDA out of memory. Tried to allocate 16.00 MiB. GPU 0 has a total capacity of 139.80 GiB", "batch_size="),
        ("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs.nvidia.com", "batch_size="),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "batch_size="),
    ],
)
def test_a_launcher_without_its_engine_and_a_full_card_say_what_to_do(text, remedy):
    assert remedy in str(line(RuntimeError(text)))
    assert line(RuntimeError(f"something else: {text}")) is None
