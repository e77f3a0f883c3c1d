"""What all commands share."""

import time

import pytest

from features.errors import InputError as FeaturesInputError
from features.job.result import JobReport, Outcome
from mee.errors import InputError
from scripts.console import (
    JobProgress,
    bar,
    clock,
    errors_as_sentences,
    pick_device,
    print_table,
    resumable,
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("it is wrong"), "error: it is wrong"),
        (FeaturesInputError("it is wrong"), "error: it is wrong"),
        (FileNotFoundError(2, "No such file or directory", "a b"), "error: No such file or directory: 'a b'"),
        (OSError(28, "No space left on device"), "error: No space left on device"),
        (OSError("odd"), "error: odd"),
    ],
)
def test_what_is_wrong_with_input_is_one_line_on_stderr(capsys, error, line):
    @errors_as_sentences
    def command(argv=None):
        raise error

    assert command([]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", line + "\n")


def test_a_fault_of_ours_is_not_hidden():
    @errors_as_sentences
    def command(argv=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command([])


def test_ctrl_c_is_no_error(capsys):
    def command(argv=None):
        raise KeyboardInterrupt

    assert errors_as_sentences(command)([]) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert resumable(command)([]) == 130
    assert "goes on from there" in capsys.readouterr().err


NAMES = ["[red]a[/red].mp4", "[/b].mp4", ":car:.mp4", "a[1].mp4", "漢字.mp4", "\\[x]"]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_prints_names_as_they_are(capsys, name):
    print_table(f"title {name}", ["file", name], [[name, "1"]])
    title, header, row = capsys.readouterr().out.splitlines()
    assert title.rstrip() == f"title {name}"
    assert header.split() == ["file", name]
    assert row.split() == [name, "1"]


def test_a_table_loses_nothing_of_long_names(capsys):
    print_table("t" * 300, ["file", "n"], [["x" * 300, "1"]])
    out = capsys.readouterr().out
    assert out.count("t" * 300) == 1
    assert out.count("x") == 300


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.5, 0.999, 1, 1.5, -1, 1 / 3])
def test_a_bar_is_as_long_as_its_share(share):
    drawn = bar(share, 10)
    assert len(drawn) <= 10
    eighths = drawn.count("█") * 8 + (" ▏▎▍▌▋▊▉".index(drawn[-1]) if drawn and drawn[-1] != "█" else 0)
    assert eighths == round(80 * min(1, max(0, share)))


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [
        (0, 1, "0:00.0"),
        (9.96, 1, "0:10.0"),
        (59.97, 1, "1:00.0"),
        (61.5, 1, "1:01.5"),
        (3599.99, 1, "1:00:00.0"),
        (7325, 1, "2:02:05.0"),
        (7.4, 0, "0:07"),
        (3599.6, 0, "1:00:00"),
        (100 * 3600 + 62, 0, "100:01:02"),
    ],
)
def test_clock(seconds, digits, text):
    assert clock(seconds, digits) == text


def test_a_device_that_is_not_there_is_said(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == pick_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="use --device cpu"):
        pick_device("cuda")


def test_a_reader_that_has_seen_enough_is_no_traceback(mee):
    code = (
        "import sys\nfrom scripts.console import errors_as_sentences, print_table\n"
        "@errors_as_sentences\ndef main(argv=None):\n"
        "    import os\n    reader, writer = os.pipe()\n    os.close(reader)\n    os.dup2(writer, 1)\n"
        "    print_table('t', ['a'], [['b' * 100]] * 1000)\n    sys.stdout.flush()\n    return 0\n"
        "sys.exit(main([]))"
    )
    ran = mee(code=code)
    assert (ran.returncode, ran.stderr) == (1, "")


def test_control_characters_of_a_name_are_shown_not_obeyed(capsys):
    print_table("", ["file"], [["a\x1b[31m\nb\x07.mp4"]])
    assert capsys.readouterr().out.split("\n")[1].strip() == "a\\x1b[31m\\nb\\x07.mp4"


# ---- the progress of a job


@pytest.fixture
def now(monkeypatch):
    seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_where_there_is_no_terminal_a_plain_line_comes_now_and_then(now, capsys):
    report = JobReport(files=10, already=2)
    with JobProgress(8) as progress:
        progress.show(report)
        now[0] += 29
        progress.show(report)
        assert capsys.readouterr().err == ""
        now[0] += 1
        progress.show(report)
        assert capsys.readouterr().err == ("0 of 8 files, 0.0 clips/s, 0.0 x real time, ? left, 0 failed\n")
        now[0] += 30
        for number in range(3):
            report.add(Outcome(f"{number}.mp4", "ok", "", 2))
        report.add(Outcome("bad.mp4", "failed", "why", 0))
        report.clips_so_far, report.seconds_so_far = 6, 300.0
        progress.show(report)
        progress.show(report)
    assert capsys.readouterr().err == "4 of 8 files, 0.1 clips/s, 5.0 x real time, 1:00 left, 1 failed\n"


def test_the_report_counts():
    report = JobReport(files=3, already=0)
    ends = [("a", "ok", "", 2), ("b", "degraded", "x", 1), ("c", "timed out", "", 0)]
    outcomes = [Outcome(*end) for end in ends]
    for outcome in outcomes:
        report.add(outcome)
    assert (report.outcomes, report.failures, report.degraded) == (outcomes, outcomes[2:], outcomes[1:2])
    assert report.clips == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (61, "1:01"), (3599.6, "1:00:00"), (100 * 3600 + 62, "100:01:02")],
)
def test_durations(seconds, text):
    assert clock(seconds, 0) == text
