"""Truncate TensorBoard events on resume."""

import io
from pathlib import Path

from viewfinder.reporting.tensorboard.internals import SESSION_END_INFO_TAG, Event, RawEventFileLoader, RecordWriter
from viewfinder.runs.atomic import replace_file

PREFIX = "events.out.tfevents."


def truncate_events(folder: Path, epoch: int, final_tags: frozenset[str]) -> bool:
    """Remove the events written after an epoch; return whether any events remain.

    An incomplete last record and the end of the session are removed too.

    Args:
        folder: folder of the events files.
        epoch: last epoch to keep, from 1; 0 removes everything.
        final_tags: tags that are written after training.
    """
    files = sorted(folder.glob(f"{PREFIX}*"))
    for number, file in enumerate(files):
        if epoch == 0:
            file.unlink()
            continue
        # TensorBoard reads the files of a run in order of their names, which start with a time: the clock of another
        # machine may be behind.
        renamed = file.with_name(f"{PREFIX}{number:010}.{file.name.removeprefix(PREFIX).partition('.')[2]}")
        file.rename(renamed)
        _truncate_file(renamed, epoch, final_tags | {SESSION_END_INFO_TAG})
    return bool(files) and epoch > 0


def _truncate_file(file: Path, epoch: int, dropped_tags: frozenset[str]) -> None:
    content = io.BytesIO()
    writer = RecordWriter(content)
    for record in RawEventFileLoader(str(file)).Load():
        event = Event.FromString(record)
        if event.step <= epoch and not any(value.tag in dropped_tags for value in event.summary.value):
            writer.write(record)
    with replace_file(file) as temporary:
        temporary.write_bytes(content.getvalue())
