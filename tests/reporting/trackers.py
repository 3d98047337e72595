"""Runs with trackers: their settings, and the end of the processes that send them."""

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from viewfinder.reporting.trackers import process
from viewfinder.runs.folder import RunFolder


def wait_for_trackers() -> None:
    """Wait for the processes that still send runs of this process."""
    for running in process.left_running:
        running.wait(60)


def database(folder: Path) -> str:
    """Return an override for a database of MLflow in a folder."""
    return f"logger.mlflow.tracking_uri=sqlite:///{folder / 'mlflow.db'}"


def read_mlflow(folder: Path) -> list[dict]:
    """Return settings, tags, status, artifacts and curves of every run in a folder's database, read by MLflow."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [
        {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "tags": run.data.tags,
            "files": {file.path for file in client.list_artifacts(run.info.run_id)},
            "curves": {
                key: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            },
        }
        for run in client.search_runs(experiments)
    ]


def read_wandb(folder: Path) -> dict:
    """Return settings, rows, summary, files and exit code in the files of an offline run, which `wandb sync` sends."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found: dict = {"config": {}, "rows": [], "summary": {}, "files": set(), "exit": None}
    for data in read_leveldb_log(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            found["rows"].append(_to_dict(record.history.item))
        elif kind == "run":
            found |= {"id": record.run.run_id, "name": record.run.display_name, "group": record.run.run_group}
            found["config"] |= _to_dict(record.run.config.update)
        elif kind == "config":
            found["config"] |= _to_dict(record.config.update)
        elif kind == "summary":
            found["summary"] |= _to_dict(record.summary.update)
        elif kind == "request":
            found["files"] |= {entry.path for entry in record.request.log_artifact.artifact.manifest.contents}
        elif kind == "artifact":
            found["files"] |= {entry.path for entry in record.artifact.manifest.contents}
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def read_leveldb_log(content: bytes, header: int = 7, block: int = 2**15) -> Iterator[bytes]:
    """Yield the records of a file in LevelDB's log format, after a file header: wandb has its reader in Go alone."""
    position, parts = header, []
    while position + 7 <= len(content):
        if block - position % block < 7:  # padding
            position += block - position % block
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


def _to_dict(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@contextmanager
def hanging_server() -> Iterator[str]:
    """Accept connections and never answer; yield the address."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


def read_epochs(run: RunFolder) -> list[tuple[int, float]]:
    """Return the points of val/loss in metrics.csv."""
    return [(int(row["epoch"]), row["val/loss"]) for row in run.read_metrics().to_dict("records")]
