"""`mee search`: sentences, mixtures, clips, experts, filters and videos, from flags to hits."""

import io
import json

import pytest

from index.hit import Hit, Share, VideoHits
from scripts.search import main, print_hits


@pytest.fixture
def search(world, capsys, monkeypatch):
    def run(*arguments, stdin=None):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin) if stdin is not None else None)  # not to be read
        assert main([str(world.index), *map(str, arguments)]) == 0
        return capsys.readouterr()

    return run


@pytest.fixture
def hits(search):
    def run(*arguments, **given):
        return [json.loads(line) for line in search(*arguments, "--json", **given)[0].splitlines()]

    return run


def by_clip(found):
    return {hit["clip_id"]: hit["score"] for hit in found}


def test_hits_are_a_table_on_stdout(search):
    out, err = search("something moves", "--top", 3)
    title, header, *rows = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert title == '"something moves"'
    assert header.split() == ["#", "video", "moment", "score", "appearance", "motion", "audio", "face"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert err == ""


KEYS = {"query", "rank", "clip_id", "video", "start_s", "end_s", "score", "experts", "offset"}


def test_json_is_one_object_a_line_and_adds_up(hits):
    found = hits("something moves", "--top", 4)
    assert [hit["rank"] for hit in found] == [1, 2, 3, 4]
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    for hit in found:
        shares = hit["experts"].values()
        assert (set(hit), hit["query"], hit["offset"]) == (KEYS, "something moves", 0)
        assert sum(share["contribution"] for share in shares) == pytest.approx(hit["score"], abs=1e-5)
        assert sum(share["weight"] for share in shares) == pytest.approx(1, abs=1e-5)
        assert all(s["contribution"] == pytest.approx(s["weight"] * s["similarity"]) for s in shares)


def test_only_streams_that_a_clip_has_speak(hits):
    found = {hit["clip_id"]: hit for hit in hits("x", "--top", 99)}
    assert len(found) == 10
    assert set(found["clip9.png"]["experts"]) <= {"appearance", "face"}
    assert "audio" in found["clip1.mp4"]["experts"]
    assert "audio" not in found["clip2.mp4"]["experts"]


@pytest.mark.parametrize("flags", [("--top", 2), ("--where", "clip_id < 'clip5'", "--also", "on", "--top", 3)])
def test_each_line_of_stdin_is_a_sentence_for_which_the_flags_count(hits, flags):
    together = hits(*flags, stdin="first one\n\n  second one  \nthird one")
    apart = [hit for sentence in ("first one", "second one", "third one") for hit in hits(sentence, *flags)]
    assert [(h["query"], h["clip_id"]) for h in together] == [(h["query"], h["clip_id"]) for h in apart]
    assert [h["score"] for h in together] == pytest.approx([h["score"] for h in apart], abs=1e-5)
    assert len(together) == 3 * flags[-1]


@pytest.mark.parametrize("sentence", ["[/b] [red]", "漢字 übung", "?!", "-", "a" * 3000, "'; drop table", ":car:"])
def test_any_sentence_is_answered(search, hits, sentence):
    assert f'"{sentence}"' in search(sentence, "--top", 1)[0]
    assert [hit["query"] for hit in hits(sentence, "--top", 1)] == [sentence]


def test_a_model_that_was_moved_can_be_named(hits, own):
    assert hits("x", "--model", own.model) == hits("x")


def test_it_reads_a_pipe_and_answers_in_utf8(mee, world):
    ran = mee(
        "search", world.index, "--top", "1", "--json", stdin="ein schöner Tag\n雪\n", env={"LC_ALL": "C.UTF-8"}
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [json.loads(line)["query"] for line in ran.stdout.splitlines()] == ["ein schöner Tag", "雪"]


# ---- mixtures, clips, experts, filters and videos


def test_sentences_that_count_beside_the_first_and_against_it(hits, search):
    one, two, three = (by_clip(hits(sentence, "--top", 99)) for sentence in ("up", "on", "number 3"))
    flags = ("up", "--also", "0.5*on", "--less", "number 3", "--also", "on")
    mixed = {clip: (one[clip] + 1.5 * two[clip] - three[clip]) / 3.5 for clip in one}
    assert by_clip(hits(*flags, "--top", 99)) == pytest.approx(mixed, abs=1e-5)
    assert search(*flags)[0].splitlines()[0] == '"up" + 0.5 * "on" + "on" - "number 3"'


def test_like_a_clip(hits, search):
    found = hits("--like", "clip1.mp4", "--top", 99)
    assert len(found) == 9
    assert "clip1.mp4" not in by_clip(found)
    assert {hit["query"] for hit in found} == {None}
    assert search("--like", "clip1.mp4")[0].splitlines()[0] == "clip clip1.mp4"
    assert search("up", "--like", "clip1.mp4")[0].splitlines()[0] == '"up" + clip clip1.mp4'
    heard = hits("--like", "clip1.mp4", "--only", "audio", "--top", 99)
    assert set(by_clip(heard)) == {"clip3.mp4", "clip5.mp4", "clip7.mp4"}


def test_the_word_none_is_a_sentence(hits):
    assert hits("None", "--top", 1)[0]["query"] == "None"


def test_a_sentence_does_nothing_to_a_terminal(search):
    assert search("up\x1b[31m\non")[0].splitlines()[0] == r'"up\x1b[31m\non"'


def test_only_and_weights(hits):
    heard = by_clip(hits("up", "--only", "audio", "--top", 99))
    assert set(heard) == {f"clip{number}.mp4" for number in (1, 3, 5, 7)}
    for hit in hits("up", "--weights", "audio=3", "motion=1", "--top", 99):
        weights = {name: share["weight"] for name, share in hit["experts"].items() if share["weight"]}
        assert weights == pytest.approx({"audio": 0.75, "motion": 0.25} if "audio" in weights else {"motion": 1})


def test_where_and_video(hits, search):
    found = by_clip(hits("up", "--where", 'clip_id in ("clip1.mp4", "clip2.mp4") or video.endswith(".png")'))
    assert set(found) == {"clip1.mp4", "clip2.mp4", "clip9.png"}
    assert set(by_clip(hits("up", "--video", "clip2.mp4"))) == {"clip2.mp4"}
    out, err = search("up", "--where", "duration > 1000")
    assert out.splitlines()[0] == '"up"'
    assert err.startswith("no hits: no clip matches --where and --video")
    assert hits("up", "--where", "duration > 1000") == []


def test_by_video(hits, search):
    clips, videos = hits("up", "--top", 4), hits("up", "--top", 4, "--by-video")
    assert [video["video"] for video in videos] == [clip["video"] for clip in clips]  # each video is one clip here
    for rank, video in enumerate(videos, start=1):
        assert set(video) == {"query", "rank", "video", "score", "moments"}
        assert (video["rank"], video["moments"][0]["rank"]) == (rank, 1)
        assert video["score"] == video["moments"][0]["score"]
    assert len(search("up", "--top", 4, "--by-video")[0].strip().splitlines()) == 2 + 4


def test_exact_and_plain_change_nothing_where_there_is_nothing_to_change(hits):
    assert hits("up", "--exact", "--plain") == hits("up")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["up", "--only", "audoi"], "audio"),
        (["up", "--like", "clip11.mp4"], "clip11.mp4"),
        (["--like", ""], "''"),
        (["--like", "None"], "None"),
        (["up", "--video", "clip1"], "clip1"),
        (["up", "--video", "None"], "None"),
        (["--only", "audio", "a dog"], "a dog"),  # before stdin is read
        (["--where", "length < 3"], "length"),
    ],
)
def test_what_the_index_lacks_is_one_sentence(world, fails, says, monkeypatch, arguments, name):
    monkeypatch.setattr("sys.stdin", None)
    message = fails(main, world.index, *arguments)
    assert name in message
    says(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--top", "0"], "top must be at least 1, got 0"),
        (["up", "--moments", "0"], "moments must be at least 1, got 0"),
        (["up", "--top", "many"], "'many'"),
        (["up", "--nonsense"], "--nonsense"),
        ([""], "a sentence is empty"),
        ([" \t\n"], "a sentence is empty"),
        (["up", "--where", ""], "the filter '' has 0 characters"),
        (["up", "--where", "None"], "the filter 'None'"),
        (["up", "--weights", "audio"], "--weights: 'audio' is not of the form EXPERT=NUMBER"),
        (["up", "--weights", "audio=much"], "--weights: 'audio=much' is not of the form EXPERT=NUMBER"),
        (["up", "--weights", "audio=1", "audio=2"], "--weights: 'audio' is given twice"),
        (["up", "--also", "0*on"], "--also: the weight of '0*on' must be above 0"),
        (["up", "--also=-1*on"], "--also: the weight of '-1*on' must be above 0; --less is for"),
        (["up", "--less", "0.5*"], "--less: '0.5*' has no sentence; write it like '0.5*at night'"),
        (["up", "--less", " "], "has no sentence"),
        (["up", "--also", "1e308*on", "--less", "1e308*off"], "'on'"),
        (["up", "--video", "\udcff.mp4"], "--video '\\udcff.mp4' is not UTF-8 text"),
    ],
)  # fmt: skip
def test_flags_that_make_no_sense_are_wrong_usage(misused, arguments, message):
    assert message in misused(main, "nowhere", *arguments)


@pytest.mark.parametrize("lines", ["", "   ", "\t\n"])
def test_no_sentence_on_stdin(fails, world, monkeypatch, lines):
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert "no sentence" in fails(main, world.index)


def test_a_stdin_that_is_no_text(fails, world, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    assert fails(main, world.index).startswith("stdin is not utf-8 text")


# ---- tables


def hit(rank, clip, score, offset=0.0):
    video, _, number = clip.partition("#")
    start = 10.0 * int(number)
    return Hit(rank, clip, video, start, start + 10, score, {"audio": Share(0.5, 2 * (score + offset))}, offset)


@pytest.fixture
def table(capsys):
    def run(found, *modalities):
        print_hits('"x"', found, modalities)
        return [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]

    return run


def test_an_offset_is_shown_where_there_is_one(table):
    title, header, first, second = table([hit(1, "a#0", 0.4, 0.1), hit(2, "b#1", 0.3)], "motion", "audio")
    assert title == ['"x"']
    assert header == ["#", "video", "moment", "score", "motion", "audio", "offset"]
    assert (first[:5], first[-2:]) == (["1", "a", "0:00.0-0:10.0", "0.400", "-"], ["0.50", "-0.10"])
    assert second[-2:] == ["0.30", "0.00"]
    assert "offset" not in table([hit(1, "a#0", 0.4)], "audio")[1]


def test_a_video_stands_beside_its_best_moment(table):
    best = VideoHits(1, "a", (hit(1, "a#3", 0.4), hit(2, "a#0", 0.2)))
    _, header, *rows = table([best, VideoHits(2, "b", (hit(1, "b#1", 0.3),))], "audio")
    assert header == ["#", "video", "moment", "score", "audio"]
    assert [row[0] for row in rows] == ["1", "0:00.0-0:10.0", "2"]
    assert [row[2] for row in rows] == ["0:30.0-0:40.0", rows[1][2], "0:10.0-0:20.0"]


def test_nothing_and_nothing_but_zeros(table):
    assert table([], "audio")[0] == ['"x"']
    assert table([hit(1, "a#0", -0.0)], "audio")[-1][-1] == "0.00"
