"""State from which a run is resumed; training/loop.py restores the position within an epoch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from viewfinder.errors import join_names
from viewfinder.runs.checkpoints import CheckpointInfo
from viewfinder.runs.provenance import describe_version_changes, read_versions


class ResumeState(NamedTuple):
    """Checkpoint and facts of a resumed run; empty for a new run."""

    checkpoint: CheckpointInfo | None = None
    facts: Mapping[str, Any] = {}
    """run.json, whose threads and precision are used again"""
    messages: Sequence[str] = ()
    """lines for the terminal"""

    @property
    def finished_epochs(self) -> int:
        """Number of finished epochs."""
        return self.checkpoint.epochs if self.checkpoint else 0

    @property
    def started_epochs(self) -> int:
        """Number of epochs that are finished or in progress."""
        return self.finished_epochs + bool(self.checkpoint and self.checkpoint.loop["batches"])

    @property
    def is_stopped_early(self) -> bool:
        """True if early stopping ended the training."""
        return self.checkpoint is not None and self.checkpoint.recorder["is_stopped_early"]

    def is_trained(self, max_epochs: int | None) -> bool:
        """Return whether the training is over, so that only the scores are missing."""
        if self.checkpoint is None or max_epochs is None:
            return False
        return self.is_stopped_early or self.finished_epochs >= max_epochs


def read_resume_state(checkpoint: CheckpointInfo | None, facts: Mapping[str, Any]) -> ResumeState:
    """Return the state of a run, with messages about its checkpoints and about changed versions.

    Args:
        checkpoint: the newest valid checkpoint.
        facts: run.json.
    """
    damaged = checkpoint.damaged if checkpoint else []
    messages = [f"damaged  {problem.key}: {problem.rule}" for problem in damaged]
    if checkpoint is None:
        messages.append("resumed  from the beginning: no checkpoint yet")
    else:
        loop = checkpoint.loop
        within = f" and {loop['batches']:,} batches of the next" if loop["batches"] else ""
        messages.append(f"resumed  after epoch {loop['epoch']}{within}, from {checkpoint.path.name}")
    changes = describe_version_changes(facts.get("versions", {}), read_versions())
    if changes:
        messages.append(
            f"         other versions than before, so results may not be bit-identical: {join_names(changes)}"
        )
    return ResumeState(checkpoint, facts, messages)
