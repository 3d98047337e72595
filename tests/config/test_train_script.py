"""`python train.py` rejects a wrong command line before it imports torch."""

import pytest
from command_lines import assert_one_screen, list_files
from conftest import ROOT
from new_process import Ended, run_scripts

MESSAGES = {
    "modle=mlp": "Did you mean model?",
    "model=mpl": "Did you mean mlp?",
    "+optimizer.lrr=1": "Did you mean optimizer.lr?",
    "-m optimizer.lrr=1,2": "Did you mean optimizer.lr?",
    "-m model=mlp,simple_cn": "Did you mean simple_cnn?",
    "optimizer.lr=(1": "cannot be parsed: extraneous input '('",
    "sweep=5": "is a group of keys",
    "optimizer.lr = 0.1": "Write key=value without spaces",
    "-m seed=1,2 run_dir=x": "output_dir=PATH",
    "optimizer.betas={a:1}": "must be a list",
    "sweep.name=lr": "Add -m",
    "seed=1,2": "Add -m",
    "optimizer.lr=interval(0,1)": "Add -m",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """What `python train.py` answers to each line; it leaves no file."""
    folder = tmp_path_factory.mktemp("working_folder")
    answers = run_scripts([[ROOT / "train.py", *line.split()] for line in MESSAGES], folder)
    assert list_files(folder) == []
    return dict(zip(MESSAGES, answers, strict=True))


@pytest.mark.parametrize("line", MESSAGES)
def test_a_wrong_command_line_is_answered_before_torch_is_imported(line: str, answers: dict[str, Ended]) -> None:
    answer = answers[line]
    assert (answer.code, answer.out) == (2, "")
    assert_one_screen(answer.err)
    assert MESSAGES[line] in answer.err
    assert "hydra" in answer.modules
    assert "torch" not in answer.modules
