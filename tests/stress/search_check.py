"""Searches that are killed at random moments and resumed, and a comparison of TPE with random search.

    python tests/stress/search_check.py storage --count 40    analytic objective, one or two processes, killed often
    python tests/stress/search_check.py samplers --count 20   TPE and random search with equal budgets
    python tests/stress/search_check.py training --count 20   `viewfinder search` with short trials, killed by SIGKILL

A killed search must end with exactly the requested number of trials, each with its original values. With one process,
the trials must equal those of an undisturbed search. The exit code is 1 if a check fails.
"""

import argparse
import contextlib
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from filelock import FileLock
from optuna.trial import TrialState

from viewfinder.config.overrides import compose_config
from viewfinder.sweeps.search.folder import SearchFolder
from viewfinder.sweeps.search.run import run_trials
from viewfinder.sweeps.search.space import Space, parse_search_spec
from viewfinder.sweeps.search.study import ClaimedTrial, Outcome, Search
from viewfinder.sweeps.search.trial import EpochReporter

OVERRIDES = [
    "optimizer.lr=interval(1e-5,1)", "optimizer=adam,sgd,adamw", "loss.label_smoothing=interval(0,0.5)",
    "data.batch_size=interval(8,256)",
]  # fmt: skip
EPOCHS = 4
SHORT = [
    "optimizer.lr=interval(1e-4,1e-1)", "optimizer=adam,sgd", "model=mlp", "model.widths=[8],[16]", "data=digits",
    "model.image_size=8", "trainer=cpu", "trainer.threads=1", "trainer.precision=32-true", "trainer.max_epochs=4",
    "trainer.progress_bar=false", "trainer.checkpoint_every=20",
]  # fmt: skip


def accuracy(values: dict[str, Any]) -> float:
    """Return an accuracy that peaks at 0.95 for adam, lr 3e-3, no smoothing and batches of 45.

    About one trial in ten exceeds 0.9.
    """
    distance = 0.12 * (math.log10(values["optimizer.lr"]) + 2.5) ** 2 + 0.4 * values["loss.label_smoothing"] ** 2
    distance += 0.03 * math.log2(values["data.batch_size"] / 45) ** 2
    return 0.95 - distance - {"adam": 0.0, "adamw": 0.02, "sgd": 0.08}[values["optimizer"]]


class Analytic:
    """Resumable objective of EPOCHS epochs that writes its state to a file after each."""

    def __init__(self, search: Search):
        self.search = search

    def file(self, trial: ClaimedTrial) -> Path:
        return self.search.folder.path / f"{trial.number}.json"

    def __call__(self, trial: ClaimedTrial) -> int:
        file = self.file(trial)
        with FileLock(file.with_suffix(".alone"), blocking=False):  # raises if another process holds it
            state = json.loads(file.read_text()) if file.exists() else {"values": trial.values, "rows": []}
            assert state["values"] == trial.values, f"trial {trial.number} had {state['values']}, has {trial.values}"
            report = EpochReporter(self.search.study, trial)
            while not report(state["rows"]) and len(state["rows"]) < EPOCHS:
                epoch = len(state["rows"]) + 1
                time.sleep(0.005)
                state["rows"].append({"epoch": epoch, "val/accuracy": accuracy(trial.values) - 0.1 / epoch})
                self._write(file, state)
            state["status"] = "finished" if len(state["rows"]) == EPOCHS else "pruned"
            self._write(file, state)
        return 0

    def _write(self, file: Path, state: dict[str, Any]) -> None:
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(state))
        temporary.replace(file)

    def read_outcome(self, trial: ClaimedTrial) -> Outcome | None:
        if not self.file(trial).exists():
            return None
        state = json.loads(self.file(trial).read_text())
        if "status" not in state:
            return None
        if state["status"] == "pruned":
            return Outcome(TrialState.PRUNED)
        return Outcome(TrialState.COMPLETE, max(row["val/accuracy"] for row in state["rows"]))

    def record_failure(self, trial: ClaimedTrial, reason: str) -> None:
        raise AssertionError(reason)


class InProcess:
    """Executor that runs trials in this process."""

    stop_signal: int | None = None
    is_draining = False

    def __init__(self, work: Callable[[ClaimedTrial], int]):
        self.work = work

    def run(self, jobs: Iterator[ClaimedTrial]) -> Iterator[tuple[ClaimedTrial, int]]:
        for job in jobs:
            yield job, self.work(job)


def search_in(folder: Path, space: Space, total: int, sampler: str = "tpe", seed: int = 0) -> Search:
    search = Search(SearchFolder(folder), space, sampler, seed)
    objective = Analytic(search)
    with contextlib.redirect_stdout(io.StringIO()):
        run_trials(search, InProcess(objective), objective, total)
    return search


def trial_outcomes(search: Search) -> list[tuple[Any, ...]]:
    """Return everything about each trial that a kill must not change."""
    return [(t.number, t.state.name, t.params, t.value, t.intermediate_values) for t in search.trials()]


def run_in_child(work: Callable[[], Any], log: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    with log.open("a") as out:
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc(file=out)
    os._exit(code)


def check_storage(count: int, seed: int, total: int = 8) -> bool:
    rng, root = random.Random(seed), Path(tempfile.mkdtemp(prefix="search-"))
    spec = parse_search_spec(OVERRIDES)
    kills, wrong = 0, 0
    for number in range(count):
        folder, log = root / str(number), root / f"{number}.txt"
        alone = number % 2 == 0
        whole = root / f"{number}-whole"
        SearchFolder(whole).create_or_continue(spec)
        started = time.monotonic()
        reference = trial_outcomes(search_in(whole, spec.space, total, seed=number))
        duration = time.monotonic() - started

        def run_search(folder: Path = folder, seed: int = number) -> None:
            SearchFolder(folder).create_or_continue(spec)
            search_in(folder, spec.space, total, seed=seed)

        finished, patience = 0, 1
        while True:
            children = [run_in_child(run_search, log) for _ in range(1 if alone else 2)]
            time.sleep(patience * duration * 10 ** rng.uniform(-2, 0))
            for child in children:
                if os.waitpid(child, os.WNOHANG)[0] == 0:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    kills += 1
            before = finished
            if folder.joinpath("search.json").exists():
                trials = SearchFolder(folder).load_study().get_trials(deepcopy=False)
                finished = sum(trial.state.is_finished() for trial in trials)
            if finished == total:
                break
            patience = 1 if finished > before else 2 * patience  # otherwise no trial ends on a busy machine
        run_search()
        ours = trial_outcomes(Search(SearchFolder(folder), spec.space))
        problem = log.read_text() if log.exists() else ""
        if [number for number, *_ in ours] != list(range(total)) or not all(
            state in ("COMPLETE", "PRUNED") for _, state, *_ in ours
        ):
            problem += f"not {total} finished trials: {ours}"
        if alone and ours != reference:
            problem += "\n".join(f"{a}\n{b}" for a, b in zip(ours, reference, strict=False) if a != b)
        if problem:
            wrong += 1
            print(f"search {number}: {problem}", flush=True)
    print(f"{count - wrong} of {count} searches ended with exactly {total} trials after {kills} kills; with one "
          f"process, equal to an undisturbed search; {root}")  # fmt: skip
    return not wrong


def check_samplers(count: int, seed: int, total: int = 30) -> bool:
    root = Path(tempfile.mkdtemp(prefix="search-"))
    spec = parse_search_spec(OVERRIDES)
    best: dict[str, list[float]] = {"tpe": [], "random": []}
    for number in range(count):
        for sampler, values in best.items():
            folder = SearchFolder(root / f"{number}-{sampler}")
            folder.create_or_continue(spec)
            search = Search(folder, spec.space, sampler, seed + number, is_pruning=False)
            for trial in search.claim_trials(total):
                search.release_trial(trial, Outcome(TrialState.COMPLETE, accuracy(trial.values)))
            values.append(search.study.best_value)
    wins = sum(tpe > other for tpe, other in zip(best["tpe"], best["random"], strict=True))
    for sampler, values in best.items():
        spread = f"{min(values):.4f} to {max(values):.4f}"
        print(f"{sampler:6} median of the best of {total} trials {median(values):.4f}, {spread}")
    print(f"TPE is better in {wins} of {count} repetitions")
    return wins > count / 2


def count_begun_trials(root: Path) -> int:
    return sum(line.startswith("trial ") and ": " in line for line in (root / "out.txt").read_text().splitlines())


def count_finished_trials(folder: Path) -> int:
    return sum(json.loads(file.read_text())["status"] in ("finished", "pruned") for file in folder.glob("*/run.json"))


def check_training(count: int, seed: int) -> bool:
    rng, root = random.Random(seed), Path(tempfile.mkdtemp(prefix="search-"))
    script = Path(sys.executable).with_name("viewfinder")
    command = [str(script), "search", *SHORT, f"output_dir={root}", "--trials", str(count)]
    with (root / "out.txt").open("w") as out:
        subprocess.run([*command, "--name", "whole"], stdout=out, stderr=out, check=True)
        kills, finished, patience, code = 0, 0, 1, -signal.SIGKILL
        while code == -signal.SIGKILL:
            process = subprocess.Popen([*command, "--name", "killed"], stdout=out, stderr=out)
            before = count_begun_trials(root)
            while process.poll() is None and count_begun_trials(root) == before:  # do not kill it while it imports
                time.sleep(0.1)
            try:
                code = process.wait(timeout=patience * rng.uniform(0, 8))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
                kills += 1
            before, finished = finished, count_finished_trials(root / "killed")
            patience = 1 if finished > before else 2 * patience  # otherwise no trial ends on a busy machine
    spec = parse_search_spec([*SHORT, f"output_dir={root}"])
    ours, theirs = (trial_outcomes(Search(SearchFolder(root / name), spec.space)) for name in ("killed", "whole"))
    problems = [f"{a}\n{b}" for a, b in zip(ours, theirs, strict=True) if a != b]
    resumed = 0
    for number, _, _, _, reported in ours:
        facts = json.loads((root / "killed" / str(number) / "run.json").read_text())
        rows = pd.read_csv(root / "killed" / str(number) / "metrics.csv", index_col="epoch")["val/accuracy"]
        resumed += bool(facts.get("resumed"))
        if list(rows.index) != list(reported) or (rows - pd.Series(reported)).abs().max() > 1e-6:
            problems.append(f"trial {number} reported {reported}, its metrics.csv has {dict(rows)}")
    print("\n".join(problems))
    print(f"exit code {code}, {len(ours)} of {count} trials after {kills} kills, {resumed} of them resumed; "
          f"{len(problems)} differ from an undisturbed search; {root}")  # fmt: skip
    return code == 0 and len(ours) == count and not problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    checks = {"storage": check_storage, "samplers": check_samplers, "training": check_training}
    parser.add_argument("check", choices=checks)
    parser.add_argument("--count", type=int, default=20, help="number of searches, repetitions or trials (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments of the kills (default: 1)")
    args = parser.parse_args()
    compose_config([])
    raise SystemExit(not checks[args.check](args.count, args.seed))


if __name__ == "__main__":
    main()
