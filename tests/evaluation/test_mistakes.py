"""The most confident mistakes of a table of predictions."""

import numpy as np
import pandas as pd

from viewfinder.evaluation.mistakes import ConfidentMistake, get_probabilities, list_confident_mistakes


def test_the_most_confident_mistakes_come_first() -> None:
    table = pd.DataFrame({
        "picture": list("uvwxy"), "true": ["a", "a", "b", "b", "a"], "predicted": ["a", "b", "a", "a", "b"],
        "p_a": [0.99, 0.4, 0.9, 0.6, 0.05], "p_b": [0.01, 0.6, 0.1, 0.4, 0.95],
    })  # fmt: skip
    expected = [("y", "a", "b", 0.95), ("w", "b", "a", 0.9), ("v", "a", "b", 0.6)]
    assert list_confident_mistakes(table, 3) == [ConfidentMistake(*values) for values in expected]
    assert list_confident_mistakes(table[:1]) == []
    np.testing.assert_array_equal(get_probabilities(table)[1], [0.4, 0.6])
