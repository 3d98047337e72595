"""Undocumented parts of torch and TensorBoard behave as reporting expects.

Seen with torch 2.6 to 2.14 and TensorBoard 2.18 to 2.21. If a test fails after an upgrade, adapt
viewfinder/reporting/tensorboard/internals.py, the one module that imports them.
"""

import io
import warnings
from pathlib import Path

import torch
from torch import nn

from viewfinder.reporting.tensorboard import internals


def test_convert_graph_returns_a_graph_and_its_run_metadata_for_add_graph() -> None:
    network, images = nn.Linear(3, 2).eval(), torch.zeros(1, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer is deprecated, but TensorBoard supports no other
        graph, metadata = internals.convert_graph(torch.jit.trace(network, images, check_trace=False), images)
    assert any("Linear" in node.name for node in graph.node)
    assert type(metadata).__name__ == "RunMetadata"


def test_records_read_back_byte_for_byte_and_a_cut_off_one_is_dropped(tmp_path: Path) -> None:
    content = io.BytesIO()
    writer = internals.RecordWriter(content)
    records = [internals.Event(step=step, wall_time=0.5).SerializeToString() for step in (1, 2)]
    for record in records:
        writer.write(record)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.write_bytes(content.getvalue())
    cut.write_bytes(content.getvalue()[:-1])
    assert list(internals.RawEventFileLoader(str(whole)).Load()) == records
    assert list(internals.RawEventFileLoader(str(cut)).Load()) == records[:1]
    assert [internals.Event.FromString(record).step for record in records] == [1, 2]


def test_hparams_summaries_carry_the_plugins_name_and_tags() -> None:
    experiment, start, end = internals.summarise_hparams({"lr": 0.1}, {})
    tags = [summary.value[0].tag for summary in (experiment, start, end)]
    assert tags == ["_hparams_/experiment", "_hparams_/session_start_info", internals.SESSION_END_INFO_TAG]
    assert {summary.value[0].metadata.plugin_data.plugin_name for summary in (experiment, start, end)} == {
        internals.HPARAMS_PLUGIN
    }
    data = internals.HParamsPluginData.FromString(start.value[0].metadata.plugin_data.content)
    assert data.session_start_info.hparams["lr"].number_value == 0.1
    assert internals.Status.STATUS_SUCCESS != internals.Status.STATUS_FAILURE


def test_a_projector_config_has_the_fields_that_are_written() -> None:
    config = internals.ProjectorConfig()
    config.embeddings.add(
        tensor_name="name", tensor_path="a", metadata_path="b", sprite={"image_path": "c", "single_image_dim": [4, 4]}
    )
    assert list(config.embeddings[0].sprite.single_image_dim) == [4, 4]
