"""Run folders that someone else may have prepared, and the assertions on commands that open them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Answer
from omegaconf import OmegaConf

from viewfinder.runs.folder import RunFolder

TOUCH = "open({!r}, 'w').close()"


class Payload:
    """An object whose unpickling creates a file."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, Any]]]:
        return exec, (TOUCH.format(str(self.canary)), {})


def assert_rejected(answer: Answer, *texts: str) -> None:
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err + answer.out
    assert len(answer.err.splitlines()) <= 24, answer.err
    flat = " ".join(answer.err.split())
    assert [text for text in texts if text not in flat] == [], answer.err


def update_config(run: RunFolder, changes: dict[str, Any]) -> None:
    """Set dotted keys in the run's config.yaml."""
    cfg = OmegaConf.load(run.config)
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, merge=False)
    run.config.write_text(OmegaConf.to_yaml(cfg), encoding="utf-8")


def list_files(run: RunFolder) -> list[tuple[str, int]]:
    """List all files in the folder above the run, with the times of their last change."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in run.path.parent.rglob("*") if path.is_file())
