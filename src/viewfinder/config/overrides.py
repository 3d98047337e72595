"""What was typed after `train.py`, checked against conf/ before anything heavy is imported.

Hydra stops at the first bad override and lets a misspelt one pass when it begins with `+`; here all of them are
answered at once, each with what was probably meant.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from viewfinder.errors import Problem, UserError, did_you_mean, join_names

STAGE = "the command line"


def find_conf() -> Path:
    """The shipped conf/: inside the installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "conf"
    return packaged if packaged.is_dir() else here.parents[1] / "conf"


def own_conf(parsed: Sequence[Override] = ()) -> list[str]:
    """Overrides that add ./conf of the working folder, where a person keeps files of their own, to what is typed."""
    mine = Path.cwd() / "conf"
    if not mine.is_dir() or mine.resolve() == find_conf().resolve():
        return []
    typed = [str(path) for o in parsed if o.key_or_group == "hydra.searchpath" for path in _listed(o.value())]
    quoted = ["'" + path.replace("'", r"\'") + "'" for path in (*typed, f"file://{mine}")]
    return [f"hydra.searchpath=[{','.join(quoted)}]"]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def compose_config(overrides: list[str]) -> DictConfig:
    """conf/ with these overrides, as `train.py` would compose it.

    Raises:
        UserError: naming every override that fits nothing in conf/.
    """
    parsed = check_overrides(overrides)
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        cfg = compose("config", [*overrides, *own_conf(parsed)], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return plain_config(cfg)


def plain_config(cfg: DictConfig) -> DictConfig:
    """The resolved configuration of a run, without Hydra's block and a sweep's; Hydra's runtime is forgotten with it.

    Lightning asks whether Hydra is running, and if so would start its helper processes through Hydra's folders.
    """
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in ("hydra", "sweep")])
    OmegaConf.resolve(plain)
    OmegaConf.set_struct(plain, False)
    HydraConfig.instance().cfg = None
    return plain


def check_overrides(overrides: list[str]) -> list[Override]:
    """The overrides, parsed; imports Hydra alone.

    Raises:
        UserError: naming every override that fits nothing in conf/.
    """
    parsed, problems = _parse(overrides)
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        loader, context = _searched(parsed)
        options = groups_of(parsed)
        for override in parsed:
            if isinstance(glob := override.value(), Glob):  # Hydra itself would not see a person's own conf/
                override._value = glob.filter(options.get(override.key_or_group, []))
        choices = [o for o in parsed if o.key_or_group in options]
        for override in choices:
            problems += _check_choice(options[override.key_or_group], override)
        if not problems:
            problems += _check_keys(loader, context, choices, [o for o in parsed if o not in choices])
    if problems:
        raise UserError(STAGE, problems)
    return parsed


def groups_of(parsed: Sequence[Override]) -> dict[str, list[str]]:
    """The choices of each group that is typed; where Hydra is initialized."""
    loader, context = _searched(parsed)
    options = {
        key: loader.get_group_options(key, ObjectType.CONFIG, "config", context)
        for key in {o.key_or_group for o in parsed}
        if "." not in key  # a key within a group; Hydra would search all folders for it
    }
    return {key: names for key, names in options.items() if names}


def _searched(parsed: Sequence[Override]) -> tuple[ConfigLoader, list[str]]:
    """Hydra's loader, and the words by which it searches a person's own folders too."""
    search = [str(o.input_line) for o in parsed if o.key_or_group == "hydra.searchpath"]
    return GlobalHydra.instance().config_loader(), own_conf(parsed) or search


def values_of(override: Override) -> list[str]:
    """As they are typed, one after another; of interval(...), which has no end of them, itself."""
    if not override.is_sweep_override():
        return [str(override.get_value_element_as_str())]
    if override.is_interval_sweep():
        return [(override.input_line or "").partition("=")[2]]
    return [str(value) for value in override.sweep_string_iterator()]


def _parse(overrides: list[str]) -> tuple[list[Override], list[Problem]]:
    parser, parsed, problems = OverridesParser.create(), [], []
    for line in overrides:
        try:
            override = parser.parse_overrides([line])[0]
            if not override.key_or_group:
                raise OverrideParseException(line, "there is no key before the =")
            parsed.append(override)
        except (OverrideParseException, HydraException) as error:
            cause = str(error.__cause__ or error).splitlines()[0]
            remedy = (
                "Write key=value without spaces, or key=v1,v2 with -m; put a value with = ( ) ~ , or spaces in quotes: "
                "'key=\"a b\"'."
            )
            problems.append(Problem(line, f"cannot be read: {cause}", remedy=remedy))
    return parsed, problems


def _check_choice(options: list[str], override: Override) -> list[Problem]:
    group, problems = override.key_or_group, []
    if override.is_add() or override.is_force_add():
        problems += [_there_already(override)]
    if override.is_delete() and group != "experiment":
        remedy = f"Type {group}=none." if "none" in options else f"Choices: {join_names(options)}."
        return [Problem(override.input_line or group, "a run has a choice of each group", remedy=remedy)]
    for value in values_of(override):
        if value in options or (value == "null" and group == "experiment"):
            continue
        hint = did_you_mean(value, options)
        problems.append(
            Problem(group, hint or "no such choice", value or "(empty)", f"Choices: {join_names(options)}.")
        )
    return problems


def _check_keys(
    loader: ConfigLoader, context: list[str], choices: list[Override], keys: list[Override]
) -> list[Problem]:
    """Compose the choices alone, then see whether each remaining key is there."""
    taken = [(o, values_of(o)) for o in choices if not o.is_delete()]
    first = [f"{_prefix(o)}{o.get_key_element().lstrip('+~')}={values[0]}" for o, values in taken if values]
    try:
        cfg = compose("config", [*context, *first])
    except YAMLError as error:
        rule = " ".join(str(error).split())
        return [Problem("conf", f"a file is no YAML: {rule}", join_names(first), "Mend that line.")]
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        return [Problem("conf", f"these choices do not compose: {cause}", join_names(first))]
    known = _keys(cfg)
    groups = [g for g in loader.get_group_options("", ObjectType.GROUP, "config", context) if g != "hydra"]
    problems = []
    for override in keys:
        key = override.key_or_group
        if key.split(".")[0] == "hydra":
            continue
        if key in known and not override.is_add():
            parent, _, name = key.rpartition(".")
            problems += _check_kind(override, (OmegaConf.select(cfg, parent) if parent else cfg)._get_node(name))
        else:
            problems += _unknown(override, key, known, groups, cfg)
    return problems


def _check_kind(override: Override, there: object) -> list[Problem]:
    """Where conf/ holds several keys, so must what is typed; and where it holds none, what is typed holds none."""
    if override.is_delete() or override.is_sweep_override():
        return []
    key, value = override.key_or_group, override.value()
    typed = str(override.get_value_element_as_str())
    if isinstance(there, DictConfig):
        keys = [str(name) for name in there]
        if not isinstance(value, dict):
            return [Problem(key, "holds several keys, each to be given by itself", typed, f"Such as {key}.{keys[0]}=")]
        unknown = [str(name) for name in value if str(name) not in keys]
        return [
            Problem(
                f"{key}.{name}", did_you_mean(name, keys) or "no such key", remedy=f"Keys of {key}: {join_names(keys)}."
            )
            for name in unknown
        ]
    if isinstance(there, ListConfig) and isinstance(value, dict):
        return [Problem(key, "must be a list", typed, f"Such as '{key}={OmegaConf.to_container(there)}'.")]
    return []


def _of_phase(override: Override, known: list[str]) -> list[Problem] | None:
    """What is wrong with a phase, or a key of one, that conf/ does not hold; None for a word that is misspelt."""
    from viewfinder.config.phases import Phase  # and with it pydantic, for a word that is most likely none

    _, name, *rest = override.key_or_group.split(".")
    names = [key.removeprefix("phases.") for key in known if key.startswith("phases.") and key.count(".") == 1]
    typed = override.input_line or override.key_or_group
    if name not in names and not did_you_mean(name, names):
        rule = f"there is no phase {name}; phases are {join_names(names) or 'none'}"
        remedy = "A new one is written in a file of your own, such as conf/phases/mine.yaml, and taken by phases=mine."
        if not names:
            remedy = "Add phases=fine_tune, or phases=mine with a file conf/phases/mine.yaml of your own."
        return [Problem(typed, rule, remedy=remedy)]
    if name not in names or ".".join(rest) not in {field.name for field in dataclasses.fields(Phase)}:
        return None
    if override.is_add() or override.is_force_add():
        return []
    return [Problem(typed, f"the file of phase {name} leaves it out", remedy=f"Type +{typed.lstrip('+')}")]


def _there_already(override: Override) -> Problem:
    typed = override.input_line or override.key_or_group
    remedy = f"Leave out the +: {typed.lstrip('+')}"
    return Problem(typed, f"{override.key_or_group} is there already", remedy=remedy)


def _prefix(override: Override) -> str:
    return "+" if override.is_add() else ""


def _keys(cfg: DictConfig) -> list[str]:
    """Every key of a configuration, 'trainer' and 'trainer.max_epochs' alike, interpolations left alone."""
    keys: list[str] = []

    def visit(node: DictConfig, path: str) -> None:
        for name in node:
            if not isinstance(name, str):  # a number, say: nothing that could be typed
                continue
            keys.append(f"{path}{name}")
            if OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name):
                continue
            if isinstance(child := node._get_node(name), DictConfig) and not child._is_none():
                visit(child, f"{path}{name}.")

    visit(cfg, "")
    return keys


def _unknown(override: Override, key: str, known: list[str], groups: list[str], cfg: DictConfig) -> list[Problem]:
    parent, _, name = key.rpartition(".")
    typed = override.input_line or key
    if override.is_add() and key in known:
        return [_there_already(override)]
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
    near = did_you_mean(name, siblings) if parent in known or not parent else ""
    node = OmegaConf.select(cfg, parent) if parent in known else None
    takes_more = isinstance(node, DictConfig) and (not parent or "_target_" in node or not len(node))
    if override.is_add() and parent and takes_more and not near:
        return []  # perhaps an argument that the YAML leaves out: known once its class is imported
    if key.startswith("phases.") and (problems := _of_phase(override, known)) is not None:
        return problems
    if near:
        rule = near if not parent else near.replace("mean ", f"mean {parent}.")
    elif not parent or parent not in known:
        rule = did_you_mean(key, [*known, *groups]) or "no such key or group"
    else:
        rule = "no such key"
    if parent in known and siblings:
        remedy = f"Keys of {parent}: {join_names(s for s in siblings if s != '_target_')}."
    else:
        remedy = f"Groups: {join_names(groups)}. Keys: python train.py --cfg job lists them all."
    return [Problem(typed, rule, remedy=remedy)]
