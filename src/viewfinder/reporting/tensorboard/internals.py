"""Undocumented parts of torch and TensorBoard; test_tensorboard_internals.py names the versions they work with."""

from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader as RawEventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams.metadata import PLUGIN_NAME as HPARAMS_PLUGIN  # noqa: F401
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG as SESSION_END_INFO_TAG
from tensorboard.plugins.projector import projector_config_pb2
from tensorboard.summary.writer.record_writer import RecordWriter as RecordWriter
from torch.utils.tensorboard._pytorch_graph import graph as convert_graph  # noqa: F401
from torch.utils.tensorboard.summary import hparams as summarise_hparams  # noqa: F401

# Messages that protobuf creates at run time, unknown to type checkers.
Event: Any = event_pb2.Event  # type: ignore[attr-defined]
Summary: Any = summary_pb2.Summary  # type: ignore[attr-defined]
SummaryMetadata: Any = summary_pb2.SummaryMetadata  # type: ignore[attr-defined]
Status: Any = api_pb2.Status  # type: ignore[attr-defined]
HParamsPluginData: Any = plugin_data_pb2.HParamsPluginData  # type: ignore[attr-defined]
SessionEndInfo: Any = plugin_data_pb2.SessionEndInfo  # type: ignore[attr-defined]
ProjectorConfig: Any = projector_config_pb2.ProjectorConfig  # type: ignore[attr-defined]
