"""A job that resumes its run passes on values unchanged."""

import pytest

from viewfinder.experiment.stored_config import load_config
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.job import find_changed_overrides


@pytest.mark.parametrize(
    "root", ["/Bilder/\N{CAT FACE}", "/bytes/\udcff", "/\x7f\x85\u2028\ufeff", 'a #b: "c\\d"', "1e5", "./~", "/grün\n"]
)
def test_a_changed_path_reaches_the_resumed_run_letter_by_letter(finished: RunFolder, root: str) -> None:
    config = finished.read_settings()
    config["data"]["root"] = root
    (override,) = find_changed_overrides(finished, config)
    assert load_config(finished, [override]).data.root == root
