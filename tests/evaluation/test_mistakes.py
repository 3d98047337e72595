"""The most confident and the worst mistakes of a table of predictions."""

from pathlib import Path

import numpy as np
import pandas as pd

from viewfinder.evaluation.mistakes import (
    Mistake,
    get_probabilities,
    list_confident_mistakes,
    list_worst_mistakes,
    read_worst_mistakes,
)
from viewfinder.runs.folder import RunFolder

TABLE = pd.DataFrame({
    "picture": list("uvwxy"), "true": ["a", "a", "b", "b", "a"], "predicted": ["a", "b", "a", "c", "b"],
    "p_a": [0.99, 0.1, 0.9, 0.0, 0.05], "p_b": [0.01, 0.6, 0.1, 0.4, 0.95], "p_c": [0, 0.3, 0, 0.6, 0],
})  # fmt: skip
V, W, X, Y = (
    Mistake("v", "a", "b", 0.6, 0.1), Mistake("w", "b", "a", 0.9, 0.1), Mistake("x", "b", "c", 0.6, 0.4),
    Mistake("y", "a", "b", 0.95, 0.05),
)  # fmt: skip


def test_the_most_confident_mistakes_come_first() -> None:
    assert list_confident_mistakes(TABLE, 3) == [Y, W, V]
    assert list_confident_mistakes(TABLE[:1]) == []
    np.testing.assert_array_equal(get_probabilities(TABLE)[1], [0.1, 0.6, 0.3])


def test_the_worst_mistakes_give_the_true_class_the_lowest_probability() -> None:
    assert list_worst_mistakes(TABLE, 8) == [Y, V, W, X]


def test_mistakes_are_read_where_names_are_not_utf_8(tmp_path: Path) -> None:
    rows = b"picture,true,predicted,p_a,p_b\n\xe9.png,a,b,0.25,0.75\nNA,b,a,0.875,0.125\nx.png,a,a,1,0\n"
    (tmp_path / "predictions.csv").write_bytes(rows)
    assert read_worst_mistakes(RunFolder(tmp_path), ["a", "b"], 4) == [
        Mistake("NA", "b", "a", 0.875, 0.125), Mistake("\udce9.png", "a", "b", 0.75, 0.25),
    ]  # fmt: skip
