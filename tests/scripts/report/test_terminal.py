"""The terminal's form."""

from scripts.report.entry import make_entries
from scripts.report.terminal import print_report


def test_one_result_shows_all_its_tables(make_result, capsys):
    choice = {"questions": 500, "accuracy": 71.3, "interval": [68.0, 74.5]}
    print_report(make_entries([make_result(changes={"choice": choice})])[0], ["a note"])
    out = capsys.readouterr().out
    wanted = ("text to video", "video to text", "all streams", "without face", "ignore-missing", "a note")
    for words in (*wanted, "71.3", "68.0–74.5", "By available streams"):
        assert words in out
    figures = make_result().text_to_video
    row = next(line for line in out.splitlines() if line.startswith("small"))  # of the first table
    assert row.split()[1] == f"{figures.metrics['R@1']:.1f}"
    low, high = figures.intervals["R@1"]
    assert f"{low:.1f}–{high:.1f}" in out


def test_no_control_character_reaches_the_terminal(make_result, capsys):
    changes = {"system.name": "a\x1b[31m[bold]\n:car:", "protocol.title": "t\x07\x1b]0;x"}
    print_report(make_entries([make_result(changes=changes)])[0])
    out = capsys.readouterr().out
    assert not {letter for letter in out if ord(letter) < 32} - {"\n"}
    assert "[bold]" in out
    assert ":car:" in out


def test_shared_facts_are_told_once(make_result, capsys):
    results = [make_result(seed, changes={"system.name": f"model {'ab'[seed]}"}) for seed in (0, 1)]
    print_report(make_entries(results)[0])
    out = capsys.readouterr().out
    assert out.count("expected rank") == 1
    assert "Seed: 0 (model a); 1 (model b)" in out
