"""Entries: which results are seeds of one system, and how their numbers are combined."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.report.entry import make_entries, mean_and_std, mean_figures, number, signed


def test_seeds_become_one_row_with_mean_and_sample_deviation(make_result):
    results = [make_result(seed) for seed in (0, 1, 2)]
    (entry,), twice = make_entries(results)
    assert (entry.label, entry.seeds, twice) == ("small", (0, 1, 2), 0)
    values = [result.text_to_video.metrics["R@1"] for result in results]
    assert mean_figures([{"R@1": 20.0}, {"R@1": 22.0}, {"R@1": 27.0}])["R@1"].text == "23.0 ± 3.6"  # √(26 / 2)
    figure = entry.outcomes["text_to_video"].figures["R@1"]
    assert figure.value == pytest.approx(statistics.mean(values))
    assert figure.std == pytest.approx(statistics.stdev(values))
    assert figure.interval is None  # that of one seed is not the mean's


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6), st.floats(-50, 50))
def test_a_shift_moves_the_mean_and_not_the_deviation(values, shift):
    mean, std = mean_and_std(values)
    moved, same = mean_and_std([value + shift for value in values])
    assert moved == pytest.approx(mean + shift, abs=1e-9)
    assert same == pytest.approx(std, abs=1e-6)


def test_a_name_counts_without_its_own_seed(make_result):
    names = ("small-seed0", "small-seed1", "small_2", "small (seed 3)")
    alone = [make_result(seed, changes={"system.name": f"seed{seed}"}) for seed in (0, 1)]
    assert [entry.label for entry in make_entries(alone)[0]] == ["model"]
    results = [make_result(seed, changes={"system.name": name}) for seed, name in enumerate(names)]
    (entry,), _ = make_entries(results)
    assert (entry.label, entry.seeds) == ("small", (0, 1, 2, 3))


@pytest.mark.parametrize("name", ["model-v{}", "clip{}", "model-1{}", "{}-layers", "clip-1{}"])
def test_a_number_that_may_mean_something_else_keeps_systems_apart(make_result, name):
    results = [make_result(seed, changes={"system.name": name.format(seed)}) for seed in (0, 1)]
    assert len(make_entries(results)[0]) == 2


DIFFERENT = [
    {"system.name": "large"},
    {"system.selected_on": "test"},
    {"system.trained_on": "7,010 videos"},
    {"system.modalities": ["appearance"]},
    {"protocol.name": "msrvtt-1kb"},
    {"protocol.partial": True},
    {"protocol.left_out": ["video1"]},
    {"protocol.streams": {"appearance": 1000}},
    {"rules.v2t": "every caption"},
    {"rules.ties": "optimistic"},
    {"rules.normalisation": {"method": "nnn", "parameters": {"k": 128}}},
    {"video_to_text": None},
    {"made.mee": "0.2.0"},
]


@pytest.mark.parametrize("change", DIFFERENT, ids=lambda change: next(iter(change)))
def test_only_the_seed_and_when_it_was_made_may_differ(make_result, change):
    entries, _ = make_entries([make_result(0), make_result(1, changes=change)])
    assert [len(entry.results) for entry in entries] == [1, 1]
    later = {"made.seconds": 99.0, "made.at": "2027-01-01T00:00:00Z", "made.command": "other"}
    assert len(make_entries([make_result(0), make_result(1, changes=later)])[0]) == 1


def test_a_repeated_or_unknown_seed_is_no_second_seed(make_result):
    other = make_result(0, changes={"system.checkpoint": "ffff"})
    entries, repeated = make_entries([make_result(0), other, make_result(1)])
    assert ([len(entry.results) for entry in entries], repeated) == ([2, 1], 0)
    unknown = [make_result(seed, changes={"system.seed": None}) for seed in (0, 1)]
    assert len(make_entries(unknown)[0]) == 2
    again = make_result(0, changes={"made.seconds": 1.0})  # the same result twice counts once
    entries, repeated = make_entries([make_result(0), again])
    assert ([len(entry.results) for entry in entries], repeated) == ([1], 1)


def test_labels_differ(make_result):
    changes = ({}, {"rules.normalisation": {"method": "nnn"}}, {"system.checkpoint": "beef"})
    labels = [entry.label for entry in make_entries([make_result(0, changes=change) for change in changes])[0]]
    assert len(set(labels)) == 3
    assert labels[1] == "small, nnn"


def test_means_of_the_rest(make_result):
    results = [make_result(seed) for seed in (0, 1)]
    (entry,), _ = make_entries(results)
    outcome = entry.outcomes["text_to_video"]
    first, second = (result.text_to_video for result in results)
    assert outcome.recall[0] == (1, pytest.approx((first.recall[0][1] + second.recall[0][1]) / 2))
    assert outcome.histogram[1] == ("2", (first.histogram[1][1] + second.histogram[1][1]) / 2)
    assert sum(many for _, many in outcome.histogram) == pytest.approx(1000)
    assert entry.weights.rows[1][2] == pytest.approx((31.0, 14.6, 47.9, 6.5))
    assert entry.variants("removed")["without audio"]["text_to_video"]["R@1"].std is not None
    assert [row.queries for row in entry.patterns] == [280, 270, 260, 250]


def test_numbers_as_text():
    assert [number(value) for value in (0, 4.05, 1234.56, -0.01)] == ["0.0", "4.0", "1,234.6", "0.0"]
    assert [signed(value) for value in (1.24, -0.4, -0.01)] == ["+1.2", "−0.4", "0.0"]
