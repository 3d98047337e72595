"""`viewfinder inspect`: layers, kernels, feature maps and attributions of a network."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.evaluate import Weights, WeightsOption
from viewfinder.training.runtime import fast_imports

WEIGHTS_KEY = "model.weights"
MISTAKES, MAX_IMAGES = 4, 2000
"""Worst mistakes of a run that are shown, and test images on which its units are tried, by default."""
REMEDY = "Pass the folder of a run, or leave it out."


def inspect(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN-OR-KEY=VALUE...",
            help="A run folder, and keys such as data.root=/new/place; or a network as for train, such as model=mlp.",
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="IMAGE-OR-FOLDER", help="Image to show; may be repeated. Needs a run."),
    ] = None,
    mistakes: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Worst mistakes to show. Needs a run.", show_default=str(MISTAKES)),
    ] = None,
    max_images: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Test images on which units are tried. Needs a run.", show_default=str(MAX_IMAGES)
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Number of classes of a network without data.", show_default="10"),
    ] = None,
    weights: WeightsOption = Weights.best,
) -> None:
    """Show the layers of a network: output shapes and their formulas, parameters, multiply-adds, receptive fields.

    Of a run also the first kernels, feature maps, Grad-CAM and occlusion of images and of the worst mistakes, and the
    units that never fire. Writes inspect.html, PNG files and layers.csv to RUN/inspect/, or to
    OUTPUT_DIR/NAME/TIME_inspect/.
    """

    from viewfinder.cli.own_files import use_own_files
    from viewfinder.config.overrides import STAGE, compose_config, parse_overrides
    from viewfinder.errors import Problem, UserError, printable

    if "=" not in words[0] or Path(words[0]).is_dir():
        if classes is not None:
            rule = "has no effect on a run, which knows its classes"
            raise UserError(STAGE, [Problem("--classes", rule, str(classes), "Leave it out.")])
        with fast_imports():  # imports torch and Lightning
            from viewfinder.data.listing import find_images
            from viewfinder.experiment.inspect import inspect_run
            from viewfinder.experiment.load import open_run

        files = find_images(images).images if images else []
        opened = open_run(words[0], words[1:], weights.value)
        mistakes = MISTAKES if mistakes is None else mistakes
        max_images = MAX_IMAGES if max_images is None else max_images
        inspection, folder = inspect_run(opened, weights.value, files, mistakes, max_images)
    else:
        parsed = parse_overrides(words)
        problems = [
            Problem(override.key_or_group, "an inspection takes one value", override.get_value_string(), "Choose one.")
            for override in parsed
            if override.is_sweep_override()
        ]
        of_a_run = {"--image": images[0] if images else None, "--mistakes": mistakes, "--max-images": max_images}
        problems += [
            Problem(option, "needs a run, because a network without one is not trained", str(value), REMEDY)
            for option, value in of_a_run.items()
            if value is not None
        ]
        if problems:
            raise UserError(STAGE, problems)
        cfg = compose_config(words)
        use_own_files()
        with fast_imports():
            from viewfinder.experiment.inspect import inspect_model

        names_weights = any(override.key_or_group == WEIGHTS_KEY for override in parsed)
        has_weights = names_weights and cfg.model.get("weights") is not None
        inspection, folder = inspect_model(cfg, classes, has_weights)
    from viewfinder.reporting.inspection import print_inspection
    from viewfinder.reporting.pages.inspect import PAGE
    from viewfinder.reporting.tables import open_console

    print_inspection(open_console(), inspection)
    print(printable(f"page     {folder / PAGE}"))
