"""Report page of a sweep."""

import shutil
import urllib.parse
from pathlib import Path

import pytest
from conftest import Page, Type

from viewfinder.reporting.pages.sweep import write_sweep_report
from viewfinder.runs.find import find_runs
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.folder import SweepFolder, SweepJob


@pytest.fixture
def sweep(seeds: Path, tmp_path: Path) -> Path:
    """Six jobs that have finished and one that failed, in a folder whose name needs quoting."""
    folder = tmp_path / "a sweep #1"
    for number, run in enumerate(find_runs(seeds)):
        shutil.copytree(run.path, folder / str(number))
    failed = Path(shutil.copytree(folder / "0", folder / "6"))
    (failed / "scores.json").unlink()
    RunFolder(failed).update_run(status="failed", error="<script>alert(1)</script>")
    write_jobs(folder, *map(str, range(8)))
    return folder


def write_jobs(folder: Path, *names: str) -> None:
    SweepFolder(folder, folder.name, jobs=[SweepJob(name, [], {}) for name in names]).write()


def test_report_writes_the_page_of_a_sweep_beside_those_of_its_jobs(sweep: Path, viewfinder: Type) -> None:
    for number in range(6):
        (sweep / str(number) / "report.html").unlink()
    answer = viewfinder("report", sweep)
    assert (answer.code, answer.err) == (0, "")
    assert [line for line in answer.out.splitlines() if not line.startswith("left out")] == [
        str(path / "report.html") for path in (*(sweep / str(number) for number in range(6)), sweep)
    ]
    html = (sweep / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    said = " ".join(" ".join(page.text).split())
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in said
    assert "7 not started" in said
    links = [each for each in page.fetched if not each.startswith("data:image/svg+xml;base64,")]
    assert links == [f"{number}/report.html" for number in range(6)]
    assert len(page.fetched) == len(links) + 2
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (sweep / "epochs.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweeps_page_says_what_compare_says(sweep: Path, viewfinder: Type) -> None:
    page = Page(write_sweep_report(sweep, find_runs(sweep)).read_text(encoding="utf-8"))
    said = " ".join(" ".join(page.text).split())
    table, _, lead = viewfinder("compare", sweep).out.partition("Accuracy and macro")
    for line in table.splitlines()[1:]:
        for cell in line.split("  "):
            assert cell.strip() in said
    command = lead.splitlines()[-1].strip()
    assert command.startswith("python train.py -m")
    assert command in said
    for line in lead.partition("Is lr=")[2].splitlines()[1:3]:
        assert " ".join(line.split()) in said
    (verdict,) = [line for line in lead.splitlines() if line.startswith("Verdict: ")]
    assert " ".join(verdict.split()) in said


def test_a_job_whose_name_is_odd_is_linked_to_all_the_same(seeds: Path, tmp_path: Path) -> None:
    name = 'java:s "1"#?%.x'
    shutil.copytree(seeds / "0.01_0", tmp_path / name)
    page = Page(write_sweep_report(tmp_path, find_runs(tmp_path)).read_text(encoding="utf-8"))
    (link,) = [each for each in page.fetched if not each.startswith("data:")]
    assert urllib.parse.urlsplit(link)[0:2] == ("", "")
    assert (tmp_path / urllib.parse.unquote(urllib.parse.urlsplit(link).path)).is_file()


def test_a_sweep_of_which_no_run_has_finished_says_so_with_the_reasons(tmp_path: Path, viewfinder: Type) -> None:
    (tmp_path / "sweep.png").write_bytes(b"of an earlier time")
    page = write_sweep_report(tmp_path, [], [("0", "optimizer.lr = x: must be a number")], "python train.py -m x=1,2")
    said = " ".join(Page(page.read_text(encoding="utf-8")).text)
    for word in ("No run has finished", "optimizer.lr = x: must be a number", "python train.py -m x=1,2"):
        assert word in said
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    write_jobs(tmp_path, "0")
    answer = viewfinder("report", tmp_path)
    assert (answer.code, answer.out) == (2, f"{page}\n")


@pytest.mark.parametrize("name", ["..", "../elsewhere", "/tmp", "a/b", "", ".x", "a\\b"])
def test_a_sweep_may_name_only_folders_directly_below_it(
    seeds: Path, tmp_path: Path, viewfinder: Type, name: str
) -> None:
    shutil.copytree(seeds / "0.01_0", tmp_path / "0")
    write_jobs(tmp_path, "0", name)
    answer = viewfinder("report", tmp_path)
    assert answer.code == 2
    assert "sweep.json" in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "report.html").exists()
