"""The report of a run is one self-contained, safely escaped HTML file."""

import base64
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from conftest import IMAGE_URLS, Page, some_predictions
from PIL import Image
from scipy.stats import binomtest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from viewfinder.evaluation.score import score_predictions
from viewfinder.reporting.pages.run import write_report
from viewfinder.runs.atomic import write_json
from viewfinder.runs.create import create_run
from viewfinder.runs.folder import RunFolder


def scored_run(folder: Path, names: list[str]) -> tuple[RunFolder, dict[str, Any]]:
    """A run folder with all that a report is made of; its scores are of random logits."""
    settings = {"name": "<b>name</b>", "seed": 3, "run_dir": str(folder), "output_dir": "outputs"}
    run = create_run(settings)
    split = score_predictions(some_predictions(60, len(names), seed=9), 1.25, names)
    found = {which: {"epoch": epoch, "val": split, "test": split} for which, epoch in (("best", 1), ("last", 2))}
    write_json(run.scores, found)
    run.write_data({
        "class_names": names, "channels": 3, "picture_size": [8, 9], "split_sizes": {"train": 9, "val": 60, "test": 60}
    })  # fmt: skip
    run.update_run(
        status="finished",
        device="cpu",
        network={"name": "Net", "parameters": 12_345, "trained": 345, "multiply_adds": 6789},
        epoch_seconds=[30.0, 120.0],
    )
    columns = ["epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy"]
    pd.DataFrame([[1, 2.0, 0.1, 1.9, 0.2], [2, 1.0, 0.5, 1.2, 0.4]], columns=columns).to_csv(run.metrics, index=False)
    return run, split


def test_class_names_that_look_like_html_are_text_in_the_report(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    run, split = scored_run(tmp_path / "run", [nasty, "b & c", '"d"'])
    write_report(run)
    page = Page(run.report.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "b" in page.tags  # the report's own bold figures: tags are seen
    text = "".join(page.text)
    assert text.count(nasty) >= 2  # hardest classes, and confused pairs
    assert "b & c" in text
    assert "<b>name</b>" in text
    assert f"{split['accuracy']:.4f}" in text
    assert "12,345 parameters" in text
    assert "training took 2.5 minutes" in " ".join(text.split())
    interval = binomtest(round(split["accuracy"] * 60), 60).proportion_ci(method="wilson")
    assert f"accuracy {interval.low:.1%} to {interval.high:.1%} (Wilson)" in " ".join(text.split())
    assert 'viewfinder.load_run("PATH/run")' in text
    for address, chart in zip(page.fetched, (run.curves, run.curves, run.confusion), strict=True):
        svg = base64.b64decode(address.partition(",")[2])
        assert "script" not in {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
        assert len(svg) < chart.stat().st_size


def test_the_report_is_one_file_that_asks_nothing_of_the_network(tmp_path: Path) -> None:
    run, _ = scored_run(tmp_path / "run", ["a", "b"])
    write_report(run)
    content = run.report.read_text(encoding="utf-8")
    sources = Page(content).fetched
    assert len(sources) == 3
    assert all(source.startswith(IMAGE_URLS) for source in sources)
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[^\"]*", "", content))
    for path in (run.curves, run.confusion):
        with Image.open(path) as picture:
            picture.verify()


def test_tensorboard_shows_the_confusion_matrix_of_the_report(finished: RunFolder) -> None:
    events = EventAccumulator(str(finished.path))
    events.Reload()
    (shown,) = events.Images("test/confusion")
    assert shown.encoded_image_string == finished.confusion.read_bytes()
    with Image.open(finished.confusion) as picture:
        assert (shown.width, shown.height) == picture.size
