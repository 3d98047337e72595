"""Overrides of an experiment that is a sweep."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir

from viewfinder.config.experiment_sweep import EXPERIMENT, read_sweep_params
from viewfinder.config.hydra_internals import PRIMARY, Override
from viewfinder.config.overrides import STAGE, find_conf, list_values, parse_overrides
from viewfinder.errors import Problem, UserError, join_names

SEARCHPATH = "hydra.searchpath"


def add_sweep_params(parsed: Sequence[Override]) -> list[Override]:
    """Return overrides after those of the experiment's `hydra.sweeper.params`; keys that are typed are left out.

    Args:
        parsed: overrides that `parse_overrides` has accepted.

    Raises:
        UserError: if the experiment sweeps an invalid value, or several experiments are swept and one is a sweep.
    """
    chosen = next((override for override in reversed(parsed) if override.key_or_group == EXPERIMENT), None)
    if chosen is None or chosen.is_delete():
        return [*parsed]
    names, typed = list_values(chosen), {override.key_or_group for override in parsed}
    searchpath = [str(override.input_line) for override in parsed if override.key_or_group == SEARCHPATH]
    params = {name: _read_params([*searchpath, f"{EXPERIMENT}={name}"]) for name in names}
    if len(names) > 1 and (sweeps := [name for name in names if params[name]]):
        verb = "is itself a sweep" if len(sweeps) == 1 else "are themselves sweeps"
        rule = f"cannot have several values, because {join_names(sweeps)} {verb}"
        raise UserError(STAGE, [Problem(EXPERIMENT, rule, ",".join(names), "Type one command for each experiment.")])
    added = [f"{key}={values}" for name in names for key, values in params[name].items() if key not in typed]
    return parse_overrides([*added, *(str(override.input_line) for override in parsed)]) if added else [*parsed]


def _read_params(overrides: list[str]) -> dict[str, str]:
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        return read_sweep_params(compose(PRIMARY, overrides, return_hydra_config=True).hydra)
