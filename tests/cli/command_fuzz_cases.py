"""Drawn command lines, environments and standard streams of the `viewfinder` command, each run in a forked process.

A process inherits the imports of this one, so that a command takes tenths of a second, but has real streams.
"""

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from conftest import QUICK, train_into, write_images
from hypothesis import strategies as st

from viewfinder.cli.main import app
from viewfinder.data.sources.digits import read_digits

PRELOADED = (
    "concurrent.futures.process", "encodings.idna", "sklearn.datasets", "optuna", "viewfinder.sweeps.search.trial",
    "viewfinder.sweeps.search.summary", "viewfinder.reporting.charts.search", "viewfinder.sweeps.run",
    "viewfinder.experiment.lr_range", "viewfinder.experiment.resume", "viewfinder.experiment.load",
    "viewfinder.experiment.audit", "viewfinder.evaluation.comparison", "viewfinder.reporting.pages.sweep",
    "multiprocessing.forkserver",
)  # fmt: skip
"""Modules that an unknown user may not be allowed to import from this installation."""
SECONDS = 120
"""Time after which a command counts as standing still."""
SIGNS_OF_A_FAULT = (
    "Traceback (most recent call last)", "--- Logging error", "Exception ignored", "HYDRA_FULL_ERROR", "RuntimeWarning",
)  # fmt: skip
OUTPUTS = ("file", "file", "file", "file", "closed", "reader gone", "full")
ENCODINGS = ("utf-8", "utf-8", "ascii", "latin-1")
PATHS = (
    "run", "run/", "other", "run/best.ckpt", "run/report.html", "photos", "photos/cat/0.png", "missing", "",
    ".", "/dev/null", "x" * 300, "a\nb", "läufe", "-", "~", "~nobody/x", "\udcff", "cut", "empty", "no_yaml",
    "no_json", "latest", "a b", "loop", "secret", "photos #1",
)  # fmt: skip
KEYS = (
    "seed", "name", "output_dir", "run_dir", "allow", "data.root", "data.batch_size", "data.classes",
    "data.limit", "data.val_fraction", "data.split_seed", "model.widths", "model.weights", "optimizer.lr",
    "optimizer.betas", "optimizer.fused", "trainer.max_epochs", "trainer.devices", "trainer.precision",
    "trainer.threads", "trainer.limit_batches", "trainer.checkpoint_every", "trainer.accelerator",
    "loss.label_smoothing", "loss.class_weights", "loss._target_", "model._target_", "optimizer", "scheduler",
    "augment", "data", "model", "phases", "experiment", "trainer", "sweep.name", "hydra.run.dir",
    "hydra.verbose", "hydra.searchpath", "nonsense", "optimizer.lrr", "",
)  # fmt: skip
VALUES = (
    "0", "1", "2", "-1", "1.5", "1e-3", "1e999", "nan", "null", "true", "", "[]", "[1,2]", "{a: 1}", "a,b",
    "1,2", "[1", "'", "x y", "grün", "~/x", "~nobody/x", "${x}", "${oc.env:HOME}", "\\${x}", "#", "a #b",
    "2024", "9" * 30, "9" * 5000, "\n", "\udcff", "../..", "/dev/null", "none", "adam", "sgd", "cosine",
    "basic", "mlp", "simple_cnn", "quickstart", "latin", "bom", "tabs", "lbfgs", "own", "torch.nn.Linear",
    "os.system", "missing.Class", "range(1,3)", "interval(0,1)", "glob(*)", "photos", "run", "photos #1",
)  # fmt: skip
VARIABLES: dict[str, tuple[str | None, ...]] = {
    "HOME": (None, "", "/nonexistent", "/dev/null"),
    "XDG_CACHE_HOME": (None, "", "/dev/null", "cache", "/proc/x"),
    "TMPDIR": ("/nonexistent", "."),
    "COLUMNS": ("0", "1", "20", "wide", ""),
    "TERM": ("dumb", "", "unknown"),
    "FORCE_COLOR": ("1",),
    "NO_COLOR": ("1",),
    "HYDRA_FULL_ERROR": ("0",),
    "OMP_NUM_THREADS": ("0", "many"),
    "RANK": ("1",),
    "WORLD_SIZE": ("4",),
    "SLURM_NTASKS": ("4",),
    "LOCAL_RANK": ("3",),
    "PYTHONWARNINGS": ("default",),
    "TZ": ("Nowhere/Town",),
}
SMALL = ["data=digits", "data.limit=40", "model=mlp", "model.widths=[4]", *QUICK, "trainer.max_epochs=1"]


PREFIX = Path(sys.prefix).resolve()
IS_READABLE = all(path.stat().st_mode & 0o005 == 0o005 for path in (PREFIX, *PREFIX.parents))
"""Whether an unknown user may read this installation, such as a virtual environment in a temporary folder."""


class Case(NamedTuple):
    """A command line with its surroundings."""

    words: list[str]
    variables: dict[str, str | None]
    output: str = "file"
    errors: str = "file"
    has_input: bool = True
    encoding: str = "utf-8"
    is_unknown_user: bool = False


class Ending(NamedTuple):
    code: int
    out: str
    err: str
    seconds: float


def draw_cases() -> st.SearchStrategy[Case]:
    path = st.one_of(st.sampled_from(PATHS[:2]), st.sampled_from(PATHS))
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
    value = st.one_of(st.sampled_from(VALUES), st.sampled_from(VALUES), text, st.integers(-3, 10).map(str))
    key = st.sampled_from(KEYS).flatmap(
        lambda key: st.sampled_from(["", "", "", "", "+", "++", "~"]).map(lambda s: s + key)
    )
    override = st.one_of(st.tuples(key, value).map("=".join), text)
    overrides = st.lists(override, max_size=2)
    number = st.sampled_from(["0", "1", "2", "3", "-1", "x", "1e9", "40", "0.5"])
    shared = st.sampled_from([("--help",), ("--bogus",), ("--",), ("--csv",)])

    def options(**values: st.SearchStrategy[str] | None) -> st.SearchStrategy[list[str]]:
        """Draw at most two options, each with a value unless the value is None."""
        choices = [
            st.just((f"--{name.rstrip('_').replace('_', '-')}",))
            if strategy is None
            else strategy.map(lambda drawn, name=name: (f"--{name.rstrip('_').replace('_', '-')}", drawn))
            for name, strategy in values.items()
        ]
        return st.lists(st.one_of(*choices, *choices, *choices, shared), max_size=2).map(lambda many: [*sum(many, ())])

    files = st.one_of(
        path, st.sampled_from(["new.csv", "/dev/stdout", "/dev/full", "pipe", "missing/x", "locked/x", "~/x"])
    )
    split = st.sampled_from(["train", "val", "test", "none", ""])
    weights = st.sampled_from(["best", "last", "none"])
    small = st.sampled_from([SMALL, SMALL, SMALL, SMALL[2:], []])
    hydra = options(cfg=st.sampled_from(["job", "hydra", "all", "x"]), info=st.just("x"), resolve=None, hydra_help=None,
        config_dir=path, config_path=path, config_name=path, package=st.just("data"), multirun=None)  # fmt: skip
    dry = st.just(["sweep.dry_run=true"])
    by_command: dict[str, tuple[Any, ...]] = {
        "train": (small, overrides, hydra),
        "evaluate": (
            path.map(lambda p: [p]),
            overrides,
            options(split=split, weights=weights, json=files, csv=files, calibrate=None),
        ),
        "predict": (st.lists(path, max_size=3), options(top=number, csv=files), st.just(["photos"])),
        "resume": (path.map(lambda p: [p]), overrides),
        "report": (st.lists(path, max_size=2), options()),
        "compare": (st.lists(path, max_size=3), options(markdown=None, csv=files, page=files)),
        "lr-range": (small, overrides, options(steps=number, from_=number, to=number)),
        "audit": (
            st.one_of(small, path.map(lambda p: [p])),
            overrides,
            options(min_correlation=number, weights=weights),
        ),
        "inspect": (
            st.one_of(small, path.map(lambda p: [p])),
            overrides,
            options(image=path, mistakes=number, max_images=number, classes=number, weights=weights),
        ),
        "explain convolution": (st.lists(path, max_size=1), options(output=files, kernel=st.just("blur"))),
        "robustness": (
            st.lists(path, max_size=2),
            overrides,
            options(only=st.sampled_from(["blur", "jpeg", "x"]), weights=weights, seed=number, output=path),
        ),
        "search": (small, overrides, options(trials=number, name=path, sampler=number, no_prune=None)),
        "train -m": (st.just(SMALL), overrides, dry),
        "": (st.lists(text, max_size=2), options()),
    }

    @st.composite
    def compose(draw: Callable[..., Any]) -> Case:
        common = ["train", "evaluate", "predict", "resume", "report", "compare", "lr-range", "audit", "inspect"]
        common.append("robustness")
        command = draw(st.sampled_from([*3 * common, "explain convolution", "search", "train -m", ""]))
        words = [*command.split(), *(word for part in by_command[command] for word in draw(part))]
        names = draw(st.lists(st.sampled_from(sorted(VARIABLES)), max_size=2))
        variables = {name: draw(st.sampled_from(VARIABLES[name])) for name in names}
        streams = [draw(st.sampled_from(OUTPUTS)) for _ in range(2)]
        # An unknown user may not be able to start another Python.
        unknown = command not in ("search", "train -m") and draw(st.integers(0, 7)) == 0
        return Case(words, variables, *streams, draw(st.booleans()), draw(st.sampled_from(ENCODINGS)), unknown)

    return compose()


class Workshop:
    """Folder in which commands run: finished and damaged runs, images, a user's own conf/ and forbidden places."""

    def __init__(self, folder: Path):
        self.folder = folder
        for module in PRELOADED:
            importlib.import_module(module)
        read_digits()
        os.chdir(folder)
        write_images(folder / "photos", "cat", "dog")
        shutil.copytree("photos", "photos #1")
        words = ["data=image_folder", "data.root=photos", *SMALL[2:], "model.widths=[4]"]
        for name, seed in (("run", 1), ("other", 2)):
            with contextlib.redirect_stdout(None):
                train_into(Path(name), *words, f"seed={seed}")
        for name in ("cut", "no_yaml", "no_json"):
            shutil.copytree("run", name)
        Path("cut/best.ckpt").write_bytes(Path("run/best.ckpt").read_bytes()[:100])
        Path("no_yaml/config.yaml").write_text("a: [\n")
        Path("no_json/run.json").write_text(json.dumps([1]))
        for name in ("empty", "locked", "conf/experiment", "conf/optimizer"):
            Path(name).mkdir(parents=True)
        Path("secret").write_text("x")
        Path("loop").symlink_to("loop")
        head = "# @package _global_\n"
        Path("conf/experiment/latin.yaml").write_bytes(f"{head}name: grün\n".encode("latin-1"))
        Path("conf/experiment/bom.yaml").write_text(f"{head}seed: 7\n", encoding="utf-8-sig")
        Path("conf/experiment/tabs.yaml").write_text(f"{head}optimizer:\n\tlr: 1\n")
        Path("conf/optimizer/lbfgs.yaml").write_text("_target_: torch.optim.LBFGS\n")
        Path("conf/optimizer/own.yaml").write_text("_target_: own.Optimizer\n")
        folder.chmod(0o777)
        for name in ("secret", "locked"):
            Path(name).chmod(0)

    def run(self, case: Case) -> Ending:
        """Run a command in a copy of this folder."""
        with tempfile.TemporaryDirectory() as copy:
            place = Path(copy) / "place"
            shutil.copytree(self.folder, place, symlinks=True, ignore=shutil.ignore_patterns("secret", "locked"))
            for path in (Path(copy), *place.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o777)
            (place / "locked").mkdir(0)
            (place / "secret").touch(0)
            out, err = Path(copy) / "out", Path(copy) / "err"
            started = time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a fork with threads, of which commands use none
                process = os.fork()
            if not process:
                _become_command(case, place, out, err)
            code = _wait(process)
            texts = [path.read_bytes().decode("utf-8", "replace") if path.exists() else "" for path in (out, err)]
            return Ending(code, *texts, time.monotonic() - started)


def find_fault(case: Case, ending: Ending) -> str:
    """Return what is wrong with the ending of a command, or ''."""
    text = ending.out + ending.err
    for sign in SIGNS_OF_A_FAULT:
        if sign in text:
            return sign
    if ending.code not in (0, 2):
        return f"exit code {ending.code}"
    if ending.code and case.errors == "file" and not ending.err.strip():
        silent = case.words[:1] == ["lr-range"] or (case.words[:1] == ["report"] and "left out" in ending.out)
        return "" if silent or case.output != "file" else "no message"
    if not ending.code and case.output == "file" and not ending.out.strip():
        return "exit code 0 without a result"
    return ""


def _wait(process: int) -> int:
    """Return the exit code of a process; it is killed if it stands still."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        finished, status = os.waitpid(process, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGKILL


def _become_command(case: Case, place: Path, out: Path, err: Path) -> None:
    """Run a command in this process, which ends here."""
    code: Any = 99
    try:
        os.setsid()
        os.chdir(place)
        _set_environment(case)
        _open_streams(case, out, err)
        if case.is_unknown_user and os.getuid() == 0 and IS_READABLE:
            os.setgid(54321)
            os.setuid(54321)
            os.environ.pop("HOME", None)
        sys.argv = ["viewfinder", *case.words]
        sys.orig_argv = [sys.executable, *sys.argv]
        try:
            app()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def _set_environment(case: Case) -> None:
    os.environ["XDG_CACHE_HOME"] = "cache"
    for name, value in case.variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _open_streams(case: Case, out: Path, err: Path) -> None:
    """Connect the streams of this process as a shell would, and make Python's objects for them as at its start."""
    if case.has_input:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    else:
        os.close(0)
        sys.stdin = sys.__stdin__ = None  # type: ignore[assignment]
    for number, kind, path, name in ((1, case.output, out, "stdout"), (2, case.errors, err, "stderr")):
        if kind == "closed":
            os.close(number)
            stream = None
        else:
            if kind == "reader gone":
                reader, writer = os.pipe()
                os.close(reader)
            else:
                target = "/dev/full" if kind == "full" else path
                writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.dup2(writer, number)
            errors = "strict" if number == 1 else "backslashreplace"
            stream = open(number, "w", encoding=case.encoding, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
