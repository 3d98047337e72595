"""Audit of the images of a configuration or of a run: duplicates, two labels, flaws, likely label errors."""

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from viewfinder.config.yaml_text import to_settings
from viewfinder.data.audit.manifest import build_manifest, build_suspect_table, name_files
from viewfinder.data.audit.result import Audit, scan_and_compare
from viewfinder.data.audit.scan import SIDE
from viewfinder.data.audit.suspects import list_suspects
from viewfinder.data.module import ImageData
from viewfinder.data.split import ImageRows
from viewfinder.data.table import Table
from viewfinder.evaluation.label_errors import find_label_errors
from viewfinder.experiment.build import make_data
from viewfinder.experiment.check import check_config
from viewfinder.experiment.load import OpenedRun
from viewfinder.reporting.audit import describe_audit
from viewfinder.reporting.pages.audit import write_audit_page
from viewfinder.runs.atomic import make_write_error, replace_text
from viewfinder.runs.naming import make_configured_folder
from viewfinder.runs.provenance import read_command
from viewfinder.training.scoring import score_splits

PAGE, SUSPECTS, CLEAN = "audit.html", "suspects.csv", "clean.csv"


def audit_data(cfg: DictConfig, min_correlation: float) -> list[str]:
    """Audit the data of a configuration, and write the result to a new folder.

    Args:
        cfg: resolved configuration, composed from conf/.
        min_correlation: correlation of the pixels from which two images are near duplicates.

    Returns:
        The lines of a summary.

    Raises:
        UserError: if the user can fix the problem; no file is left.
    """
    check_config(cfg)
    settings = to_settings(cfg)
    data = make_data(settings)
    data.open((3, (SIDE, SIDE)))  # without a look at the headers, which the audit reads itself
    folder = make_configured_folder(settings)
    try:
        return _audit(data, folder, str(settings["data"].get("root") or settings["data"]["_target_"]), min_correlation)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def audit_run(opened: OpenedRun, min_correlation: float) -> list[str]:
    """Audit the data of a run and its labels, by its predictions, and write the result to the run folder.

    Args:
        opened: the run.
        min_correlation: as `audit_data`.

    Returns:
        The lines of a summary.

    Raises:
        UserError: if the data are missing, or no longer fit the run.
    """
    data = opened.list_data("test")
    return _audit(data, opened.folder.path, str(opened.folder.path), min_correlation, opened)


def _audit(
    data: ImageData, folder: Path, source: str, min_correlation: float, opened: OpenedRun | None = None
) -> list[str]:
    splits = dict(data.splits)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".audit.") as temporary:
        scan, blank, duplicates = scan_and_compare(splits, Path(temporary), min_correlation)
    label_errors = None if opened is None else find_label_errors_of_run(opened, data, scan.table)
    suspects = list_suspects(scan.table, duplicates, blank, label_errors)
    audit = Audit(splits, data.class_names, scan.table, blank, duplicates, suspects)
    scored = [] if opened is None else [*splits]
    warnings = data.describe_warnings()
    try:
        next_command, written = write_tables(folder, audit, data)
        write_audit_page(
            folder / PAGE, audit, source, read_command(), warnings, data.drawn, scored, next_command
        )  # fmt: skip
    except OSError as error:
        raise make_write_error(folder, error, "run the same command again.") from error
    return [*describe_audit(audit, warnings, data.drawn, scored), f"page        {folder / PAGE}", *written]


def find_label_errors_of_run(opened: OpenedRun, data: ImageData, table: Table) -> Table:
    """Return the likely label errors of each split by a run's predictions: row, suggested and score.

    Args:
        opened: the run.
        data: its listed data; unreadable images are left out.
        table: facts of all images, in the order of the splits.
    """
    readable = {name: part.index[part["problem"] == ""].to_numpy() for name, part in table.groupby("split", sort=False)}
    starts = {name: int(part.index[0]) for name, part in table.groupby("split", sort=False)}
    data.splits = {name: split.select(readable[name] - starts[name]) for name, split in data.splits.items()}
    data.load(opened.classifier.preprocess, tuple(data.splits))
    parts = []
    for name in data.splits:
        score_splits(opened.trainer, opened.classifier, data, (name,), (name,))
        predictions = opened.classifier.kept_predictions("val" if name == "val" else "test")
        errors = find_label_errors(predictions.probabilities().numpy(), predictions.labels.numpy())
        columns: dict[str, Any] = {"suggested": errors.suggested, "score": errors.margins}
        parts.append(pd.DataFrame({"row": readable[name][errors.positions], **columns}))
    return pd.concat(parts, ignore_index=True)


def write_tables(folder: Path, audit: Audit, data: ImageData) -> tuple[str, list[str]]:
    """Write suspects.csv and, if the images are files, clean.csv.

    Where a manifest has folds but no test split of its own, clean.csv has no split either, since the split that was
    drawn would leave a part of the images out of the folds.

    Args:
        folder: folder of both.
        audit: the audit.
        data: the audited data.

    Returns:
        The command that trains on the remaining images, '' if there is none, and lines about both files.
    """
    above = _find_image_root(data)
    table, suspects, names = audit.table, audit.suspects, audit.class_names
    folds = set(table["fold"].dropna())
    is_by_fold = len(folds) > 1 and "" not in folds and ("test" in data.drawn or bool(data.cross_validation))
    files = name_files(audit.splits, above)
    replace_text(folder / SUSPECTS, build_suspect_table(table, suspects, files, names).to_csv(index=False))
    lines = [f"suspects    {folder / SUSPECTS} ({suspects['row'].nunique():,} images)"]
    if any(isinstance(split.content, ImageRows) for split in audit.splits.values()):
        return "", lines
    clean = build_manifest(table, suspects, files, names).drop(columns=["split"] if is_by_fold else [])
    replace_text(folder / CLEAN, clean.to_csv(index=False))
    lines.append(f"clean       {folder / CLEAN} ({len(clean):,} of {len(table):,} images)")
    words = [f"data.path={folder / CLEAN}", f"data.root={above}", *[f"data.folds={len(folds)}"] * is_by_fold]
    return f"python train.py model=simple_cnn data=csv {shlex.join(words)}", lines


def _find_image_root(data: ImageData) -> Path:
    """Return the folder to which the paths in clean.csv are relative; / for data whose files are in no known folder."""
    root = getattr(data, "image_root", None) or getattr(data, "root", None)
    return Path(root).expanduser() if root else Path("/")
