"""Marks and facts: what a result has to say of itself is seen wherever its figures are."""

import pytest

from scripts.report.entry import make_entries
from scripts.report.facts import facts
from scripts.report.markdown import markdown
from scripts.report.marks import marks
from scripts.report.page import page
from scripts.report.terminal import print_report

WARNINGS = [
    ({"protocol.partial": True, "protocol.left_out": ["v1", "v2"]}, "partial", "2 captioned videos left out"),
    ({"system.selected_on": "test"}, "selected on test", "too high"),
    ({"protocol.split": "val", "system.selected_here": True}, "selected on these", "lower"),
    ({"rules.normalisation": {"method": "dsl", "uses_test_queries": True}}, "uses test queries", "live search"),
    ({"protocol.gallery": 999}, "counts differ", "1,000 clips, not 999"),
]
NOTES = [
    ({"rules.normalisation": {"method": "nnn", "parameters": {"alpha": 0.75}}}, "NNN", "alpha = 0.75"),
    ({"protocol.without_stream": ["v1"]}, "1 without a stream", "last place"),
    ({"system.selected_on": "unknown"}, "selection unknown", "Nobody said"),
    ({"system.trained_on": None}, "training unknown", "Nobody said"),
]


@pytest.mark.parametrize(
    ("changes", "label", "words", "kind"),
    [*((*case, "warning") for case in WARNINGS), *((*case, "note") for case in NOTES)],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_marks_are_seen_in_every_form(make_result, capsys, changes, label, words, kind):
    entries, _ = make_entries([make_result(changes=changes)])
    found = {mark.label: mark for mark in marks(entries[0])}
    assert found[label].kind == kind
    assert words in found[label].sentence
    text = page(entries)
    head = text[: text.index("<nav")]  # before any figure, not at the end
    assert f'<li class="{kind}"><strong>{"⚠ " * (kind == "warning")}{label}</strong>' in head
    assert f"**{label}**" in markdown(entries).partition("## ")[0]
    print_report(entries)
    out = " ".join(capsys.readouterr().out.split())
    assert f"{label}. {found[label].sentence}" in out
    if kind == "warning":
        assert f"small [{label.split()[0]}" in out  # in the row of its figures


def test_in_a_comparison_marks_stand_in_the_row(make_result):
    bad = make_result(1, changes={"system.name": "bad", "system.selected_on": "test"})
    entries, _ = make_entries([make_result(0), bad])
    text = page(entries)
    table = text[text.index("<table") : text.index("</table>")]
    row = table[table.index(">bad<") :]
    assert '<span class="mark warning">⚠ selected on test</span>' in row[: row.index("</tr>")]
    assert "bad (**⚠ selected on test**)" in markdown(entries)


def test_a_plain_result_bears_no_mark(make_result):
    assert marks(make_entries([make_result()])[0][0]) == []


STATED = {  # PROTOCOLS: what a result always states
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
    told = dict(facts(entries[0]))
    assert STATED.items() <= told.items()
    text, brief = page(entries), markdown(entries)
    for what, value in STATED.items():
        assert f'<th scope="row">{what}</th><td class="long">{value}</td>' in text
        assert f"| {what} | " in brief


def test_a_normalisation_is_stated_with_bank_parameters_and_test_queries(make_result):
    chosen = {"method": "qb-norm", "bank": "9,000 training captions", "parameters": {"beta": 20.0}}
    entries, _ = make_entries([make_result(changes={"rules.normalisation": chosen})])
    wanted = "QB-Norm, bank of 9,000 training captions, beta = 20, uses no other test query"
    assert dict(facts(entries[0]))["Normalisation"] == wanted


def test_long_lists_of_ids_are_counted_and_cut(make_result):
    left = [f"video{number}" for number in range(5000)]
    entries, _ = make_entries([make_result(changes={"protocol.partial": True, "protocol.left_out": left})])
    told = dict(facts(entries[0]))["Left out"]
    assert told.startswith("5,000: video0, video1, ")
    assert told.endswith("video19 and 4,980 more, which the result file has")
