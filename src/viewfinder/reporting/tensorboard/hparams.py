"""Summaries of TensorBoard's HPARAMS tab: the settings of a run, and how it ended."""

import time
from collections.abc import Mapping
from typing import Any

from viewfinder.config.flatten import flatten_settings
from viewfinder.reporting.tensorboard.internals import (
    HPARAMS_PLUGIN,
    SESSION_END_INFO_TAG,
    HParamsPluginData,
    SessionEndInfo,
    Status,
    Summary,
    SummaryMetadata,
    summarise_hparams,
)


def summarise_session_start(config: Mapping[str, Any]) -> Any:
    """Return the summary of a run's settings.

    The experiment's summary is left out: TensorBoard would apply the first run's summary to all runs. Without it,
    TensorBoard collects the columns from every run and puts those that differ first.
    """
    _, start, _ = summarise_hparams(flatten_settings(config), {})
    return start


def summarise_session_end(is_success: bool) -> Any:
    """Return the summary that marks a run as ended, with success or failure."""
    status = Status.STATUS_SUCCESS if is_success else Status.STATUS_FAILURE
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
    plugin = SummaryMetadata.PluginData(plugin_name=HPARAMS_PLUGIN, content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag=SESSION_END_INFO_TAG, metadata=SummaryMetadata(plugin_data=plugin))])
