"""Check that a file system lets one machine at a time claim a job.

    srun --nodes 2 --ntasks-per-node 1 python tests/clusters/locks.py FOLDER --count 100

Run it on two machines at once, with an empty folder that both see. They claim the same job 100 times, each at the same
moment, and whoever gets it keeps it until the other has tried. The exit code is 1 if ever both or neither got it.
"""

import argparse
import os
import platform
import time
from pathlib import Path

from viewfinder.sweeps.executors.task import claimed

TIMEOUT = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100, help="number of claims (default: 100)")
    parser.add_argument("--machines", type=int, default=2, help="number of machines (default: 2)")
    args = parser.parse_args()
    me, won, wrong = f"{platform.node()}-{os.getpid()}", 0, 0
    started = time.monotonic()
    for number in range(args.count):
        meet(args.folder, f"{number}-start", me, args.machines)
        with claimed(args.folder / "claims", "job", patience=0) as is_mine:
            if is_mine:
                meet(args.folder, f"{number}-won", me, 1)
            meet(args.folder, f"{number}-tried", me, args.machines)
            winners = len([*args.folder.glob(f"{number}-won-*")])
        won, wrong = won + is_mine, wrong + (winners != 1)
        meet(args.folder, f"{number}-end", me, args.machines)
    seconds = time.monotonic() - started
    print(f"{me}: {won} of {args.count} claims won, {wrong} by both or neither, {seconds:.0f} s")
    raise SystemExit(wrong > 0)


def meet(folder: Path, event: str, me: str, machines: int) -> None:
    """Record an event of this machine, and wait until that of every machine is recorded."""
    (folder / f"{event}-{me}").touch()
    end = time.monotonic() + TIMEOUT
    while len([*folder.glob(f"{event}-*")]) < machines:
        assert time.monotonic() < end, f"no other machine at {event} within {TIMEOUT} s"
        time.sleep(0.001)


if __name__ == "__main__":
    main()
