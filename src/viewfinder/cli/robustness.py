"""`viewfinder robustness`: accuracy of runs on corrupted test images."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.evaluate import Weights, WeightsOption
from viewfinder.cli.output_file import check_output_file
from viewfinder.training.runtime import fast_imports


def robustness(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN-OR-SWEEP... [KEY=VALUE]...",
            help="Run folders, or folders above them; then for example data.root=/new/place, or allow=NAME.",
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A corruption, such as blur; repeat it for several. By default all of them."),
    ] = None,
    weights: WeightsOption = Weights.best,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Existing folder for the results. By default the run or sweep; for several, outputs/robustness/TIME/.",
        ),
    ] = None,
) -> None:
    """Measure the accuracy on shifted, scaled, rotated, sheared, blurred, noisy and otherwise corrupted test images.

    Writes robustness.csv, robustness.png and robustness.html. Runs that differ only in their seed share a line.
    """
    from viewfinder.errors import Problem, UserError, printable

    typed = [word for word in words if "=" not in word or Path(word).is_dir()]
    overrides = [word for word in words if word not in typed]
    if not typed:
        raise UserError("the command line", [Problem("RUN-OR-SWEEP", "is missing", remedy="Pass a run folder first.")])
    with fast_imports():  # imports torch and Lightning
        from viewfinder.data.corruptions import select_corruptions
        from viewfinder.experiment.robustness import choose_folder, measure_robustness
    from viewfinder.reporting.pages.robustness import CHART, CSV, PAGE, write_robustness
    from viewfinder.reporting.robustness import print_robustness
    from viewfinder.reporting.tables import open_console
    from viewfinder.runs.atomic import make_write_error
    from viewfinder.runs.find import OUTPUT_DIR, find_runs
    from viewfinder.runs.naming import make_dated_folder
    from viewfinder.runs.provenance import read_command

    names, paths = select_corruptions(only or []), [Path(word) for word in typed]
    runs = list({run.path: run for path in paths for run in find_runs(path)}.values())
    folder = output or choose_folder(paths, runs)
    if folder is not None:
        for name in (CSV, CHART, PAGE):
            check_output_file(folder / name)
        folder = folder.expanduser()
    measured = measure_robustness(runs, overrides, weights.value, names, seed)
    console = open_console()
    print_robustness(console, measured)
    folder = folder or make_dated_folder(Path(OUTPUT_DIR) / "robustness")
    try:
        write_robustness(folder, measured, ", ".join(typed), read_command())
    except OSError as error:
        raise make_write_error(folder, error, "run the same command again.") from error
    console.print()
    for label, name in (("table", CSV), ("chart", CHART), ("page", PAGE)):
        console.print(f"{label:6}  {printable(str(folder / name))}", soft_wrap=True)
