"""TensorBoard's events of a run that is continued: each point once, none missing."""

import io
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
from tensorboard.summary.writer.record_writer import RecordWriter

from viewfinder.run_folder import replacing

PATTERN = "events.out.tfevents.*"


def rewind(folder: Path, epoch: int, finals: frozenset[str]) -> bool:
    """Leave one events file in a folder, with what was written up to the end of an epoch; whether there is one.

    A last record that was cut off is left out, as is the word that the session has ended.

    Args:
        epoch: from 1; 0 leaves nothing.
        finals: tags that are written when training is over.
    """
    files = sorted(folder.glob(PATTERN))
    if not files:
        return False
    if epoch > 0:
        content = io.BytesIO()
        writer = RecordWriter(content)
        for number, file in enumerate(files):
            for record in RawEventFileLoader(str(file)).Load():
                event = Event.FromString(record)
                tags = {value.tag for value in event.summary.value}
                is_head = event.HasField("file_version")
                if event.step <= epoch and not tags & {*finals, SESSION_END_INFO_TAG} and not (is_head and number):
                    writer.write(record)
        with replacing(files[0]) as beside:
            beside.write_bytes(content.getvalue())
        files = files[1:]
    for file in files:
        file.unlink()
    return epoch > 0
