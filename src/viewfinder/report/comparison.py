"""Runs as a table, and what remains of it when seeds are averaged."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from viewfinder.errors import Problem, ViewfinderError
from viewfinder.run_folder import RunFolder

NOT_SETTINGS = ("seed", "name", "output_dir", "run_dir", "allow", "trainer.progress_bar")
"""Keys that cannot change a score, and the seed that is averaged over."""
SCORES = ("best_val", "best_test", "best_f1", "last_val", "last_test")


def read_runs(folders: Sequence[RunFolder]) -> tuple[pd.DataFrame, list[tuple[Path, str]]]:
    """A row a finished run: path, setting, seed, best_epoch and its accuracies and F1; and the runs left out, with why.

    A setting is written as that in which the runs differ.
    """
    rows, configs, skipped = [], [], []
    for folder in folders:
        try:
            facts = folder.read_run()
            if facts["status"] != "finished" or not folder.scores.is_file():
                skipped.append((folder.path, facts.get("error") or folder.status))
                continue
            scores, cfg = folder.read_scores(), folder.read_config()
        except ViewfinderError as error:
            skipped.append((folder.path, error.reason))
            continue
        best, last = scores["best"], scores["last"]
        rows.append({
            "run": str(folder.path),
            "seed": cfg.seed,
            "best_epoch": best["epoch"],
            "best_val": best["val"]["accuracy"],
            "best_test": best["test"]["accuracy"],
            "best_f1": best["test"]["f1"],
            "last_val": last["val"]["accuracy"],
            "last_test": last["test"]["accuracy"],
        })  # fmt: skip
        configs.append(_flat(OmegaConf.to_container(cfg)))
    if not rows:
        problems = [Problem(str(path), f"left out: {reason}") for path, reason in skipped]
        raise ViewfinderError("the runs: none has finished", problems)
    table = pd.DataFrame(rows)
    table.insert(0, "setting", describe(configs))
    return table, skipped


def summarise_settings(table: pd.DataFrame) -> pd.DataFrame:
    """A row a setting, the best validation accuracy first; of runs equal even in their seed the last counts.

    Columns: setting, seeds, best_epoch, <score>_mean and <score>_std; the deviation is the sample's, NaN for a
    single seed.
    """
    grouped = table.drop_duplicates(["setting", "seed"], keep="last").groupby("setting", sort=False)
    columns = {f"{name}_{how}": (name, how) for name in SCORES for how in ("mean", "std")}
    summary = grouped.agg(seeds=("seed", "nunique"), best_epoch=("best_epoch", "mean"), **columns)
    return summary.reset_index().sort_values("best_val_mean", ascending=False, kind="stable")


def describe(configs: Sequence[dict[str, Any]]) -> list[str]:
    """For each configuration, that in which it differs from some other: 'AdamW lr=0.001'.

    Within a group, arguments are compared only among runs that share the class. A key stands without its group
    where no other key that differs ends in the same word.
    """
    differences: list[dict[str, Any]] = [{} for _ in configs]
    for key in sorted({key for config in configs for key in config}):
        if key in NOT_SETTINGS:
            continue
        group = f"{key.partition('.')[0]}._target_"
        for index, config in enumerate(configs):
            peers = [c for c in configs if key == group or c.get(group) == config.get(group)]
            if key in config and len({repr(peer.get(key)) for peer in peers}) > 1:
                differences[index][key] = config[key]
    ends = Counter(key.rpartition(".")[2] for key in {key for each in differences for key in each})

    def said(key: str, value: Any) -> str:
        if key.endswith("._target_"):
            return _class_name(value)
        end = key.rpartition(".")[2]
        return f"{end if ends[end] == 1 else key}={_yaml(value)}"

    return [
        " ".join(said(key, value) for key, value in each.items()) or _class_name(config.get("model._target_", ""))
        for each, config in zip(differences, configs, strict=True)
    ]


def _yaml(value: Any) -> str:
    """As one types it: null, true, [1,2]."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _class_name(target: str) -> str:
    return str(target).rpartition(".")[2]


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat
