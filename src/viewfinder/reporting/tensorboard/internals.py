"""Undocumented parts of torch and TensorBoard; tests/reporting/test_internals.py names the versions they work with."""

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata  # type: ignore[attr-defined]
from tensorboard.plugins.hparams.api_pb2 import Status  # type: ignore[attr-defined]
from tensorboard.plugins.hparams.metadata import PLUGIN_NAME as HPARAMS_PLUGIN
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo  # type: ignore[attr-defined]
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig  # type: ignore[attr-defined]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard._pytorch_graph import graph as convert_graph
from torch.utils.tensorboard.summary import hparams as summarise_hparams

__all__ = [
    "HPARAMS_PLUGIN",
    "SESSION_END_INFO_TAG",
    "Event",
    "HParamsPluginData",
    "ProjectorConfig",
    "RawEventFileLoader",
    "RecordWriter",
    "SessionEndInfo",
    "Status",
    "Summary",
    "SummaryMetadata",
    "convert_graph",
    "summarise_hparams",
]
