"""Composition of many configurations that share their group choices."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from viewfinder.config.overrides import find_conf, resolve_run_config
from viewfinder.sweeps.compose import Composer


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=mlp", "optimizer.lr=0.5", "model.widths=[4,8]", "seed=7"],
        ["+optimizer.amsgrad=true", "~optimizer.weight_decay", "name='a, b'"],
        ["model=mlp", "++optimizer.betas=[0.8,0.9]", "output_dir=elsewhere", "loss.class_weights=balanced"],
    ],
)
def test_values_set_after_composition_equal_those_composed_by_hydra(overrides: list[str]) -> None:
    with initialize_config_dir(str(find_conf()), job_name="train", version_base="1.3"):
        values = Composer({"model"}).compose_run(overrides)
        composer = Composer({"model"})
        cfg = composer.compose_unresolved(overrides)
        assert OmegaConf.to_container(resolve_run_config(cfg)) == values
        expected = compose("config", overrides, return_hydra_config=True)
        composer.compose_unresolved(overrides)  # sets the Hydra node that interpolations of `expected` read
        assert OmegaConf.to_container(resolve_run_config(expected)) == values
