"""Marks and facts of a result are beside its figures; differences are listed; a table answers one question."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mee.evaluation import clustered_errors
from scripts.report.compare import PAIRED, differences, facts, figure_tables, marks, questions
from scripts.report.entry import make_entries, mean_and_std, mean_figures, number, signed
from scripts.report.page import markdown, page, safe
from scripts.report.terminal import print_report

WAYS = (("text", "video"), ("video", "text"))
MARKS = [
    ({"protocol.partial": True, "protocol.left_out": ["v1", "v2"]}, "⚠ partial", "2 captioned videos left out"),
    ({"system.selected_on": "test"}, "⚠ selected on test", "too high"),
    ({"protocol.split": "val", "system.selected_here": True}, "⚠ selected on these", "lower"),
    ({"rules.normalisation": {"method": "dsl", "uses_test_queries": True}}, "⚠ uses test queries", "live search"),
    ({"protocol.gallery": 999}, "⚠ counts differ", "1,000 clips, not 999"),
    ({"rules.normalisation": {"method": "nnn", "parameters": {"alpha": 0.75}}}, "NNN", "alpha = 0.75"),
    ({"protocol.without_stream": ["v1"]}, "1 without a stream", "last place"),
    ({"system.selected_on": "unknown"}, "selection unknown", "Nobody said"),
    ({"system.trained_on": None}, "training unknown", "Nobody said"),
]


@pytest.mark.parametrize(("changes", "label", "words"), MARKS, ids=[label for _, label, _ in MARKS])
def test_marks_are_seen_in_every_form(make_result, capsys, changes, label, words):
    entries, _ = make_entries([make_result(changes=changes)])
    found = {mark.label: mark for mark in marks(entries[0])}
    assert words in found[label].sentence
    text = page(entries)
    head = text[: text.index("<nav")]  # before any figure, not at the end
    assert f'<li class="{found[label].kind}"><strong>{label}</strong>' in head
    assert f"**{label}**" in markdown(entries).partition("## ")[0]
    print_report(entries)
    out = " ".join(capsys.readouterr().out.split())
    assert f"{found[label].words}. {found[label].sentence}" in out
    if found[label].kind == "warning":
        assert f"small [{found[label].words.split()[0]}" in out  # in the row of its figures


def test_in_a_comparison_marks_are_in_the_row(make_result):
    bad = make_result(1, changes={"system.name": "bad", "system.selected_on": "test"})
    entries, _ = make_entries([make_result(0), bad])
    text = page(entries)
    table = text[text.index("<table") : text.index("</table>")]
    row = table[table.index(">bad<") :].partition("</tr>")[0]
    assert '<span class="mark warning">⚠ selected on test</span>' in row
    assert "bad (**⚠ selected on test**)" in markdown(entries)
    assert marks(entries[0]) == []


STATED = {  # what a result always states, by PROTOCOLS
    "Protocol": "msrvtt-1ka: MSR-VTT, 1k-A test (JSFusion)",
    "Gallery": "1,000 clips",
    "Queries": "1,000",
    "Ties": "expected rank",
    "Directions": "text to video and video to text",
    "Video to text": "closest own caption among all captions",
    "Normalisation": "none",
    "Streams used": "appearance, motion, audio, face; missing ones add nothing",
    "Checkpoint": "00000000c0ffee00",
    "Seed": "0",
    "Complete": "yes",
    "Epoch chosen on": "validation captions",
}


def test_everything_that_a_result_must_state_is_stated(make_result):
    entries, _ = make_entries([make_result()])
    assert STATED.items() <= facts(entries[0]).items()
    text, brief = page(entries), markdown(entries)
    for what, value in STATED.items():
        assert f'<th scope="row">{what}</th><td class="long">{value}</td>' in text
        assert f"| {what} | " in brief


def test_long_facts_are_shortened(make_result):
    chosen = {"method": "qb-norm", "bank": "9,000 training captions", "parameters": {"beta": 20.0}}
    left = {"protocol.partial": True, "protocol.left_out": [f"video{number}" for number in range(5000)]}
    found = facts(make_entries([make_result(changes=left | {"rules.normalisation": chosen})])[0][0])
    assert (
        found["Normalisation"] == "QB-Norm, bank of 9,000 training captions, beta = 20, uses no other test query"
    )
    assert found["Left out"].startswith("5,000: video0, video1, ")
    assert found["Left out"].endswith("video19 and 4,980 more, which the result file has")


def pair(make_result, changes):
    bare = {f"{way}_to_{other}.{part}": [] for way, other in WAYS for part in ("recall", "histogram")}
    bare["removed"] = []  # nothing to draw
    other = make_result(1, changes={"system.name": "other", **bare, **changes})
    return make_entries([make_result(0, changes=bare), other])[0]


QB_NORM = {"method": "qb-norm", "bank": "captions"}
DIFFERENCES = [  # (change, words of the warning, whether t2v and v2t then have tables of their own)
    ({"protocol.name": "msrvtt-1kb"}, ["Protocol", "msrvtt-1kb"], True, True),
    ({"protocol.split": "val"}, ["Split", "val"], True, True),
    ({"protocol.gallery": 990}, ["Gallery", "990"], True, True),
    ({"protocol.queries": 990}, ["Queries", "990"], True, True),
    ({"protocol.digest": "abc"}, ["Captions", "abc"], True, True),
    ({"protocol.partial": True, "protocol.missing": ["3 gone"]}, ["Complete", "3 gone"], True, True),
    ({"protocol.partial": True}, ["Complete", "partial (other)"], True, True),
    ({"rules.ties": "optimistic"}, ["Ties", "optimistic"], True, True),
    ({"rules.v2t": "every caption"}, ["Video to text", "every caption"], False, True),
    ({"rules.normalisation": QB_NORM}, ["Normalisation", "captions"], False, False),
    ({"system.selected_on": "test"}, ["Epoch chosen on", "test captions"], False, False),
    ({"system.trained_on": None}, ["Trained on", "nobody said"], False, False),
    ({"protocol.without_stream": ["v1"]}, ["Clips without a stream", "v1"], False, False),
    ({"protocol.files": {"test": "x.csv sha256:ff"}}, ["Annotation files", "sha256:ff"], False, False),
]


@pytest.mark.parametrize(("change", "words", "apart", "v2t_apart"), DIFFERENCES, ids=lambda case: str(case)[:30])
def test_every_difference_is_listed_and_questions_have_tables_of_their_own(
    make_result, capsys, change, words, apart, v2t_apart
):
    entries = pair(make_result, change)
    ((what, told),) = differences(entries).items()
    assert all(word in f"{what}: {told}" for word in (*words, "small", "other"))
    assert (len(questions(entries, "text_to_video")) == 2) == apart
    assert (len(questions(entries, "video_to_text")) == 2) == v2t_apart
    print_report(entries)
    assert told in " ".join(capsys.readouterr().out.split())
    text = page(entries)
    assert all(word in text for word in ("Compare with care", *words))


def test_another_system_alone_is_no_warning(make_result):
    entries = pair(make_result, {})
    assert differences(entries) == {}
    assert "Compare with care" not in page(entries)


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
    {"system.name": "large"}, {"system.selected_on": "test"}, {"system.trained_on": "7,010 videos"},
    {"system.modalities": ["appearance"]}, {"protocol.name": "msrvtt-1kb"}, {"protocol.partial": True},
    {"protocol.left_out": ["video1"]}, {"protocol.streams": {"appearance": 1000}},
    {"rules.v2t": "every caption"}, {"rules.ties": "optimistic"},
    {"rules.normalisation": {"method": "nnn", "parameters": {"k": 128}}}, {"video_to_text": None},
    {"made.mee": "0.2.0"}, {"protocol.digest": "abc"},
]  # fmt: skip


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


# ---- differences of two results over the same queries


def test_each_result_is_compared_with_the_first_in_every_form(make_result, capsys):
    sizes = {"queries": 1000, "gallery": 500, "changes": {"protocol.expected_gallery": 500}}
    seeds = [make_result(seed, **sizes) for seed in (0, 1)]
    others = [
        make_result(seed, **sizes | {"changes": {"system.name": name}})
        for seed, name in ((2, "other"), (3, "third"))
    ]
    entries, _ = make_entries([*seeds, *others])
    _, (what, rule, rows), _, _ = figure_tables(entries)
    assert (what, rule) == ("text to video, difference from small", PAIRED)
    assert [entry.label for entry, _ in rows] == ["other", "third"]
    sides = [seed.text_to_video for seed in seeds], [others[0].text_to_video]
    first, second = ([part.metrics["R@5"] for part in side] for side in sides)
    said = f"{signed(second[0] - sum(first) / 2)} ± {number(clustered_errors(*sides)['R@5'])}"
    assert (rows[0][1]["R@5"].text, rows[0][1]["MedR"].std) == (said, None)
    print_report(entries)
    shown = {said: capsys.readouterr().out, safe(said): markdown(entries), f"<td>{said}</td>": page(entries)}
    assert all(words in text and PAIRED in text for words, text in shown.items())


@pytest.mark.parametrize("ranks", [[], [[1.0] * 400, [1.0] * 600], [[1.0] * 1000]])
def test_results_without_ranks_or_with_those_of_other_clips_are_not_compared(make_result, ranks):
    entries = pair(make_result, {"text_to_video.ranks": ranks})
    titles = ["text to video", "video to text", "video to text, difference from small"]
    assert ([what for what, _, _ in figure_tables(entries)], differences(entries)) == (titles, {})
