"""`viewfinder predict`: classes of image files."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from viewfinder.cli.evaluate import ViewsOption
from viewfinder.cli.output_file import check_output_file, open_stream
from viewfinder.errors import Stopped
from viewfinder.training.runtime import fast_imports

if TYPE_CHECKING:  # heavy, and not needed by --help
    from viewfinder.errors import Problem
    from viewfinder.evaluation.classified import Classified

MAX_ROWS = 1_000
"""Images printed in one table; with a file, no others are printed."""
MAX_NAMED = 100
"""Unreadable images listed in the error."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class FileFormat(StrEnum):
    csv = "csv"
    parquet = "parquet"


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run folder or FOLDER/latest, or an ONNX file of `viewfinder export`."),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE-OR-FOLDER...", help="Files, or folders of them; and allow=NAME for a network of your own."
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to print for each image.")] = 3,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=check_output_file, help="Write the probability of every class to this file."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=check_output_file, help="Like --csv, in the format of --format."),
    ] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Format of --output; by default, its suffix decides.")
    ] = None,
    tta: ViewsOption = None,
) -> None:
    """Print the most likely classes of images of any size and mode.

    Rows are written as they come. After Ctrl-C or a kill, the same command continues.
    """
    from viewfinder.config.overrides import ALLOW_PREFIX
    from viewfinder.data.listing import describe_left_out, find_images
    from viewfinder.errors import UserError, printable

    file, as_parquet = _choose_file(csv, output, file_format)
    allowed = [str(word) for word in images if str(word).startswith(ALLOW_PREFIX)]
    paths = [path for path in images if str(path) not in allowed]
    classify, model = _open_model(run, allowed, tta)
    found = find_images(paths)
    files = list(map(str, found.images))
    found.images.clear()  # Path objects take several times the memory of strings
    problems, count = _write_predictions(classify, model, files, top, file, as_parquet)
    if count:
        for sentence in describe_left_out([found], Path()):
            typer.echo(f"warning  {printable(sentence)}", err=True)
    if problems:
        raise UserError("the images", problems, max_listed=MAX_NAMED)


def _choose_file(csv: Path | None, output: Path | None, file_format: FileFormat | None) -> tuple[Path | None, bool]:
    """Return the file to write, and whether it is a Parquet file."""
    from viewfinder.errors import Problem, UserError, printable

    problems = []
    if csv is not None and output is not None:
        problems.append(Problem("--output", "cannot be combined with --csv", str(output), "Pass one of them."))
    if output is None and file_format is not None:
        problems.append(Problem("--format", "is the format of --output, which is missing", file_format.value))
    suffix = output.suffix.lstrip(".") if output is not None else ""
    as_parquet = output is not None and (file_format or suffix) == FileFormat.parquet
    if as_parquet and find_spec("pyarrow") is None:
        remedy = 'pip install "viewfinder[parquet]", or write CSV.'
        problems.append(Problem("--format", "needs pyarrow, which is not installed", "parquet", remedy))
    if problems:
        raise UserError("the command line", problems)
    if file_format is None and suffix not in ("", *FileFormat):
        choices = "choose with --format, or with the suffix .csv or .parquet"
        typer.echo(f"warning  {printable(str(output))} is written as CSV; {choices}", err=True)
    return csv or output, as_parquet


def _open_model(
    run: Path, allowed: list[str], tta: str | None
) -> "tuple[Callable[[Sequence[str]], Iterator[Classified]], list[str]]":
    """Return a function that classifies image files, and what identifies the model."""
    from viewfinder.errors import Problem, UserError
    from viewfinder.evaluation.prediction_file import identify_model
    from viewfinder.runs.find import expand_home

    run = expand_home(run)
    if run.is_file() or (run.suffix == ".onnx" and not run.is_dir()):
        if tta is not None:
            rule, remedy = "cannot be changed in an exported file", "Export the run with --tta, or predict by the run."
            raise UserError("the command line", [Problem("--tta", rule, tta, remedy)])
        from viewfinder.experiment.export.classify import classify_exported
        from viewfinder.experiment.export.onnx_model import OnnxModel

        model = OnnxModel(run)
        return lambda files: classify_exported(model, files), identify_model(run, model.class_names)
    with fast_imports():  # imports torch and Lightning
        from viewfinder.experiment.classify import classify
        from viewfinder.experiment.load import open_run
        from viewfinder.models.tta import describe_views

    opened = open_run(run, allowed, "best", tta=tta)
    views = describe_views(opened.classifier.network)
    temperature = [] if opened.temperature is None else [f"temperature {opened.temperature}"]
    identity = identify_model(opened.folder.best, [*opened.class_names, *temperature, *([views] if views else [])])
    return lambda files: classify(opened, files), identity


def _write_predictions(
    classify: "Callable[[Sequence[str]], Iterator[Classified]]",
    model: list[str],
    files: Sequence[str],
    top: int,
    path: Path | None,
    as_parquet: bool,
) -> "tuple[list[Problem], int]":
    """Classify image files, print the first ones, and write all of them to a file as they come.

    Returns:
        The problems of unreadable images, and the number of the others that were printed or written.
    """
    from tqdm import tqdm

    from viewfinder.errors import printable
    from viewfinder.evaluation.prediction_file import PredictionFile, PredictionStream

    stream = open_stream(path) if path else None
    if path and not stream:
        target = PredictionFile(path, itertools.chain(model, files))
        if target.count:
            typer.echo(f"continue after {target.count:,} of {len(files):,} images", err=True)
        if target.discarded:
            rule = f"rows of {target.discarded:,} images from a stopped call with another model or other images"
            typer.echo(f"warning  {printable(target.partial.name)} had {rule}; they are replaced", err=True)
    else:
        target = PredictionStream(stream)
    start = target.count
    printer = _Printer(top, path, start - len(target.problems))
    bar = tqdm(total=len(files), initial=start, unit=" images", leave=False, disable=None, delay=1)
    try:
        for classified in classify(files[start:]):
            target.append(classified)
            printer.add(classified)
            bar.update(classified.file_count)
    except (KeyboardInterrupt, Stopped):
        bar.close()
        target.save()
        again = "; the same command continues" if isinstance(target, PredictionFile) else ""
        typer.echo(f"stopped after {target.count:,} of {len(files):,} images{again}", err=True)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        pass  # the reader has enough
    finally:
        if stream and stream is not sys.stdout:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    bar.close()
    readable = target.count - len(target.problems)
    if readable:
        target.finish(as_parquet)
    else:
        target.discard()
    printer.close(readable)
    return target.problems, readable


class _Printer:
    """Tables of predictions of at most MAX_ROWS images; with a file, only the first one."""

    def __init__(self, top: int, path: Path | None, earlier: int):
        self.top, self.path, self.printed = top, path, 0
        self.earlier = earlier
        """images that the file had before"""
        self.waiting: list[Classified] = []

    def add(self, classified: "Classified") -> None:
        if self.path is None or self.printed + self._count_waiting() < MAX_ROWS:
            self.waiting.append(classified)
        if self._count_waiting() >= MAX_ROWS:
            self._print()

    def _count_waiting(self) -> int:
        return sum(len(part.names) for part in self.waiting)

    def _print(self) -> None:
        from viewfinder.evaluation.classified import join_classified
        from viewfinder.reporting.tables import open_console

        if self.waiting and (joined := join_classified(self.waiting)).names:
            open_console().print(joined.build_table(self.top))
            self.printed += len(joined.names)
        self.waiting = []

    def close(self, total: int) -> None:
        """Print the last table, and how many of `total` images only the file has."""
        self._print()
        more = total - self.printed - self.earlier
        counts = [f"{more:,} more images"] * (more > 0) + [f"{self.earlier:,} from before"] * (self.earlier > 0)
        if self.path is not None and counts:
            typer.echo(f"... and {' and '.join(counts)} in {self.path}")
        sys.stdout.flush()
