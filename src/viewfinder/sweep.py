"""The end of a sweep: what each of its jobs came to."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from viewfinder.run_folder import find_runs


def summarise(sweep: Path) -> int:
    """Print a row a job and each failure's reason; return the exit code, not 0 where a job did not finish.

    Args:
        sweep: the folder that holds a run folder for each job.
    """
    runs = find_runs(sweep) if sweep.is_dir() else []
    table = Table(title=f"sweep {sweep}", title_justify="left", box=None, pad_edge=False)
    for column in ("job", "settings", "status", "val acc", "test acc"):
        table.add_column(column, justify="right" if "acc" in column else "left", overflow="fold")
    failed: list[tuple[str, str]] = []
    for run in runs:
        facts = run.read_run()
        accuracies = ["", ""]
        if run.scores.is_file():
            best = run.read_scores()["best"]
            accuracies = [f"{best[split]['accuracy']:.4f}" for split in ("val", "test")]
        if facts["status"] != "finished":
            failed.append((run.path.name, facts.get("error", facts["status"])))
        table.add_row(run.path.name, " ".join(facts.get("overrides", [])), facts["status"], *accuracies)
    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print()
    console.print(table)
    if failed:
        console.print(f"\n{len(failed)} of {len(runs)} jobs failed:", style="red")
        for name, reason in failed:
            console.print(f"  job {name}: {reason}", markup=False)
    console.print(f"\nCompare them: viewfinder compare {sweep}", markup=False)
    return 2 if failed or not runs else 0
