"""Report of a run: report.html, one file without network access, and the charts beside it."""

import numpy as np

from viewfinder.config.phases import find_first_epochs, validate_phases
from viewfinder.data.folds import describe_fold
from viewfinder.errors import join_names
from viewfinder.evaluation.confusion import compute_class_intervals, find_most_confused
from viewfinder.evaluation.intervals import bootstrap_f1, wilson_interval
from viewfinder.reporting.charts.confusion import draw_confusion
from viewfinder.reporting.charts.curves import NAMES, draw_curves
from viewfinder.reporting.charts.files import encode_data_url, encode_svg, save_figure
from viewfinder.reporting.pages.render import render_page
from viewfinder.reporting.pages.trust import describe_trust
from viewfinder.reporting.tables import RANKING_NAMES, SCORE_NAMES, format_duration
from viewfinder.runs.atomic import replace_text
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.read import make_file_error, read_text

MAX_ON_PHONE = 12
"""Classes up to which a confusion matrix is legible on a phone; it scrolls within its box beyond."""
REQUIRED_FACTS = ("network", "command", "seed", "started", "machine", "device", "git", "versions")
"""Keys of run.json that the page shows."""


def write_report(run: RunFolder, status: str | None = None) -> None:
    """Write curves.png, confusion.png and report.html from the other files of a run folder.

    Args:
        run: run folder with scores.
        status: status to show; None for the status in run.json.

    Raises:
        UserError: if the run has no scores, or a file is invalid.
    """
    scores, data, facts, settings = run.read_scores(), run.read_data(), run.read_run(), run.read_settings()
    metrics, best, class_names = run.read_metrics(), scores["best"], data["class_names"]
    facts = {"phases": [], "resumed": [], "extended": [], **facts, "status": status or facts["status"]}
    if missing := [name for name in REQUIRED_FACTS if name not in facts]:
        raise make_file_error(run.run, f"lacks {join_names(missing)}")
    if list(best["test"]["per_class"]) != class_names:
        raise make_file_error(run.scores, "lists different classes than data.json")
    phases = settings.get("phases") or {}
    if validate_phases(phases):
        raise make_file_error(run.config, "has invalid phases")
    counts = np.array(best["test"]["confusion"])
    first_epochs = find_first_epochs(phases)
    curves = draw_curves(metrics, best["epoch"], first_epochs)
    confusion = draw_confusion(counts, class_names, "test")
    save_figure(curves, run.curves)
    save_figure(confusion, run.confusion)
    images = {name: encode_svg(draw_curves(metrics, best["epoch"], first_epochs, [name])) for name in NAMES}
    images["confusion"] = encode_svg(confusion)
    if run.mistakes.is_file():
        images["mistakes"] = encode_data_url(run.mistakes)
    model = settings.get("model")
    page = render_page(
        "run.html.j2",
        run=run.path.name,
        title=settings["name"],
        facts=facts,
        data=data,
        scores=scores,
        names=SCORE_NAMES,
        ranking=[(label, best["test"][name]) for name, label in RANKING_NAMES.items() if name in best["test"]],
        class_intervals=compute_class_intervals(counts, class_names),
        trust=describe_trust(run, class_names, best["epoch"]),
        accuracy_interval=wilson_interval(int(np.trace(counts)), max(int(counts.sum()), 1)),
        f1_interval=bootstrap_f1(counts),
        split_seed=settings["data"].get("split_seed") if isinstance(settings.get("data"), dict) else None,
        stratify=isinstance(settings.get("data"), dict) and settings["data"].get("stratify"),
        fold=describe_fold(data["cross_validation"], data["split_sizes"].get("test", 0))
        if "cross_validation" in data
        else None,
        confused=find_most_confused(counts, class_names),
        per_class=sorted(best["test"]["per_class"].items(), key=lambda item: item[1]["f1"]),
        weights=model.get("weights") if isinstance(model, dict) else None,
        config=read_text(run.config),
        images=images,
        has_broad_confusion=len(class_names) > MAX_ON_PHONE,
        duration=format_duration(sum(facts.get("epoch_seconds", []))),
    )
    replace_text(run.report, page)
