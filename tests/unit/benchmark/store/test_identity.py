"""An identity is canonical JSON: its hash, its equality, and what differs."""

import json
import math

import pytest
from folder_cases import IDENTITY
from hypothesis import given
from hypothesis import strategies as st

from benchmark.store.identity import identity_changes, identity_hash, same_identity


def test_identity_does_not_depend_on_the_order_of_keys():
    turned = dict(reversed(IDENTITY.items()))
    assert same_identity(IDENTITY, turned)
    assert identity_hash(IDENTITY) == identity_hash(turned)


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()))
def test_identity_survives_storage(identity):
    assert same_identity(identity, json.loads(json.dumps(identity)))
    assert identity_changes(identity, json.loads(json.dumps(identity))) == []


def test_identity_changes_are_dotted_and_sorted():
    changed = {"task": "pen", "learner": {"step_size": 0.05}, "horizon": 1}
    assert identity_changes(IDENTITY, changed) == [
        "horizon absent -> 1",
        "learner.gae_lambda 0.97 -> absent",
        'task "door" -> "pen"',
        'versions.torch "2.13.0" -> absent',
    ]


def test_identity_refuses_what_has_no_canonical_json():
    with pytest.raises(ValueError, match="JSON"):
        identity_hash({"step_size": math.nan})
