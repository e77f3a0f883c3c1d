"""`mee search`: sentences in, hits out."""

import io
import json

import pytest

from scripts.search import main


@pytest.fixture
def search(world, capsys, monkeypatch):
    def run(*arguments, stdin="", index=world.index):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        assert main([str(index), *map(str, arguments)]) == 0
        return capsys.readouterr()

    return run


def test_hits_are_a_table_on_stdout(search):
    out, err = search("something moves", "--top", 3)
    title, header, *rows = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert title == '"something moves"'
    assert header.split() == ["#", "video", "moment", "score", "appearance", "motion", "audio", "face"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert err == ""


def test_json_is_one_object_a_line_and_adds_up(search):
    out, err = search("something moves", "--json", "--top", 4)
    hits = [json.loads(line) for line in out.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    for hit in hits:
        assert hit["query"] == "something moves"
        assert set(hit) == {
            "query",
            "rank",
            "clip_id",
            "video",
            "start_s",
            "end_s",
            "score",
            "experts",
            "constant",
        }
        shares = hit["experts"].values()
        assert hit["constant"] == 0
        assert sum(share["contribution"] for share in shares) == pytest.approx(hit["score"], abs=1e-5)
        assert sum(share["weight"] for share in shares) == pytest.approx(1, abs=1e-5)
        assert all(s["contribution"] == pytest.approx(s["weight"] * s["similarity"]) for s in shares)
    assert err == ""


def test_only_streams_that_a_clip_has_speak(search):
    hits = {hit["clip_id"]: hit for hit in map(json.loads, search("x", "--json", "--top", 99)[0].splitlines())}
    assert len(hits) == 10
    assert set(hits["clip9.png"]["experts"]) <= {"appearance", "face"}
    assert "audio" in hits["clip1.mp4"]["experts"]
    assert "audio" not in hits["clip2.mp4"]["experts"]


def test_each_line_of_stdin_is_a_sentence(search):
    together, _ = search("--json", "--top", 2, stdin="first one\n\n  second one  \nthird one")
    apart = "".join(search(s, "--json", "--top", 2)[0] for s in ("first one", "second one", "third one"))
    left, right = ([json.loads(line) for line in text.splitlines()] for text in (together, apart))
    assert [(h["query"], h["clip_id"]) for h in left] == [(h["query"], h["clip_id"]) for h in right]
    assert [h["score"] for h in left] == pytest.approx([h["score"] for h in right], abs=1e-5)


@pytest.mark.parametrize("sentence", ["[/b] [red]", "漢字 übung", "?!", "-", "a" * 3000, "'; drop table", ":car:"])
def test_any_sentence_is_answered(search, sentence):
    assert f'"{sentence}"' in search(sentence, "--top", 1)[0]
    (hit,) = map(json.loads, search(sentence, "--top", 1, "--json")[0].splitlines())
    assert hit["query"] == sentence


def test_a_model_that_was_moved_can_be_named(search, own, fails):
    there = search("x", "--json")[0]
    assert search("x", "--json", "--model", own.model)[0] == there


def test_it_reads_a_pipe_and_answers_in_utf8(mee, world):
    ran = mee(
        "search", world.index, "--top", "1", "--json", stdin="ein schöner Tag\n雪\n", env={"LC_ALL": "C.UTF-8"}
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [json.loads(line)["query"] for line in ran.stdout.splitlines()] == ["ein schöner Tag", "雪"]
