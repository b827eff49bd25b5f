"""Where the time of a run went, in words."""

from benchmark.store.metrics import spending


def test_where_the_time_went_is_said_largest_first():
    row = {"seconds": {"draw": 2.0, "encode": 7.5, "act": 0.05, "update": 0.45}, "steps_per_second": 41.26}
    assert spending(row) == "41.3 frames/s, encode 75 %, draw 20 %, update 4 %"
    assert spending({"seconds": {"clone": 1.0}, "steps_per_second": None}) == "clone 100 %"
