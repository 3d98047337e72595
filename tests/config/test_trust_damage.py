"""A damaged file of a run folder changes no score, or is rejected."""

import json
from collections.abc import Callable

import pytest
from conftest import Type
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from untrusted_runs import assert_rejected

from viewfinder.runs.folder import RunFolder


@st.composite
def draw_damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Some bytes changed, left out or put in, or the end cut off."""
    kind = draw(st.sampled_from(["change", "insert", "remove", "cut"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    new = draw(st.binary(min_size=1, max_size=4))

    def damaged(whole: bytes) -> bytes:
        content = bytearray(whole)
        for place in places:
            at = int(place * len(content))
            if kind == "cut":
                return bytes(content[:at])
            content[at : at + (0 if kind == "insert" else len(new))] = b"" if kind == "remove" else new
        return bytes(content)

    return damaged


@pytest.mark.parametrize("name", ["best.ckpt", "config.yaml", "data.json"])
@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], phases=[Phase.generate],
)  # fmt: skip
@given(damage=draw_damage())
def test_a_damaged_file_changes_no_score_or_is_rejected(
    finished: RunFolder, run_copy: RunFolder, viewfinder: Type, name: str, damage: Callable[[bytes], bytes]
) -> None:
    whole, scores_file = (finished.path / name).read_bytes(), run_copy.path.parent / "scores.json"
    (run_copy.path / name).write_bytes(damage(whole))
    scores_file.unlink(missing_ok=True)
    answer = viewfinder("evaluate", ".", "--json", scores_file)
    if answer.code:
        assert_rejected(answer)
    elif name == "best.ckpt":  # another number in a text file may be another setting
        assert json.loads(scores_file.read_text(encoding="utf-8")) == finished.read_scores()["best"]["test"]


def test_an_undamaged_copy_is_evaluated(run_copy: RunFolder, viewfinder: Type) -> None:
    answer = viewfinder("evaluate", ".")
    assert (answer.code, answer.err) == (0, "")
