"""Fuzz of every public command under drawn arguments, environments and standard streams.

    python tests/stress/command_fuzz.py --count 2000 --seed 1

Prints each distinct fault with its command line. The exit code is 1 if there is any.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

for room in ("", "cli"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / room))
from command_fuzz_cases import Case, Workshop, draw_cases, find_fault  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of commands (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    arguments = parser.parse_args()
    codes: Counter[int] = Counter()
    faults: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))

        @seed(arguments.seed)
        @settings(max_examples=arguments.count, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(draw_cases())
        def fuzz(case: Case) -> None:
            ending = workshop.run(case)
            codes[ending.code] += 1
            if fault := find_fault(case, ending):
                last = (ending.err.strip().splitlines() or [""])[-1]
                key = f"{fault} | {case.words[:1]} | {last[:100]}"
                faults[key] = faults.get(key, 0) + 1
                if faults[key] == 1:
                    print(f"\n=== {fault}\n{case}\n{ending.out[-300:]}\n{ending.err[-3000:]}", flush=True)
            if sum(codes.values()) % 100 == 0:
                print(f"... {sum(codes.values())} commands, exit codes {dict(codes)}, {len(faults)} faults", flush=True)

        fuzz()
    print(f"{sum(codes.values())} commands, exit codes {dict(codes)}")
    for key, number in faults.items():
        print(f"{number} x {key}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
