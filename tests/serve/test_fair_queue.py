"""Deficit round robin: laws of the queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse.serve.work.fair_queue import FairQueue, QueueFullError


def filled(lines: dict[str, list[float]], limit: int = 1000) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue(limit=limit, quantum=10)
    for caller, costs in lines.items():
        queue.add(caller, [(f"{caller}{number}", cost) for number, cost in enumerate(costs)])
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    taken = []
    while (item := queue.take()) is not None:
        taken.append(item)
    return taken


def test_who_asks_for_much_does_not_keep_others_waiting():
    order = drained(filled({"a": [10] * 50, "b": [10]}))
    assert order.index("b0") <= 1


def test_work_counts_and_not_the_number_of_requests():
    order = drained(filled({"large": [40] * 3, "small": [10] * 12}))
    assert order[:5].count("large0") + order[:5].count("large1") <= 1


costs = st.lists(st.floats(0.5, 100), min_size=1, max_size=8)


@given(st.dictionaries(st.sampled_from("abcd"), costs, min_size=1))
def test_everything_is_taken_once_and_each_line_in_its_order(lines):
    queue = filled(lines)
    foretold = queue.order()
    order = drained(queue)
    assert order == foretold
    assert sorted(order) == sorted(f"{c}{n}" for c, line in lines.items() for n in range(len(line)))
    for caller, line in lines.items():
        assert [item for item in order if item[0] == caller] == [f"{caller}{n}" for n in range(len(line))]


@given(st.dictionaries(st.sampled_from("abcd"), costs, min_size=2))
def test_while_all_wait_nobody_gets_more_than_a_turn_ahead(lines):
    queue, served, largest = filled(lines), dict.fromkeys(lines, 0.0), max(max(c) for c in lines.values())
    left = {caller: len(line) for caller, line in lines.items()}
    while (item := queue.take()) is not None:
        caller = item[0]
        served[caller] += lines[caller][int(item[1:])]
        left[caller] -= 1
        if not all(left.values()):
            break
        assert max(served.values()) - min(served.values()) <= 2 * (10 + largest)


def test_a_full_queue_takes_all_of_a_request_or_nothing():
    queue = filled({"a": [1, 1]}, limit=3)
    with pytest.raises(QueueFullError):
        queue.add("b", [("b0", 1), ("b1", 1)])
    assert len(queue) == 2
    queue.add("b", [("b0", 1)])
    queue.add("c", [("c0", 1), ("c1", 1)], always=True)
    assert len(drained(queue)) == 5
    queue.add("d", [])
    assert queue.take() is None


def test_alike_items_come_along_and_are_paid_for():
    queue = filled({"a": [10] * 4, "b": [10] * 4})
    assert queue.take() == "a0"
    assert queue.take_alike(lambda item: item.startswith("b"), 2) == ["b0", "b1"]
    order = drained(queue)
    assert order[0] == "a1"  # b has had its turns
    assert sorted(order) == ["a1", "a2", "a3", "b2", "b3"]


def test_what_is_removed_is_gone():
    queue = filled({"a": [1] * 3, "b": [1]})
    assert sorted(queue.remove(lambda item: item in ("a1", "b0"))) == ["a1", "b0"]
    assert drained(queue) == ["a0", "a2"]
