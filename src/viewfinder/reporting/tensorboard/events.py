"""TensorBoard's events of a run that is continued: each point once, none missing."""

import io
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
from tensorboard.summary.writer.record_writer import RecordWriter

from viewfinder.runs.atomic import replacing

NAME = "events.out.tfevents."


def rewind(folder: Path, epoch: int, finals: frozenset[str]) -> bool:
    """Leave of a folder's events what was written up to the end of an epoch; whether there was anything.

    A last record that was cut off is left out, as is the word that the session has ended.

    Args:
        epoch: from 1; 0 leaves nothing.
        finals: tags that are written when training is over.
    """
    files = sorted(folder.glob(f"{NAME}*"))
    for number, file in enumerate(files):
        if epoch == 0:
            file.unlink()
            continue
        # TensorBoard reads the files of a run by name, which begins with a time: another machine's clock may be behind.
        first = file.with_name(f"{NAME}{number:010}.{file.name.removeprefix(NAME).partition('.')[2]}")
        file.rename(first)
        _keep(first, epoch, finals | {SESSION_END_INFO_TAG})
    return bool(files) and epoch > 0


def _keep(file: Path, epoch: int, dropped: frozenset[str]) -> None:
    """Leave the records up to an epoch, and none with certain tags."""
    content = io.BytesIO()
    writer = RecordWriter(content)
    for record in RawEventFileLoader(str(file)).Load():
        event = Event.FromString(record)
        if event.step <= epoch and not any(value.tag in dropped for value in event.summary.value):
            writer.write(record)
    with replacing(file) as beside:
        beside.write_bytes(content.getvalue())
