"""`viewfinder report` writes pages again; commands reject folders that are no runs."""

import shutil
from pathlib import Path

import pytest
from conftest import CLASSES, IMAGE_URLS, Page, Type, on_one_line

from viewfinder.runs.folder import RunFolder


def test_report_reproduces_the_page_from_the_run_folder_alone(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    copy = RunFolder(Path(shutil.copytree(finished.path, tmp_path / finished.path.name)))
    for path in (copy.report, copy.curves, copy.confusion):
        path.unlink()
    answer = viewfinder("report", copy.path)
    assert (answer.code, answer.err) == (0, "")
    assert str(copy.report) in answer.out.splitlines()
    assert copy.report.read_bytes() == finished.report.read_bytes()
    assert {path.name for path in copy.path.iterdir()} == {path.name for path in finished.path.iterdir()}


def test_the_report_is_one_file_that_fetches_no_other(finished: RunFolder) -> None:
    html = finished.report.read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.fetched) >= 3
    assert [address for address in page.fetched if not address.startswith((*IMAGE_URLS, "#"))] == []
    assert page.tags.isdisjoint({"script", "link", "iframe"})
    assert [word for word in ("http://", "https://", "@import", "url(") if word in html] == []


def test_the_report_shows_class_names_verbatim_and_the_scores(finished: RunFolder) -> None:
    html = finished.report.read_text(encoding="utf-8")
    assert "<b>&x" not in html
    assert "&lt;b&gt;&amp;x" in html
    text = Page(html).text
    assert set(CLASSES) <= {part.strip() for part in text}
    scores = finished.read_scores()
    for weights in ("best", "last"):
        for split in ("val", "test"):
            assert f"{scores[weights][split]['loss']:.4f}" in text


def test_report_writes_every_page_below_a_folder(finished: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    pages = [tmp_path / folder / finished.path.name / "report.html" for folder in ("one", "two")]
    for page in pages:
        shutil.copytree(finished.path, page.parent)
        page.unlink()
    answer = viewfinder("report", tmp_path)
    assert answer.out.splitlines() == [str(page) for page in pages]
    assert all(page.read_bytes() == finished.report.read_bytes() for page in pages)


# What is not a run


@pytest.mark.parametrize("verb", ["evaluate", "predict", "compare", "report"])
def test_a_folder_that_is_not_a_run_is_rejected_by_its_name(viewfinder: Type, tmp_path: Path, verb: str) -> None:
    words = [tmp_path / "nothing here"] + [tmp_path / "a.png"] * (verb == "predict")
    answer = viewfinder(verb, *words)
    assert (answer.code, answer.out) == (2, "")
    assert "nothing here" in on_one_line(answer.err)
    assert "Traceback" not in answer.err
