"""What is written for the Hugging Face Hub: read back by the Hub's own client."""

import huggingface_hub
import pytest
import yaml

from reports.data import hub, load


@pytest.fixture
def runs(small_suite):
    return load.load_runs(small_suite)


def test_the_hubs_client_reads_the_success_rates(runs, synthetic):
    text = hub.eval_results(runs, "hindex (builtin)", "owner/name")
    entries = huggingface_hub.parse_eval_result_entries(yaml.safe_load(text))
    assert [entry.task_id for entry in entries] == ["door-success", "pen-success", "pour-success"]
    own = runs[(runs["row"] == "hindex (builtin)") & (runs["task"] == "door")]
    assert entries[0].value == pytest.approx(100 * own["success_last"].mean(), abs=0.005)
    assert {entry.dataset_id for entry in entries} == {"owner/name"}
    assert f"suite {synthetic.SUITE}; hindex (builtin); last policy; seeds 0, 1, 2; 10 episodes" in entries[0].notes


def test_the_card_has_the_hubs_header_and_a_row_per_encoder(runs, synthetic):
    text = hub.dataset_card(runs, ["small.pack.zip"])
    header = huggingface_hub.DatasetCard(text).data.to_dict()
    assert header["task_categories"] == ["robotics"]
    assert "24 finished runs in `small.pack.zip`" in text
    assert "**Synthetic" in text
    assert f"## {synthetic.SUITE}" in text
    assert text.count("\n| ") == 1 + runs["row"].nunique()
