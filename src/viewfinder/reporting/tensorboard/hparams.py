"""Summaries of TensorBoard's HPARAMS tab: the settings of a run, and how it ended."""

import time
from collections.abc import Mapping
from typing import Any

from viewfinder.config.flatten import NEUTRAL_KEYS, flatten
from viewfinder.errors import printable
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

CLASS = "._target_"


def flatten_settings(config: Mapping[str, Any]) -> dict[str, str | float | int]:
    """Flatten a resolved configuration to the settings that can change a score; a class is listed under its group."""
    settings: dict[str, str | float | int] = {}
    for key, value in flatten(config).items():
        if key.endswith(CLASS):
            settings[key.removesuffix(CLASS)] = str(value).rpartition(".")[2]
        elif isinstance(value, bool):
            settings[key] = str(value).lower()  # the tab shows a bool as 1.0
        elif value is not None:
            settings[key] = value if isinstance(value, int | float) else printable(str(value))
    return {key: value for key, value in settings.items() if key != "trainer" and key not in NEUTRAL_KEYS}


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
