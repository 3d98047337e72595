"""The end of a sweep: what each of its jobs came to."""

from pathlib import Path

from rich.table import Table

from viewfinder.report.tables import console
from viewfinder.run_folder import find_runs


def summarise(sweep: Path) -> int:
    """Print a row a job and each failure's reason; return the exit code, not 0 where a job did not finish.

    Args:
        sweep: the folder that holds a run folder for each job.
    """
    runs = find_runs(sweep) if sweep.is_dir() else []
    typed = {run.path: run.read_run().get("overrides", []) for run in runs}
    shared = [each for each in next(iter(typed.values()), []) if all(each in others for others in typed.values())]
    table = Table(box=None, pad_edge=False)
    for column in ("job", "settings", "status", "val", "test"):
        table.add_column(column, justify="right" if column in ("val", "test") else "left", overflow="fold")
    failed: list[tuple[str, str]] = []
    for run in runs:
        facts = run.read_run()
        accuracies = ["", ""]
        if run.scores.is_file():
            best = run.read_scores()["best"]
            accuracies = [f"{best[split]['accuracy']:.4f}" for split in ("val", "test")]
        if facts["status"] != "finished":
            failed.append((run.path.name, facts.get("error", run.status)))
        settings = " ".join(each for each in typed[run.path] if each not in shared)
        table.add_row(run.path.name, settings, run.status, *accuracies)
    terminal = console()
    terminal.print(f"\nsweep {sweep}, {' '.join(shared)}".rstrip(", "), soft_wrap=True)
    terminal.print("accuracy on val and test with the best weights\n", style="dim")
    terminal.print(table)
    if failed:
        terminal.print(f"\n{len(failed)} of {len(runs)} jobs did not finish:", style="red")
        for name, reason in failed:
            terminal.print(f"  job {name}: {reason}")
    terminal.print(f"\nCompare them: viewfinder compare {sweep}", soft_wrap=True)
    return 2 if failed or not runs else 0
