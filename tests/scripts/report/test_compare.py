"""Marks and facts of a result are beside its figures; differences are listed; a table answers one question."""

import pytest

from scripts.report.compare import differences, facts, marks, questions
from scripts.report.entry import make_entries
from scripts.report.page import markdown, page
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
    "Streams used": "appearance, motion, audio, face",
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
    left = [f"video{number}" for number in range(5000)]
    chosen = {"method": "qb-norm", "bank": "9,000 training captions", "parameters": {"beta": 20.0}}
    changes = {"protocol.partial": True, "protocol.left_out": left, "rules.normalisation": chosen}
    told = facts(make_entries([make_result(changes=changes)])[0][0])
    assert told["Normalisation"] == "QB-Norm, bank of 9,000 training captions, beta = 20, uses no other test query"
    assert told["Left out"].startswith("5,000: video0, video1, ")
    assert told["Left out"].endswith("video19 and 4,980 more, which the result file has")


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
