"""report.html: one file without network that explains a run; and the two charts beside it."""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from omegaconf import OmegaConf

from viewfinder.config.phases import check_phases, first_epochs, phases_of
from viewfinder.errors import join_names
from viewfinder.reporting.charts.confusion import draw_confusion, most_confused
from viewfinder.reporting.charts.curves import draw_curves
from viewfinder.reporting.charts.files import encode_data_url, save_figure
from viewfinder.runs.atomic import replace_text
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.schemas import wrong

NAMES = ("accuracy", "f1", "precision", "recall", "loss")
NEEDED = ("network", "command", "seed", "started", "machine", "device", "git", "versions")
"""What the page tells of run.json."""


def write_report(run: RunFolder, status: str | None = None) -> None:
    """curves.png, confusion.png and report.html, from the run folder's other files alone.

    Args:
        status: what the page calls the run; None for what run.json does.

    Raises:
        UserError: if the run has not been scored, or a file is not as Viewfinder writes it.
    """
    scores, data, facts, cfg = run.read_scores(), run.read_data(), run.read_run(), run.read_config()
    metrics, best, names = run.read_metrics(), scores["best"], data["class_names"]
    facts = {"phases": [], "resumed": [], "extended": [], **facts, "status": status or facts["status"]}
    lacking = [name for name in NEEDED if name not in facts]
    if lacking:
        raise wrong(run.run, f"says nothing of {join_names(lacking)}")
    if list(best["test"]["per_class"]) != names:
        raise wrong(run.scores, "has other classes than data.json")
    phases = phases_of(cfg)
    if check_phases(phases):
        raise wrong(run.config, "has phases that are none")
    counts = np.array(best["test"]["confusion"])
    save_figure(draw_curves(metrics, best["epoch"], first_epochs(phases)), run.curves)
    save_figure(draw_confusion(counts, names, "test"), run.confusion)
    per_class = sorted(best["test"]["per_class"].items(), key=lambda item: item[1]["f1"])
    page = render(
        "report.html.j2",
        run=run.path.name,
        title=cfg.name,
        facts=facts,
        data=data,
        scores=scores,
        names=NAMES,
        confused=most_confused(counts, names),
        per_class=per_class,
        weights=OmegaConf.select(cfg, "model.weights"),
        config=OmegaConf.to_yaml(cfg),
        images={
            path.stem: encode_data_url(path) for path in (run.curves, run.confusion, run.mistakes) if path.is_file()
        },
        minutes=sum(facts.get("epoch_seconds", [])) / 60,
    )  # fmt: skip
    replace_text(run.report, page)


def render(template: str, **values: Any) -> str:
    """A page from a template beside this file; all values are text in it, whatever they look like."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["percent"] = _percent
    return environment.get_template(template).render(**values)


def _percent(value: Any) -> str:
    return f"{100 * value:.1f}%"
