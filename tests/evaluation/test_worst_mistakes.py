"""The worst mistakes in predictions.csv."""

from pathlib import Path

from viewfinder.evaluation.worst_mistakes import Mistake, read_worst_mistakes
from viewfinder.runs.folder import RunFolder


def test_mistakes_are_read_where_names_are_not_utf_8(tmp_path: Path) -> None:
    rows = b"picture,true,predicted,p_a,p_b\n\xe9.png,a,b,0.25,0.75\nNA,b,a,0.875,0.125\nx.png,a,a,1,0\n"
    (tmp_path / "predictions.csv").write_bytes(rows)
    assert read_worst_mistakes(RunFolder(tmp_path), ["a", "b"], 4) == [
        Mistake("NA", 1, 0.125), Mistake("\udce9.png", 0, 0.25),
    ]  # fmt: skip
