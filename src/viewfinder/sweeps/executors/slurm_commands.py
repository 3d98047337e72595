"""Commands of SLURM: their output, and errors when SLURM refuses or does not answer."""

import shutil
import subprocess
from collections.abc import Sequence

from viewfinder.errors import Problem, UserError

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
TIMEOUT = 60
"""Seconds after which SLURM counts as not answering."""


def require_commands() -> None:
    """Raise UserError if a command of SLURM is not on PATH."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        remedy = "Type the command on a machine from which you can submit jobs with sbatch, or use another launcher."
        rule = f"needs SLURM, and {', '.join(missing)} cannot be found on PATH"
        raise UserError("the launcher", [Problem("hydra/launcher=submitit_slurm", rule, remedy=remedy)])


def run_command(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of SLURM and return how it ended.

    Raises:
        UserError: if it cannot be started, or SLURM does not answer in time.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise describe_silence(command[0], f"no answer within {TIMEOUT} seconds") from error
    except OSError as error:
        raise describe_silence(command[0], str(error.strerror)) from error


def describe_silence(name: str, message: str) -> UserError:
    """Return the UserError for a command that did not get an answer from SLURM.

    Args:
        name: the command.
        message: its message.
    """
    rule = f"fails: {' '.join(message.split()) or 'without a message'}"
    remedy = "Jobs that are submitted go on. Once SLURM answers, run the same command again."
    return UserError("SLURM", [Problem(name, rule, remedy=remedy)])
