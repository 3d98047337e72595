"""`viewfinder verify`: run a recorded experiment again and compare it with its record."""

from typing import Annotated

import typer

from viewfinder.training.runtime import fast_imports

CODES = {"agrees": 0, "disagrees": 1, "cannot tell": 3}
"""Exit code of each verdict; an error exits with 2."""


def verify(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name of a file in conf/experiment/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="As for train, for example data.root=PATH."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Train only the first N epochs, and compare validation accuracies."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="SEED", min=0, help="Seed of the run. By default the first of the record.")
    ] = None,
) -> None:
    """Run the command in the header of an experiment again, and compare its accuracies with the recorded ones.

    Exits with 0 if they agree within the spread over the recorded seeds, with 1 if they disagree, and with 3 if nothing
    can be compared, for example because the record has no spread.
    """

    from viewfinder.cli.own_files import use_own_files
    from viewfinder.config.overrides import parse_overrides
    from viewfinder.config.record import read_record

    record, typed = read_record(experiment), overrides or []
    gap, compared = record.find_gap(epochs), []
    for setting in [] if gap else record.settings():
        parse_overrides(record.build_overrides(setting, typed, record.seeds[0]))  # before torch is imported
    use_own_files()
    with fast_imports():
        from viewfinder.evaluation.agreement import judge
        from viewfinder.experiment.verify import find_changes, plan_runs, verify_runs
    from viewfinder.reporting.tables import open_console, print_wrapped
    from viewfinder.reporting.verify import print_record, print_verdict, print_verified

    plans = [] if gap else plan_runs(record, typed, seed, epochs)
    console = open_console()
    print_record(console, experiment, record, find_changes(record, typed))
    if gap:
        print_wrapped(console, gap, indent="")
    for each in verify_runs(record, plans, epochs):
        facts = (str(each.run.path), each.seconds, each.precision)
        print_verified(console, each.overrides, facts, each.compared, each.note)
        compared += each.compared
    verdict = judge(compared)
    print_verdict(console, experiment, verdict, any(each.interval for each in compared))
    if code := CODES[verdict]:
        raise typer.Exit(code)
