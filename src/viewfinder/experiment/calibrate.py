"""Temperature scaling of a run: fitted on its validation split, and kept in its folder."""

from typing import Any

from viewfinder.evaluation.calibration import compute_log_loss, fit_temperature, measure_reliability
from viewfinder.evaluation.metrics import Predictions
from viewfinder.experiment.load import OpenedRun
from viewfinder.models.tta import describe_views
from viewfinder.reporting.pages.run import write_report
from viewfinder.runs.atomic import make_write_error, write_json
from viewfinder.training.scoring import score_splits


def calibrate(opened: OpenedRun) -> dict[str, Any]:
    """Fit the temperature of a run's weights on its validation split, and write it to calibration.json and the report.

    Args:
        opened: the run.

    Returns:
        The entry of its weights in calibration.json.

    Raises:
        UserError: if the split is missing or determines no temperature, the run is locked by another process, such as
            its training, or the file cannot be written.
    """
    with opened.folder.locked():
        return _calibrate(opened)


def _calibrate(opened: OpenedRun) -> dict[str, Any]:
    """Calibrate a run that this process has locked."""
    data, folder = opened.open_data("val"), opened.folder
    score_splits(opened.trainer, opened.classifier, data, ("val",), ("val",))
    predictions = opened.classifier.kept_predictions("val")
    logits, labels = predictions.logits.numpy(), predictions.labels.numpy()
    temperature = fit_temperature(logits, labels)
    scaled = Predictions(predictions.logits / temperature, predictions.labels)
    errors = [measure_reliability(each.probabilities().numpy(), labels).error for each in (predictions, scaled)]
    entry = {
        "temperature": temperature,
        "steps": opened.steps,
        "epoch": folder.read_scores()[opened.weights]["epoch"] if folder.scores.is_file() else None,
        "pictures": len(labels),
        "tta": describe_views(opened.classifier.network) or None,
        "loss": [compute_log_loss(logits, labels, each) for each in (1.0, temperature)],
        "calibration_error": errors,
    }
    try:
        write_json(folder.calibration, folder.read_calibration() | {opened.weights: entry})
        if folder.scores.is_file():
            write_report(folder)
    except OSError as error:
        raise make_write_error(folder.path, error, "run the same command again.") from error
    return entry
