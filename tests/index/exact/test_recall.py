"""Tuning: the cheapest parameters that reach a recall, measured with other queries than they were chosen with."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.exact.recall import Measured, SearchParameters, ladder, recall, tune
from index.queries import Queries


def numbered(count):
    """Queries that can be told apart."""
    packed = np.arange(count, dtype=np.float32)[:, None, None]
    return Queries(packed, np.zeros((count, 1, 1)), np.ones((count, 1)))


class Engine:
    """Finds the best only of queries that are not too hard: query n needs at least need(n) candidates."""

    def __init__(self, need, clips=1000):
        self.need = need
        self.clips = clips
        self.asked = []  # (query numbers, rerank)

    def numbers(self, queries):
        return queries.packed[:, 0, 0].astype(int).tolist()

    def exact(self, queries, k):
        return [[f"{number}-{place}" for place in range(min(k, self.clips))] for number in self.numbers(queries)]

    def search(self, queries, k, parameters):
        self.asked.append((self.numbers(queries), parameters.rerank))
        return [
            names if parameters.rerank >= self.need(number) else [f"wrong-{name}" for name in names]
            for number, names in zip(self.numbers(queries), self.exact(queries, k))
        ]

    def tune(self, count, target):
        return tune(self.search, self.exact, numbered(count), target, "made up", self.clips)


def test_the_cheapest_that_reach_the_target_are_chosen():
    measured = Engine(lambda number: number).tune(200, 0.5)
    assert measured.reached >= 0.5
    below = [rung.rerank for rung in ladder(1000) if rung.rerank < measured.parameters.rerank]
    assert 95 <= measured.parameters.rerank <= 160
    assert max(below) < 110
    assert (measured.target, measured.source, measured.clips, measured.at) == (0.5, "made up", 1000, 10)


def test_what_is_measured_was_not_chosen_with():
    engine = Engine(lambda number: 50)
    measured = engine.tune(101, 0.99)
    chosen_with, measured_with = engine.asked[0][0], engine.asked[-1][0]
    assert sorted(chosen_with + measured_with) == list(range(101))
    assert (measured.tuned_on, measured.measured_on) == (50, 51)
    assert chosen_with != sorted(chosen_with)  # drawn
    again = Engine(lambda number: 50)
    again.tune(101, 0.99)
    assert again.asked == engine.asked  # always the same


def test_it_steps_up_where_the_others_are_harder():
    easy = Engine(lambda number: 10)
    easy.tune(100, 0.9)
    measured_with = set(easy.asked[-1][0])
    measured = Engine(lambda number: 60 if number in measured_with else 10).tune(100, 0.9)
    assert measured.parameters.rerank == min(rung.rerank for rung in ladder(1000) if rung.rerank >= 60)
    assert measured.reached == 1.0


def test_a_target_out_of_reach_is_said_to_be():
    measured = Engine(lambda number: 10**9 if number % 4 == 0 else 20).tune(400, 0.99)
    assert measured.reached == pytest.approx(0.75, abs=0.06)
    assert measured.parameters.rerank == min(
        rung.rerank for rung in ladder(1000) if rung.rerank >= 20
    )  # not dearer


@pytest.mark.parametrize("clips", [0, 1, 9, 10])
def test_few_clips_are_fine(clips):
    measured = Engine(lambda number: 0, clips).tune(3, 1.0)
    assert measured.reached == 1.0
    assert measured.parameters == SearchParameters(10, 10)


def test_one_query_is_both():
    measured = Engine(lambda number: 30).tune(1, 1.0)
    assert (measured.tuned_on, measured.measured_on, measured.reached) == (1, 1, 1.0)


@given(clips=st.integers(0, 10**7))
def test_the_ladder_rises_to_everything_or_to_where_it_does_not_pay(clips):
    rungs = [rung.rerank for rung in ladder(clips)]
    assert rungs[0] == 10
    assert all(one < other <= 1.25 * one + 1 for one, other in pairwise(rungs))
    assert min(clips, 5000) <= rungs[-1] <= 5000
    assert len(rungs) == 1 or rungs[-2] < clips


def test_recall_by_hand():
    exact = [list("abcdefghijk"), ["x", "y"], []]
    found = [[*"abcde123fg", "h"], ["y", "z", "x"], ["q"]]
    assert recall(found, exact) == pytest.approx((7 / 10 + 2 / 2) / 2)
    assert recall([], []) == recall([["a"]], [[]]) == 1.0


def test_ties_count_as_found():
    exact = (np.array([[0.9, 0.5]], np.float32), [["a", "b"]])
    found = (np.array([[0.9, 0.5]], np.float32), [["a", "twin of b"]])
    worse = (np.array([[0.9, 0.49]], np.float32), [["a", "c"]])
    assert recall(found, exact) == 1.0
    assert recall(found[1], exact[1]) == recall(worse, exact) == 0.5


def test_a_measurement_survives_json():
    measured = Engine(lambda number: 30).tune(8, 0.9)
    assert Measured.from_dict(json.loads(json.dumps(measured.to_dict()))) == measured


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parameters": {"rerank": 1}}, "this is no measurement of recall"),
        ({"colour": "red"}, "this is no measurement of recall"),
        ({"reached": 1.5}, "recall lies between 0 and 1, got target 0.9 and reached 1.5"),
        (
            {"parameters": {"rerank": 0, "effort": 1}},
            "rerank must be at least 1 and effort at least 0, got 0 and 1",
        ),
    ],
)
def test_a_measurement_that_is_none_is_refused(change, says):
    facts = Engine(lambda number: 30).tune(8, 0.9).to_dict()
    with pytest.raises(ValueError, match=re.escape(says)):
        Measured.from_dict({**facts, **change})


def test_missing_facts_are_refused():
    with pytest.raises(ValueError, match="this is no measurement of recall"):
        Measured.from_dict({})


@pytest.mark.parametrize("target", [0.0, 1.5, float("nan")])
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(ValueError, match="recall must be above 0 and at most 1"):
        Engine(lambda number: 1).tune(4, target)


def test_no_queries_are_refused():
    with pytest.raises(ValueError, match="recall is measured with queries: give one at least"):
        Engine(lambda number: 1).tune(0, 0.9)
