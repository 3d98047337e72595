"""Numbers of the signals that stop a run; `training.callbacks.signals` handles them."""

import signal

STOP_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
]
"""Signals that stop a run once it is saved.

Ctrl-C, kill, a closed terminal, Ctrl-\\, and the warnings of batch systems before a time limit, such as SLURM's
(sbatch --signal=USR1@60), Grid Engine's and LSF's.
"""
