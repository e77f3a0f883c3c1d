"""`mee search`: sentences, mixtures, clips, experts, filters and videos, from flags to hits."""

import io
import json

import pytest

from index import VideoIndex, cut_list
from index.hit import Hit, Share, VideoHits
from index.request import Request
from mee.errors import InputError
from scripts.search import NOTHING, main, print_hits
from tests.scripts.serve.conftest import build


@pytest.fixture
def search(world, prints, monkeypatch):
    def run(*arguments, stdin=None):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin) if stdin is not None else None)  # not to be read
        return prints(main, world.index, *arguments)

    return run


@pytest.fixture
def hits(search):
    return lambda *given, **stdin: [
        json.loads(line) for line in search(*given, "--json", **stdin).out.splitlines()
    ]


def by_clip(found):
    return {hit["clip_id"]: hit["score"] for hit in found}


def title(printed):
    return printed.out.splitlines()[0]


KEYS = {"query", "words", "rank", "clip_id", "video", "start_s", "end_s", "score", "experts", "offset", "copies"}


def test_hits_are_a_table_or_json_and_add_up(search, hits):
    out, err = search("number 3 moves", "--top", 3)
    first, header, *rows = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert first == '"number 3 moves"'
    assert header.split() == ["#", "video", "moment", "score", "appearance", "motion", "audio", "face"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert err == ""
    found = hits("number 3 moves", "--top", 4)
    assert [hit["rank"] for hit in found] == [1, 2, 3, 4]
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    for hit in found:
        shares = hit["experts"].values()
        assert (set(hit), hit["query"], hit["offset"]) == (KEYS, "number 3 moves", 0)
        assert sum(share["contribution"] for share in shares) == pytest.approx(hit["score"], abs=1e-5)
        held = sum(share["weight"] for share in shares)  # what the clip lacks has the rest, and adds nothing
        assert held == pytest.approx(1, abs=1e-5) if len(shares) == 4 else 0 < held < 1
        assert all(
            s["contribution"] == pytest.approx(s["weight"] * (s["similarity"] - s["offset"])) for s in shares
        )


@pytest.mark.parametrize("flags", [("--top", 2), ("--where", "clip_id < 'clip5'", "--also", "on", "--top", 3)])
def test_each_line_of_stdin_is_a_query_with_the_same_flags(hits, flags):
    together = hits(*flags, stdin="first one\n\n  second one  \nthird one")
    apart = [hit for sentence in ("first one", "second one", "third one") for hit in hits(sentence, *flags)]
    assert [(h["query"], h["clip_id"]) for h in together] == [(h["query"], h["clip_id"]) for h in apart]
    assert [h["score"] for h in together] == pytest.approx([h["score"] for h in apart], abs=1e-5)
    assert len(together) == 3 * flags[-1]


SENTENCES = ["[/b] [red]", "漢字 übung", "?!", "-", "a" * 3000, "'; drop table", ":car:", "None", "up\x1b[31m\non"]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_any_sentence_is_answered(search, hits, sentence):
    escaped = sentence.replace("\x1b", r"\x1b").replace("\n", r"\n")
    assert title(search(sentence, "--top", 1)) == f'"{escaped}"'
    assert [hit["query"] for hit in hits(sentence, "--top", 1)] == [sentence]


def test_a_moved_model_can_be_named_and_exact_and_plain_change_nothing_here(hits, own):
    assert by_clip(hits("x", "--model", own.model)) == pytest.approx(by_clip(hits("x")), abs=1e-6)
    assert hits("x") == hits("x", "--exact", "--plain")


LOADED = "import sys; from scripts.cli import main; code = main(sys.argv[1:]); "
LOADED += "print(*sys.modules, file=sys.stderr); sys.exit(code)"
OURS = 49  # modules, at most
HEAVY = {"torch", "transformers", "huggingface_hub", "pydantic", "scipy", "onnx"}
SLOW = {"pandas", "typeguard", "asyncio"}  # pyarrow loads pandas for a filter


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (["search", "INDEX", "a thing"], {"onnxruntime", "tokenizers"}),
        (["search", "INDEX", "--like", "clip1.mp4"], set()),
        (["search", "INDEX", "a thing", "--where", "duration < 30", "--json"], {"onnxruntime"}),
        (["explain", "INDEX", "a thing"], {"onnxruntime"}),
    ],
    ids=["sentence", "like", "where", "explain"],
)
def test_neither_torch_nor_transformers_is_imported(mee, world, command, more):
    ran = mee(*(world.index if word == "INDEX" else word for word in command), code=LOADED)
    names = ran.stderr.split()
    loaded = {name.partition(".")[0] for name in names}
    assert ran.returncode == 0
    assert sum(name.partition(".")[0] in ("scripts", "index", "mee", "features") for name in names) <= OURS
    assert loaded & (HEAVY if "--where" in command else HEAVY | SLOW) == set()
    assert loaded & {"onnxruntime", "tokenizers"} >= more


def test_hits_are_exported_as_a_cut_list(world, search, hits, tmp_path):
    index = VideoIndex.open(world.index)
    for flags in (["--top", 3], ["--top", 2, "--by-video"]):
        names = [hit["clip_id"] for one in hits("it moves", *flags) for hit in one.get("moments", [one])]
        for name, form in {
            "a.csv": "csv",
            "a.json": "json",
            "a.EDL": "edl",
            "a.otio": "otio",
            "a.ffconcat": "ffmpeg",
        }.items():
            assert title(search("it moves", *flags, "--export", tmp_path / name)) == '"it moves"'
            wanted = cut_list(index.moments(names), form, title='"it moves"')
            assert (tmp_path / name).read_bytes().decode() == wanted
    search("it moves", "--where", "False", "--export", tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_verbose_says_what_encoded_the_sentences(search, own):
    by_index, by_model = "encoded by the index's text side, without torch", "encoded by the model, with torch: "
    assert by_index in search("x", "--verbose").err
    assert f"{by_model}a model is named" in search("x", "--verbose", "--model", own.model).err
    assert search("number 3 moves").err == ""


def test_it_reads_a_pipe_and_answers_in_utf8(mee, world):
    arguments = ("search", world.index, "--top", "1", "--json")
    ran = mee(*arguments, stdin="ein schöner Tag\n雪\n", env={"LC_ALL": "C.UTF-8"})
    assert (ran.returncode, ran.stderr.count("\n")) == (0, 1)
    assert "no content word that the model knows" in ran.stderr
    assert "'ein schöner Tag', '雪'" in ran.stderr
    assert [json.loads(line)["query"] for line in ran.stdout.splitlines()] == ["ein schöner Tag", "雪"]


def test_sentences_that_count_beside_the_first_and_against_it(hits, search):
    one, two, three = (by_clip(hits(sentence, "--top", 99)) for sentence in ("up", "on", "number 3"))
    flags = ("up", "--also", "0.5*on", "--less", "number 3", "--also", "on")
    mixed = {clip: (one[clip] + 1.5 * two[clip] - three[clip]) / 3.5 for clip in one}
    assert by_clip(hits(*flags, "--top", 99)) == pytest.approx(mixed, abs=1e-5)
    assert title(search(*flags)) == '"up" + 0.5 * "on" + "on" - "number 3"'


def test_like_a_clip(hits, search):
    found = hits("--like", "clip1.mp4", "--top", 99)
    assert len(found) == 9
    assert "clip1.mp4" not in by_clip(found)
    assert {hit["query"] for hit in found} == {None}
    assert title(search("--like", "clip1.mp4")) == "clip clip1.mp4"
    assert title(search("up", "--like", "clip1.mp4")) == '"up" + clip clip1.mp4'
    by_sound = hits("--like", "clip1.mp4", "--only", "audio", "--top", 99)
    assert set(by_clip(by_sound)) == {"clip3.mp4", "clip5.mp4", "clip7.mp4"}


def test_available_experts_only_and_weights(hits):
    found = {hit["clip_id"]: hit["experts"] for hit in hits("x", "--top", 99)}
    assert len(found) == 10
    assert set(found["clip9.png"]) <= {"appearance", "face"}
    assert ("audio" in found["clip1.mp4"], "audio" in found["clip2.mp4"]) == (True, False)
    by_sound = by_clip(hits("up", "--only", "audio", "--top", 99))
    assert set(by_sound) == {f"clip{number}.mp4" for number in (1, 3, 5, 7)}
    for hit in hits("up", "--weights", "audio=3", "motion=1", "--top", 99):
        weights = {name: share["weight"] for name, share in hit["experts"].items() if share["weight"]}
        assert weights == pytest.approx(
            {"audio": 0.75, "motion": 0.25} if "audio" in weights else {"motion": 0.25}
        )


def test_where_and_video(hits, search):
    found = by_clip(hits("up", "--where", 'clip_id in ("clip1.mp4", "clip2.mp4") or video.endswith(".png")'))
    assert set(found) == {"clip1.mp4", "clip2.mp4", "clip9.png"}
    assert set(by_clip(hits("up", "--video", "clip2.mp4"))) == {"clip2.mp4"}
    nothing = search("up", "--where", "duration > 1000")
    assert title(nothing) == '"up"'
    assert nothing.err == f'no hits for "up": {NOTHING}\n'
    assert hits("up", "--where", "duration > 1000") == []


def test_least_score(hits, search):
    whole = hits("number 3 moves", "--top", 5)
    least = whole[2]["score"]
    assert hits("number 3 moves", "--top", 5, "--min-score", least) == whole[:3]
    videos = hits("number 3 moves", "--by-video", "--min-score", least)
    assert [moment["clip_id"] for video in videos for moment in video["moments"]] == [
        hit["clip_id"] for hit in whole[:3]
    ]
    for more in ((), ("--json",)):
        said = search("number 3 moves", "--min-score", 5, *more).err
        assert said == 'no hits for "number 3 moves": nothing scores 5 or more\n'
    for fields in ({"said": "x", "min_score": 1.0}, {"sentence": "x", "min_score": float("nan")}):
        with pytest.raises(InputError, match="--min-score is a number"):
            Request(**fields)


def test_what_is_passed_over_and_another_order(hits, search, says):
    whole = hits("number 3 moves", "--top", 99)
    flags = ("number 3 moves", "--offset", 2, "--top", 4)
    assert hits(*flags) == whole[2:6]
    by_date = hits(*flags, "--sort", "date")  # all files are of one time, or nearly
    assert sorted(hit["rank"] for hit in by_date) == [3, 4, 5, 6]
    assert hits(*flags, "--sort", "name") == sorted(whole[2:6], key=lambda hit: hit["video"])
    lengths = [hit["end_s"] - hit["start_s"] for hit in hits(*flags, "--sort", "length")]
    assert lengths == sorted(lengths)
    videos = hits(*flags, "--by-video", "--sort", "name")
    assert [video["rank"] for video in videos] == [hit["rank"] for hit in hits(*flags, "--sort", "name")]
    least = whole[4]["score"]
    assert hits(*flags, "--min-score", least) == whole[2:5]
    assert title(search(*flags, "--sort", "name")) == '"number 3 moves", after the best 2, by name'
    newer = 'file_modified >= "2020" and file_modified.startswith("20")'
    assert len(hits("number 3 moves", "--top", 99, "--where", newer)) == len(whole)
    nothing = [search("number 3 moves", "--offset", 20, *more) for more in ((), ("--by-video", "--json"))]
    nothing += [search("number 3 moves", "--offset", 9, "--min-score", least)]
    nothing += [search("number 3 moves", "--offset", 9, "--where", "duration > 1000")]
    nothing += [search("number 3 moves qqq", "--offset", 20)]  # which is encoded once
    says("\n".join(each.err.strip() for each in nothing))


def test_an_address_of_the_page_is_a_search(hits, search, world, fails, says):
    expected = hits("up", "--less", "number 3", "--only", "motion", "audio", "--top", 5)
    address = "?q=up&less=number+3&only=motion&only=audio&top=5&size=2"
    for place in ("", "http://127.0.0.1:1/", "https://archive.example.org/hits"):  # nothing is fetched
        assert hits(place + address) == expected
        assert hits(place + address, "--top", 2) == expected[:2]
    assert title(search(address)) == '"up" - "number 3"'
    assert [hit["query"] for hit in hits("?what=up", "--top", 1)] == ["?what=up"]
    refused = [fails(main, world.index, "?q=up", "--only", "audio")]
    refused += [fails(main, world.index, "?q=up&closer=x.*")]
    refused += [fails(main, world.index, "?example=x&where=True")]
    says("\n".join(refused))


def test_what_is_not_read_of_sentences_is_said_once_a_run(search, own):
    long = "number 3 moves " * 40
    for model in ((), ("--model", own.model)):
        said = search(*model, stdin=f"{long}\nnumber 3 moves\n{long} up\nxyzzy qqq\nthe of\nit moves qqq").err
        assert said.splitlines() == [
            "note: 2 of 6 sentences are longer than 64 tokens and are cut",
            "note: 1 of 6 sentences have only very common words, so their hits mean little: 'the of'",
            "note: 1 of 6 sentences have no content word that the model knows, so their hits mean little: "
            "'xyzzy qqq'",
            "note: 1 of 6 sentences have words that the model does not know, so what these add means little: "
            "'qqq'",
        ]


def test_by_video(hits, search):
    clips, videos = hits("up", "--top", 4), hits("up", "--top", 4, "--by-video")
    assert [video["video"] for video in videos] == [clip["video"] for clip in clips]  # each video is one clip here
    for rank, video in enumerate(videos, start=1):
        assert set(video) == {"query", "rank", "video", "score", "moments"}
        assert (video["rank"], video["moments"][0]["rank"]) == (rank, 1)
        assert video["score"] == video["moments"][0]["score"]
    assert len(search("up", "--top", 4, "--by-video")[0].strip().splitlines()) == 2 + 4


@pytest.fixture
def long(tmp_path, model_config, make_source):
    """An index of two videos of six clips, ten seconds each."""
    return build(tmp_path, 0, ["a.mp4", "b.mp4"], model_config, lambda names: make_source(names, 6, missing=0.0))


def test_one_moment_after_another(long, prints, says, monkeypatch, tmp_path):
    flags = (long, "a dog", "--then", "rain falls", "--within", "15")
    first, header, *rows = prints(main, *flags, "--export", tmp_path / "a.csv").out.splitlines()[:6]
    assert (first, header.split()[:5]) == ('"a dog", then "rain falls"', ["#", "video", "mean", "moment", "score"])
    found = [json.loads(line) for line in prints(main, *flags, "--json").out.splitlines()]
    assert [row.split()[2] for row in rows[::2]] == [f"{one['score']:.3f}" for one in found]
    for one in found:
        before, after = one["moments"]
        assert one["score"] == pytest.approx((before["score"] + after["score"]) / 2)
        assert 0 <= after["start_s"] - before["end_s"] <= 15
    names = [moment["clip_id"] for one in found for moment in one["moments"]]
    wanted = cut_list(VideoIndex.open(long).moments(names), "csv", title=first)
    assert (tmp_path / "a.csv").read_bytes().decode() == wanted
    monkeypatch.setattr("sys.stdin", io.StringIO("a dog\n"))
    assert (
        prints(main, long, "--then", "rain falls", "--within", "15", "--json").out.splitlines()[0].startswith("{")
    )
    said = [prints(main, *flags, *more).err for more in (["--where", "start_s == 10"], ["--min-score", "9"])]
    says("".join(said))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["up", "--only", "audoi"], "audio"),
        (["up", "--like", "clip11.mp4"], "clip11.mp4"),
        (["--like", ""], "''"),
        (["--like", "None"], "None"),
        (["up", "--video", "clip11"], "clip11"),
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
    ("content", "message"),
    [
        (b"", "no sentence"),
        (b"   ", "no sentence"),
        (b"\t\n", "no sentence"),
        (b"caf\xe9\n", "stdin is not utf-8 text"),
    ],
)
def test_a_stdin_without_sentences(fails, world, monkeypatch, content, message):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    assert fails(main, world.index).startswith(message)


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


def test_an_offset_is_shown_if_a_hit_has_one(table):
    title, header, first, second = table([hit(1, "a#0", 0.4, 0.1), hit(2, "b#1", 0.3)], "motion", "audio")
    assert title == ['"x"']
    assert header == ["#", "video", "moment", "score", "motion", "audio", "offset"]
    assert (first[:5], first[-2:]) == (["1", "a", "0:00.0-0:10.0", "0.400", "-"], ["0.50", "-0.10"])
    assert second[-2:] == ["0.30", "0.00"]
    assert "offset" not in table([hit(1, "a#0", 0.4)], "audio")[1]
    assert table([hit(1, "a#0", -0.0)], "audio")[-1][-1] == "0.00"
    assert table([], "audio")[0] == ['"x"']


def test_the_name_of_a_video_is_beside_its_best_moment(table):
    best = VideoHits(1, "a", 0.4, (hit(1, "a#3", 0.4), hit(2, "a#0", 0.2)))
    _, header, *rows = table([best, VideoHits(2, "b", 0.3, (hit(1, "b#1", 0.3),))], "audio")
    assert header == ["#", "video", "moment", "score", "audio"]
    assert [row[0] for row in rows] == ["1", "0:00.0-0:10.0", "2"]
    assert [row[2] for row in rows] == ["0:30.0-0:40.0", rows[1][2], "0:10.0-0:20.0"]
