"""Plots: where points stand, and what is written beside them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.report.curves import drop_figures, recall_figures
from scripts.report.entry import make_entries
from scripts.report.heat_map import heat_map, step
from scripts.report.histogram import histogram_figures
from scripts.report.plot import HIGH, MOST_POINTS, WIDE, Axis, short, thinned, ticks_to
from scripts.report.style import SERIES


def points_of(svg):
    """Points of every line of a drawing."""
    return [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline points="([^"]*)"', svg)
    ]


def test_an_axis_places_values():
    assert Axis(0, 100, (), "").place(25, 10, 30) == 15
    assert Axis(1, 100, (), "", log=True).place(10, 0, 200) == 100


@given(st.floats(1e-3, 1e6))
def test_ticks_reach_what_they_are_for(high):
    ticks = ticks_to(high)
    assert ticks[0] == 0
    assert ticks[-1] >= high * (1 - 1e-9)
    assert 2 <= len(ticks) <= 7


def test_ticks_as_text():
    assert [short(value) for value in (1.0, 1000.0, 10_000.0, 100_000.0, 1e6)] == [
        "1",
        "1,000",
        "10k",
        "100k",
        "1M",
    ]


@given(st.integers(2, 5000))
def test_long_curves_are_thinned_and_keep_their_ends_and_marks(count):
    points = [(float(k), float(k)) for k in range(1, count + 1)]
    kept = thinned(points, (1.0, 5.0, 10.0))
    assert {points[0], points[-1], *points[4:5], *points[9:10]} <= set(kept)
    assert len(kept) <= MOST_POINTS + 6
    assert kept == sorted(kept)


def test_a_recall_curve_rises_within_its_frame(make_result):
    entries, _ = make_entries([make_result()])
    made = recall_figures("k", entries)
    lines = points_of(made)
    assert len(lines) == 2  # both directions
    for line in lines:
        assert line == sorted(line)
        heights = [y for _, y in line]
        assert heights == sorted(heights, reverse=True)  # down the page is less
        assert all(0 <= x <= WIDE and 0 <= y <= HIGH for x, y in line)
    assert made.count("<circle") == 8  # K = 1, 5, 10, 50, twice
    first = entries[0].outcome("text_to_video").figures["R@1"].text
    assert f"<td>{first}</td>" in made
    assert f"{first} % at K = 1" in made  # the description


def test_many_systems_share_a_plot_up_to_its_styles(make_result):
    results = [make_result(n, changes={"system.name": f"system {'abcdefgh'[n]}"}) for n in range(8)]
    made = recall_figures("k", make_entries(results)[0])
    assert [len(points_of(svg)) for svg in made.split("<figure>")[1:]] == [SERIES, 8 - SERIES] * 2
    assert "systems 7 to 8" in made


def test_drop_curves_show_losses_and_gains(make_result):
    rows = [
        {"name": "audio", "text_to_video": {"R@1": 10.0, "R@5": 60.0}, "video_to_text": {"R@1": 10.0}},
        {"name": "face", "text_to_video": {"R@1": 24.0, "R@5": 52.0}, "video_to_text": {"R@1": 20.0}},
    ]
    found = {"R@1": 20.0, "R@5": 55.0}
    changes = {"removed": rows, "text_to_video.metrics": found, "video_to_text.metrics": found}
    made = drop_figures("k", make_entries([make_result(changes=changes)])[0][0])
    face, audio = points_of(made.split("<figure>")[1])  # the first is drawn last
    assert audio[0][1] < face[0][1]  # 10 points lost stand above 4 points gained
    assert re.search(r">−\d+</text>", made)  # the axis goes below zero
    for cell in ("10.0 (−10.0)", "60.0 (+5.0)", "24.0 (+4.0)", "52.0 (−3.0)"):
        assert f"<td>{cell}</td>" in made


def test_a_histogram_has_a_bar_a_bin_as_long_as_its_share(make_result):
    bins = [["1", 50], ["2", 25], ["3-10", 0]]
    changes = {"text_to_video.histogram": bins, "video_to_text": None}
    made = histogram_figures("k", make_entries([make_result(changes=changes)])[0][0])
    widths = [float(width) for width in re.findall(r'<rect [^>]*?width="([\d.]+)"', made)]
    assert widths[0] == 2 * widths[1] > 0
    assert widths[2] < 1
    assert "50 (66.7 %)" in made
    assert "3–10" in made


def test_the_heat_map_is_a_table_and_darker_is_more(make_result):
    made = heat_map("k", make_result().weights)
    assert '<td class="h6">61.2</td>' in made
    assert [step(share) for share in (0, 4, 50, 100)] == [0, 0, 5, 10]


@pytest.mark.parametrize("drawn", [drop_figures, histogram_figures])
def test_nothing_to_show_is_no_figure(make_result, drawn):
    changes = {"removed": [], "text_to_video.histogram": [], "video_to_text": None}
    assert drawn("k", make_entries([make_result(changes=changes)])[0][0]) is None
