"""`viewfinder evaluate`: scores of a run's weights on one split."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from viewfinder.cli.output_file import check_output_file, write_output
from viewfinder.training.runtime import fast_imports

if TYPE_CHECKING:
    from viewfinder.experiment.load import OpenedRun


class SplitName(StrEnum):
    train = "train"
    val = "val"
    test = "test"


class Weights(StrEnum):
    best = "best"
    last = "last"


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or latest or FOLDER/latest.")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="For example data.root=/new/place, or allow=NAME."),
]
WeightsOption = Annotated[Weights, typer.Option(help="Weights of the best epoch by validation, or of the last.")]
ViewsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Test-time augmentation: none, mirror or mirror_translate.", show_default="run's"
    ),
]


def evaluate(
    run: RunArgument,
    overrides: OverridesArgument = None,
    split: Annotated[SplitName, typer.Option(help="Images to score.")] = SplitName.test,
    weights: WeightsOption = Weights.best,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First fit a temperature on the val split, and keep it in the run.")
    ] = False,
    tta: ViewsOption = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=check_output_file, help="Write the scores to this file.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=check_output_file, help="Write one row per image to this file."),
    ] = None,
) -> None:
    """Score a run's weights on one of its splits, and compare the result with scores.json.

    Prints also the most confused pairs of classes, the most confident mistakes, and how far the probabilities can be
    trusted. With --calibrate, `viewfinder predict` and `viewfinder export` divide the logits by the fitted temperature.
    """
    with fast_imports():  # imports torch and Lightning
        from viewfinder.experiment.load import open_run
    from viewfinder.data.absent import describe_absent_classes, find_absent_classes
    from viewfinder.errors import printable
    from viewfinder.evaluation.classified import FLOAT_FORMAT
    from viewfinder.evaluation.metrics import Predictions
    from viewfinder.evaluation.predictions_csv import build_prediction_table
    from viewfinder.reporting.console import describe_skipped
    from viewfinder.reporting.evaluation import describe_calibration, print_mistakes, print_scores
    from viewfinder.reporting.tables import open_console, print_wrapped
    from viewfinder.runs.atomic import format_json
    from viewfinder.training.scoring import score_splits

    opened = open_run(run, overrides or [], weights.value, tta=tta)
    console = open_console()
    if calibrate:
        from viewfinder.experiment.calibrate import calibrate as calibrate_run

        entry = calibrate_run(opened)
        print_wrapped(console, f"calibrated  {printable(describe_calibration(opened.folder, entry))}", indent=12 * " ")
    data = opened.open_data(split.value)
    keep_logits = (split.value,) if csv is not None else ()
    scores = score_splits(opened.trainer, opened.classifier, data, (split.value,), keep_logits)[split.value]
    absent = find_absent_classes({split.value: data.splits[split.value]}, data.class_names)
    temperature, outdated = _read_temperature(opened)
    warnings = [*data.warnings, *describe_absent_classes(absent), *outdated]
    for line in (*(f"warning  {printable(sentence)}" for sentence in warnings), *describe_skipped(data)):
        print_wrapped(console, line)
    print_scores(console, scores, f"{opened.folder.path}, {weights.value} weights, {split.value} split")
    predictions, table = opened.classifier.predictions["val" if split.value == "val" else "test"], None
    if isinstance(predictions, Predictions):  # otherwise there are too many probabilities
        table = build_prediction_table(data.splits[split.value].names, predictions, data.class_names)
        print_mistakes(console, table, scores, temperature)
    print_wrapped(console, opened.compare_with_stored(data, split.value, weights.value, scores), indent="")
    if json is not None:
        write_output(json, format_json(scores))
    if csv is not None and table is not None:
        write_output(csv, table.to_csv(index=False, float_format=FLOAT_FORMAT))


def _read_temperature(opened: "OpenedRun") -> tuple[float | None, list[str]]:
    """Return the temperature of a run, or a warning that it belongs to other weights."""
    from viewfinder.errors import UserError

    try:
        return opened.temperature, []
    except UserError as error:
        return None, [error.reason]
