"""All measurements that need a GPU, in one command of at most eight minutes on one GPU.

    python bench/gpu.py [PICTURES] [--out FOLDER]            FOLDER/gpu.json and a table
    python bench/gpu.py --device cpu --small                 the same on a CPU with small numbers
    python bench/gpu.py --parts record --experiment record   one part

PICTURES contains train/<class>/ and test/<class>/, such as CIFAR-10; without it, 60,000 synthetic images are made. Each
part has its own process and its own limit of time, and the others do not depend on it. An interrupted or failed part is
named in the table with the end of its output.

    tests        the tests that need a GPU
    experiments  whole commands of simple_cnn, custom_cnn, and resnet50 at 224 with random weights: one with cached
                 features, one without
    record       an experiment's seconds beside those of the same recipe written by hand (bench/by_hand.py)
    speed        the table of bench/speed.py
    resume       a deterministic run that is killed and resumed, compared bit for bit with one that is not
    sweep        two jobs of a sweep at once on one GPU, beside a single job
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gpu_parts

LIMITS = {"tests": 70, "experiments": 160, "record": 70, "speed": 80, "resume": 45, "sweep": 50}
"""Seconds of each part."""
TOTAL = 480
PATIENCE = 8
"""Factor of all limits with --small, for a CPU that does other work."""
TAIL = 15
"""Lines of a failed part's output in the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="few images and small networks")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--experiment", default=gpu_parts.RECORD, help="experiment of the part `record`")
    parser.add_argument("--out", type=Path, default=Path("outputs") / "gpu")
    parser.add_argument("--one", choices=LIMITS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        part = gpu_parts.Setup(args.pictures, args.out, args.device, args.small, args.experiment)
        result = getattr(gpu_parts, f"measure_{args.one}")(part)
        (args.out / "result.json").write_text(json.dumps(result))
        return
    started, out = time.monotonic(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="viewfinder-gpu-") as work:
        pictures = args.pictures.resolve() if args.pictures else None
        if pictures is None:
            count = gpu_parts.FEW_IMAGES if args.small else gpu_parts.IMAGES
            pictures = gpu_parts.write_images(Path(work) / "images", count)
        results: dict[str, Any] = {}
        report: dict[str, Any] = {}
        for name in args.parts:
            factor = PATIENCE if args.small else 1
            limit = min(factor * LIMITS[name], factor * TOTAL - (time.monotonic() - started))
            results[name] = run_part(name, pictures, Path(work) / name, limit, args)
            print(f"{name}: {results[name]['status']}, {results[name]['seconds']:.0f} s", file=sys.stderr, flush=True)
            report = {"machine": describe_machine(), "seconds": time.monotonic() - started, "parts": results}
            (out / "gpu.json").write_text(json.dumps(report, indent=2) + "\n")
    print_table(report)
    print(f"\n{out / 'gpu.json'}")
    if any(result["status"] != "done" for result in results.values()):
        raise SystemExit(1)


def run_part(name: str, pictures: Path, work: Path, limit: float, args: argparse.Namespace) -> dict[str, Any]:
    """Run a part in its own process group and return its result, or why there is none."""
    work.mkdir()
    if limit < 5:
        return {"status": "left out: no time", "seconds": 0.0}
    command = [sys.executable, __file__, str(pictures), "--one", name, "--out", str(work), "--device", args.device]
    command += ["--experiment", args.experiment, *["--small"] * args.small]
    environment = {**os.environ, "XDG_CACHE_HOME": str(work / "cache"), "PYTHONPATH": gpu_parts.python_path()}
    started, log = time.monotonic(), work / "output.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=gpu_parts.BENCH, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also what the part may have left
            process.wait()
    seconds = time.monotonic() - started
    file = work / "result.json"
    if code == 0 and file.is_file():
        return {"status": "done", "seconds": seconds, "result": json.loads(file.read_text())}
    status = f"stopped after {limit:.0f} s" if code is None else f"failed with exit code {code}"
    return {"status": status, "seconds": seconds, "output": log.read_text(errors="replace").splitlines()[-TAIL:]}


def describe_machine() -> dict[str, Any]:
    """Return the GPUs, cores and versions of this machine."""
    gpus: list[str] = []
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpus = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return {
        "gpus": gpus, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
    }  # fmt: skip


def print_table(report: dict[str, Any]) -> None:
    """Print the rows of every part as Markdown, then the output of those that failed."""
    machine = report["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    print(f"{gpus}, {machine['cores']} cores, torch {machine['torch']}, {report['seconds']:.0f} s\n")
    print("| part | measured | value |\n|---|---|---|")
    for name, part in report["parts"].items():
        rows = part.get("result", {}).get("rows", [[part["status"], f"{part['seconds']:.0f} s"]])
        for label, value in rows:
            print(f"| {name} | {label} | {value} |")
    for name, part in report["parts"].items():
        if part.get("output"):
            print(f"\n{name}: {part['status']}\n  " + "\n  ".join(part["output"]))


if __name__ == "__main__":
    main()
