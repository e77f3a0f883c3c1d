"""Hits and videos as tables."""

from index.hit import Hit, Share, VideoHits
from scripts.search import print_hits, print_videos


def hit(rank, clip, score, offset=0.0):
    video, _, number = clip.partition("#")
    start = 10.0 * int(number)
    experts = {"audio": Share(0.5, 2 * (score + offset))}
    return Hit(rank, clip, video, start, start + 10, score, experts, offset)


def lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_an_offset_is_shown_where_there_is_one(capsys):
    print_hits('"x"', [hit(1, "a#0", 0.4, 0.1), hit(2, "b#1", 0.3)], ["motion", "audio"])
    title, header, first, second = lines(capsys)
    assert title == ['"x"']
    assert header == ["#", "video", "moment", "score", "motion", "audio", "offset"]
    assert (first[:5], first[-2:]) == (["1", "a", "0:00.0-0:10.0", "0.400", "-"], ["0.50", "-0.10"])
    assert second[-2:] == ["0.30", "0.00"]
    print_hits('"x"', [hit(1, "a#0", 0.4)], ["audio"])
    assert "offset" not in lines(capsys)[1]


def test_a_video_stands_beside_its_best_moment(capsys):
    videos = [
        VideoHits(1, "a", (hit(1, "a#3", 0.4), hit(2, "a#0", 0.2))),
        VideoHits(2, "b", (hit(1, "b#1", 0.3),)),
    ]
    print_videos('"x"', videos, ["audio"])
    _, header, *rows = lines(capsys)
    assert header == ["#", "video", "moment", "score", "audio"]
    assert [row[0] for row in rows] == ["1", "0:00.0-0:10.0", "2"]
    assert [row[2] for row in rows] == ["0:30.0-0:40.0", rows[1][2], "0:10.0-0:20.0"]


def test_nothing_and_nothing_but_zeros(capsys):
    print_hits('"x"', [], ["audio"])
    print_videos('"x"', [], ["audio"])
    print_hits('"x"', [hit(1, "a#0", -0.0)], ["audio"])
    assert lines(capsys)[-1][-1] == "0.00"
