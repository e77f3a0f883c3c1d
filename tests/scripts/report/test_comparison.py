"""Comparison: what differs is told in words, and no table holds two questions."""

import pytest

from scripts.report.comparison import differences, questions
from scripts.report.entry import make_entries
from scripts.report.page import page
from scripts.report.terminal import print_report


def pair(make_result, changes):
    entries, _ = make_entries([make_result(0), make_result(1, changes={"system.name": "other", **changes})])
    return entries


def test_systems_alone_do_not_warn(make_result):
    assert differences(pair(make_result, {})) == []
    assert "Compare with care" not in page(pair(make_result, {}))


ASKED = [  # (change, words of the warning, whether t2v and v2t then stand in tables of their own)
    ({"protocol.name": "msrvtt-1kb"}, ["Protocol", "msrvtt-1kb"], True, True),
    ({"protocol.gallery": 990}, ["Gallery", "990"], True, True),
    ({"protocol.queries": 990}, ["Queries", "990"], True, True),
    ({"protocol.partial": True, "protocol.missing": ["3 gone"]}, ["Completeness", "3 gone"], True, True),
    ({"protocol.partial": True}, ["Completeness", "partial (other)"], True, True),
    ({"rules.ties": "optimistic"}, ["Ties", "optimistic"], True, True),
    ({"rules.v2t": "every caption"}, ["Video-to-text convention", "every caption"], False, True),
    (
        {"rules.normalisation": {"method": "qb-norm", "bank": "9,000 training captions"}},
        ["Normalisation", "9,000 training captions"],
        False,
        False,
    ),
    ({"system.selected_on": "test"}, ["Epoch chosen on", "test captions"], False, False),
    ({"system.trained_on": None}, ["Trained on", "nobody said"], False, False),
    ({"protocol.files": {"test": "x.csv sha256:ff"}}, ["Annotation file", "sha256:ff"], False, False),
]


@pytest.mark.parametrize(("change", "words", "apart", "v2t_apart"), ASKED, ids=lambda case: str(case)[:30])
def test_every_difference_is_told_and_questions_stand_apart(make_result, capsys, change, words, apart, v2t_apart):
    entries = pair(make_result, change)
    told = [found.sentence for found in differences(entries)]
    assert len(told) == 1
    assert all(word in told[0] for word in (*words, "small", "other"))
    assert (len(questions(entries, "text_to_video")) == 2) == apart
    assert (len(questions(entries, "video_to_text")) == 2) == v2t_apart
    print_report(entries)
    out = " ".join(capsys.readouterr().out.split())
    assert told[0] in out
    assert all(word in page(entries) for word in ("Compare with care", *words))
