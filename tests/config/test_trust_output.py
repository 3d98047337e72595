"""Paths and names in an untrusted run folder are neither followed nor interpreted."""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import IMAGE_URLS, Page, Type
from untrusted_runs import assert_rejected, list_files, update_config

from viewfinder.errors import printable
from viewfinder.runs.folder import RunFolder

CIFAR = "viewfinder.data.sources.cifar10.CIFAR10"


def test_a_run_of_cifar10_downloads_nothing_and_makes_no_folder(
    run_copy: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", lambda _: pytest.fail("a download"))
    update_config(
        run_copy,
        {"data": {"_target_": CIFAR, "root": "../../in/here", "download": True}},
    )
    before = list_files(run_copy)
    assert_rejected(viewfinder("evaluate", "."), "data.download=true")
    assert list_files(run_copy) == before
    assert not (run_copy.path.parent.parent / "in").exists()


def test_paths_in_the_files_of_a_run_are_not_written_to(run_copy: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    update_config(run_copy, {"name": "../../up", "output_dir": "../out", "run_dir": "../other"})
    facts = json.loads(run_copy.run.read_text())
    run_copy.run.write_text(json.dumps(facts | {"working_folder": "../up", "report": "../page.html"}))
    beside = {path for path in tmp_path.rglob("*") if run_copy.path not in path.parents}
    assert viewfinder("report", ".").code == 0
    assert viewfinder("evaluate", ".").code == 0
    assert {path for path in tmp_path.rglob("*") if run_copy.path not in path.parents} == beside


def test_links_out_of_a_run_folder_are_replaced_not_followed(
    run_copy: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("mine")
    for file in (run_copy.report, run_copy.curves, run_copy.confusion):
        file.unlink()
        file.symlink_to(tmp_path / "precious")
    assert viewfinder("report", ".").code == 0
    assert (tmp_path / "precious").read_text() == "mine"


NAMES = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31m[red]{{ 7*7 }}:car:\u202e$\\frac{")


def rename_classes(run_copy: RunFolder, names: tuple[str, ...] = NAMES) -> None:
    """The run with other class names, everywhere."""
    data, scores = (json.loads(path.read_text(encoding="utf-8")) for path in (run_copy.data, run_copy.scores))
    data["class_names"] = list(names)
    for result in scores.values():
        for split in ("val", "test"):
            result[split]["per_class"] = dict(zip(names, result[split]["per_class"].values(), strict=True))
    run_copy.data.write_text(json.dumps(data))
    run_copy.scores.write_text(json.dumps(scores))
    table = pd.read_csv(run_copy.predictions)
    earlier = [column.removeprefix("p_") for column in table if column.startswith("p_")]
    renamed = dict(zip(earlier, names, strict=True))
    table = table.rename(columns={f"p_{name}": f"p_{renamed[name]}" for name in earlier})
    table["true"], table["predicted"] = table["true"].map(renamed), table["predicted"].map(renamed)
    table.to_csv(run_copy.predictions, index=False)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_page_shows_names_and_executes_none(run_copy: RunFolder, viewfinder: Type) -> None:
    rename_classes(run_copy)
    update_config(run_copy, {"name": NAMES[0]})
    facts = json.loads(run_copy.run.read_text())
    facts |= {"command": NAMES[1], "device": NAMES[0], "versions": {NAMES[0]: NAMES[1]}, "started": NAMES[1]}
    run_copy.run.write_text(json.dumps(facts))
    answer = viewfinder("report", ".")
    assert answer.code == 0, answer.err
    html = run_copy.report.read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags.isdisjoint({"script", "iframe", "object"})
    assert "<script" not in html
    assert [address for address in page.fetched if not address.startswith(IMAGE_URLS)] == []
    assert set(NAMES) <= {part.strip() for part in page.text}


def test_a_terminal_shows_names_without_control_characters(run_copy: RunFolder, viewfinder: Type) -> None:
    rename_classes(run_copy)
    answer = viewfinder("predict", ".", run_copy.curves)
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out
    for name in NAMES:
        assert printable(name) in answer.out
    answer = viewfinder("evaluate", ".")
    assert_rejected(answer, "a class that the run does not know", r"\x1b[31m[red]")
    assert "\x1b" not in answer.err


def test_only_control_characters_are_escaped() -> None:
    same = ("grün, blau", "[red]猫\u3000🧑\u200d🚀", "a b")
    assert [printable(text) for text in same] == list(same)
    assert printable("a\x1b]0;b\x07\n\x9b\udc80\u202e") == r"a\x1b]0;b\x07\n\x9b\udc80\u202e"
