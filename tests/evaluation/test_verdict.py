"""Sentences about the best setting and the next, from their predictions of the same images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from viewfinder.evaluation.holm import adjust_holm
from viewfinder.evaluation.verdict import judge_groups, judge_settings

STATSMODELS_HOLM = ([0.01, 0.04, 0.03, 0.005, 0.5], [0.04, 0.09, 0.09, 0.025, 0.5])
"""statsmodels.stats.multitest.multipletests(method="holm") of 0.15.0: p-values, corrected."""


def runs_of(*accuracies: float, images: int = 2000, seed: int = 0) -> np.ndarray:
    """Draw runs with given accuracies, (runs, images) bool."""
    random = np.random.default_rng(seed).random((len(accuracies), images))
    return random < np.array(accuracies)[:, None]


def test_holms_correction_is_that_of_statsmodels() -> None:
    p_values, expected = STATSMODELS_HOLM
    assert adjust_holm(p_values).tolist() == pytest.approx(expected)
    # Tests with unknown p-values, here of 1, leave those of the others larger.
    with_unknown = adjust_holm([*p_values, 1.0, 1.0])[: len(p_values)]
    assert adjust_holm(p_values, tests=len(p_values) + 2).tolist() == pytest.approx(with_unknown.tolist())


def test_a_clear_difference_over_seeds_is_a_verdict_about_settings() -> None:
    verdict = judge_groups({"a": runs_of(0.9, 0.91, 0.89), "b": runs_of(0.7, 0.71, 0.7, seed=1)}, 2)
    assert verdict.sentence == "Verdict: a is better than b."
    assert verdict.test_line is not None
    assert " better (" in verdict.test_line
    assert verdict.test_line.endswith("noise of seeds and of 2,000 images")
    (power,) = verdict.details
    assert power.startswith("A true difference of 1 point would be found with a probability of ")
    worse = judge_groups({"b": runs_of(0.7, 0.71, 0.7, seed=1), "a": runs_of(0.9, 0.91, 0.89)}, 2)
    assert worse.sentence == "Verdict: b is worse than a on test, although it was better on validation."


def test_a_clear_difference_of_single_runs_is_a_verdict_about_these_runs() -> None:
    verdict = judge_groups({"a": runs_of(0.9), "b": runs_of(0.7, seed=1)}, 2)
    assert verdict.sentence.startswith("Verdict: this run of a is better than this run of b. Other seeds may")
    assert verdict.test_line is not None
    assert "McNemar's test of 2,000 images" in verdict.test_line


def test_an_undecided_comparison_names_the_seeds_or_images_that_would_decide() -> None:
    first, second = runs_of(0.8, 0.82, 0.78), runs_of(0.78, 0.8, 0.76, seed=1)
    verdict = judge_groups({"a": first, "b": second}, 2)
    points = 100 * (first.mean() - second.mean())
    start = f"Verdict: undecided. If {points:.2f} points is the true difference, about "
    assert verdict.sentence.startswith(start)
    assert verdict.sentence.endswith(" seeds of each would decide.")
    images = judge_groups({"a": runs_of(0.8), "b": runs_of(0.79, seed=1)}, 2)
    assert images.sentence.endswith(" test images would decide.")
    same = judge_groups({"a": runs_of(0.8), "b": runs_of(0.8)}, 2)
    assert same.sentence == "Verdict: undecided. There is no difference to be confirmed by more seeds or images."


def test_the_best_of_many_is_judged_by_corrected_p_values() -> None:
    run = np.arange(2000) < 1600
    best = run.copy()
    best[1600:1630], best[:14] = True, False  # p = 0.02 by McNemar's test
    groups = {"best": best[None], **dict.fromkeys("abcdefg", run[None]), "bad": np.zeros((1, 2000), dtype=bool)}
    alone = judge_groups({"best": groups["best"], "a": groups["a"]}, 2)
    assert alone.sentence.startswith("Verdict: this run of best is better")
    among = judge_groups(groups, len(groups))
    assert among.sentence.startswith("Verdict: undecided.")
    said = " ".join(among.details)
    assert "After Holm's correction for the 36 pairs of 9 settings, p = " in said
    assert "Worse than best: bad." in said
    assert "Not told apart from best: b, c, d, e, f and 1 more." in said


def test_a_single_run_among_several_seeds_is_named() -> None:
    verdict = judge_groups({"a": runs_of(0.9, 0.91, 0.89), "b": runs_of(0.7, seed=1)}, 2)
    assert "b has a single run; the spread of a over seeds stands in for its own." in verdict.details


def write_predictions(folder: Path, correct: np.ndarray, names: list[str], label: str = "cat") -> str:
    predicted = np.where(correct, label, "dog")
    folder.mkdir()
    table = pd.DataFrame({"picture": names, "true": label, "predicted": predicted, "p_cat": 0.5, "p_dog": 0.5})
    table.to_csv(folder / "predictions.csv", index=False)
    return str(folder)


def judge(*runs: tuple[str, str]) -> tuple[str, str]:
    """Return the sentence and the details of a verdict on runs, each with its setting."""
    verdict = judge_settings(pd.DataFrame(runs, columns=["setting", "run"]), ["a", "b"])
    return verdict.sentence, " ".join(verdict.details)


def test_images_are_paired_by_name_whatever_their_order(tmp_path: Path) -> None:
    names, correct = [*"uvwxyz", "NA"], np.array([1, 1, 1, 1, 1, 0, 1], dtype=bool)
    first = write_predictions(tmp_path / "first", correct, names)
    second = write_predictions(tmp_path / "second", correct[::-1], names[::-1])
    assert judge(("a", first), ("b", second))[0].endswith(
        "There is no difference to be confirmed by more seeds or images."
    )


def test_runs_with_other_test_images_are_compared_on_those_they_share(tmp_path: Path) -> None:
    first = write_predictions(tmp_path / "first", np.ones(9, dtype=bool), list("abcdefghi"))
    second = write_predictions(tmp_path / "second", np.zeros(8, dtype=bool), list("cdefghij"))
    sentence, details = judge(("a", first), ("b", second))
    assert "Compared on the 7 test images that all runs share." in details
    assert sentence.startswith("Verdict: this run of a is better than this run of b.")
    third = write_predictions(tmp_path / "third", np.ones(2, dtype=bool), ["y", "z"])
    fourth = write_predictions(tmp_path / "fourth", np.ones(9, dtype=bool), list("abcdefghi"), label="owl")
    for other, reason in ((third, "share no test images"), (fourth, "give the same test images different labels")):
        assert judge(("a", first), ("b", other)) == ("", f"No comparison image by image: the runs: {reason}.")


def test_a_run_without_predictions_is_named(tmp_path: Path) -> None:
    first = write_predictions(tmp_path / "first", np.ones(3, dtype=bool), list("abc"))
    sentence, details = judge(("a", first), ("b", str(tmp_path / "none")))
    assert sentence == ""
    assert f"{tmp_path / 'none' / 'predictions.csv'}: is missing" in details
