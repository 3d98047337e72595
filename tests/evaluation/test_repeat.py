"""Commands that repeat a setting."""

import json
import shlex
from pathlib import Path

from conftest import Type
from omegaconf import OmegaConf

from viewfinder.config.overrides import compose_config
from viewfinder.evaluation.repeat import format_repeat_command
from viewfinder.runs.folder import RunFolder


def run_that_typed(folder: Path, *typed: str, command: str = "python train.py -m x=1") -> RunFolder:
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    run.run.write_text(json.dumps({"status": "finished", "overrides": typed, "command": command}))
    return run


def test_the_command_repeats_what_was_typed_with_every_seed_and_nothing_of_how_jobs_are_made(tmp_path: Path) -> None:
    typed = [
        "experiment=quickstart", "hydra/launcher=joblib", "sweep.jobs=2", "hydra.launcher.n_jobs=2", "run_dir=x",
        "seed=2", "optimizer.lr=1e-3", "name='a b'", "+model.sweep=1",
    ]  # fmt: skip
    run = run_that_typed(tmp_path / "one", *typed)
    kept = "experiment=quickstart optimizer.lr=1e-3 'name='\"'\"'a b'\"'\"'' +model.sweep=1"
    assert format_repeat_command([run], [2]) == f"python train.py {kept} seed=2"
    assert format_repeat_command([run], [3, 1, 2]) == f"python train.py -m {kept} seed=1,2,3"
    installed = run_that_typed(tmp_path / "two", "model=mlp", command="viewfinder train -m model=mlp")
    assert format_repeat_command([installed], [42]) == "viewfinder train model=mlp"


def test_the_command_has_what_was_changed_when_the_run_went_on_and_matters(tmp_path: Path) -> None:
    run = run_that_typed(tmp_path / "run", "+trainer.max_epochs=4", "data=image_folder", "seed=2")
    later = [["trainer.max_epochs=6", "data.root=/a b"], ["data.workers=2", "allow=tiny"], ["trainer.max_epochs=8"]]
    run.update_run(resumed=[{"time": "", "epochs": 4, "batches": 0, "overrides": each} for each in later])
    kept = "+trainer.max_epochs=8 data=image_folder 'data.root=/a b'"
    assert format_repeat_command([run], [1, 2]) == f"python train.py -m {kept} seed=1,2"


def test_a_strangers_command_is_words_of_train_py_alone(tmp_path: Path) -> None:
    run = run_that_typed(tmp_path / "run", "a=1; rm -rf ~", "b=\x1b[31m", command="rm -rf ~")
    assert format_repeat_command([run], [1]) == r"python train.py 'a=1; rm -rf ~' 'b=\x1b[31m'"


def test_runs_that_do_not_say_what_was_typed_have_no_command(tmp_path: Path) -> None:
    assert format_repeat_command([run_that_typed(tmp_path / "run", command="python mine.py")], [1, 2]) is None
    plain = run_that_typed(tmp_path / "plain", command="python train.py")
    assert format_repeat_command([plain], [42]) == "python train.py"


def test_compare_ends_with_a_command_that_makes_the_best_settings_configurations(seeds: Path, viewfinder: Type) -> None:
    answer = viewfinder("compare", seeds)
    words = shlex.split(answer.out.splitlines()[-1])
    assert words[:3] == ["python", "train.py", "-m"]
    assert words[-1] == "seed=0,1,2"
    best = answer.out.splitlines()[1].split()[0].removeprefix("lr=")
    for seed in "012":
        kept = RunFolder(seeds / f"{best}_{seed}").read_settings()
        again = compose_config([*words[3:-1], f"seed={seed}", f"run_dir={kept['run_dir']}"])
        assert OmegaConf.to_container(again) == kept
    assert "Is lr=" in answer.out
    assert "Is lr=" not in viewfinder("compare", seeds, "--markdown").out
