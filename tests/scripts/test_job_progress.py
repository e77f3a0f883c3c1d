"""The line that says how a job is getting on."""

import time

import pytest

from features.job.report import JobReport, Outcome
from scripts.console import JobProgress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (61, "1:01"), (3599.6, "1:00:00"), (100 * 3600 + 62, "100:01:02")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_where_there_is_no_terminal_a_plain_line_comes_now_and_then(clock, capsys):
    report = JobReport(files=10, already=2)
    with JobProgress(8) as progress:
        progress.show(report)
        clock[0] += 29
        progress.show(report)
        assert capsys.readouterr().err == ""
        clock[0] += 1
        progress.show(report)
        assert capsys.readouterr().err == ("0 of 8 files, 0.0 clips/s, 0.0 x real time, ? left, 0 failed\n")
        clock[0] += 30
        for number in range(3):
            report.add(Outcome(f"{number}.mp4", "ok", "", 2, 100.0))
        report.add(Outcome("bad.mp4", "failed", "why", 0, 0.0))
        report.clips_so_far, report.seconds_so_far = 6, 300.0
        progress.show(report)
        progress.show(report)
    assert capsys.readouterr().err == "4 of 8 files, 0.1 clips/s, 5.0 x real time, 1:00 left, 1 failed\n"


def test_the_report_counts(clock):
    report = JobReport(files=3, already=0)
    outcomes = [
        Outcome("a", "ok", "", 2, 20.0),
        Outcome("b", "degraded", "x", 1, 5.0),
        Outcome("c", "timed out", "", 0, 0.0),
    ]
    for outcome in outcomes:
        report.add(outcome)
    assert (report.outcomes, report.failures, report.degraded) == (outcomes, outcomes[2:], outcomes[1:2])
    assert (report.clips, report.seconds) == (3, 25.0)
