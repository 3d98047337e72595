"""Experiments that are sweeps: keys with several values in `hydra.sweeper.params`, as in Hydra's own multirun."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from viewfinder.errors import Problem, UserError, join_names

EXPERIMENT, SEED = "experiment", "seed"


def read_sweep_params(hydra: Any) -> dict[str, str]:
    """Return the keys that an experiment sweeps, each with its values as on a command line.

    Args:
        hydra: block `hydra` of a composed configuration.
    """
    sweeper: Any = OmegaConf.to_container(hydra.sweeper, resolve=False)
    return {key: str(values) for key, values in (sweeper.get("params") or {}).items()}


def require_no_sweep(hydra: Any, overrides: Sequence[str]) -> None:
    """Check that overrides choose a value for each key that their experiment sweeps, except for the seed.

    Raises:
        UserError: if a key has none.
    """
    params = read_sweep_params(hydra)
    typed = {override.partition("=")[0].lstrip("+") for override in overrides}
    if missing := [key for key in params if key not in typed and key != SEED]:
        name = next((word.partition("=")[2] for word in reversed(overrides) if word.startswith(f"{EXPERIMENT}=")), None)
        rule = f"is a sweep over {join_names(params)}"
        remedy = f"Train it with python train.py -m. For one of its runs, add a value of {join_names(missing)}."
        raise UserError("the command line", [Problem(EXPERIMENT, rule, name, remedy)])
