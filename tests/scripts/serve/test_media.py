"""Routes of a clip's media: ranges, containment, what plays how, and clients that leave."""

import asyncio
import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pyarrow as pa
import pytest
import uvicorn
from fastapi import FastAPI

from features.files import open_inside
from scripts.serve import media
from scripts.serve.app import Settings
from scripts.serve.asked import key_of
from scripts.serve.metrics import Metrics
from tests.scripts.serve import media_work

CONTENT = bytes(range(256)) * 40
SIZE = len(CONTENT)


class Clips:
    """In the place of an index's snapshot: one clip, from 2 to 4 s, of each video."""

    def __init__(self, videos, **columns):
        rows = [{"clip_id": f"{v}#t=2,4", "video": v, "start_s": 2.0, "end_s": 4.0} | columns for v in videos]
        self.segments = [SimpleNamespace(table=SimpleNamespace(arrow=pa.Table.from_pylist(rows)))]
        self.ids = [row["clip_id"] for row in rows]

    def check(self):
        pass

    def find(self, clip_id):
        return (0, self.ids.index(clip_id)) if clip_id in self.ids else None


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    (folder / "more").mkdir(parents=True)
    for name in (
        "more/a.mp4",
        "b.mkv",
        "sound.mp3",
        "hostile.mp4",
        "page.mp4",
        "slow.mkv",
        "crash.mp4",
        "still.jpg",
    ):
        (folder / name).write_bytes(CONTENT)
    return folder


@pytest.fixture
def app(videos, tmp_path, monkeypatch):
    """app("a.mp4", ...): an app over a clip of each."""
    for name in ("playable", "thumbnail", "write_moment"):
        monkeypatch.setattr(media, name, getattr(media_work, name))

    def make(*names, root=videos, **columns):
        made = FastAPI(lifespan=media.lifespan)
        made.include_router(media.router)
        searcher = SimpleNamespace(video_index=SimpleNamespace(snapshot=Clips(names, **columns)))
        made.state.service = SimpleNamespace(need=lambda: searcher, metrics=Metrics())
        made.state.settings = Settings(videos=root, cache=tmp_path / "cache", cache_bytes=1 << 20)
        return made

    return make


def path_of(video, part):
    return f"/api/clips/{key_of(f'{video}#t=2,4')}/{part}"


def answers(app, work):
    """What work(client) returns, with the app in this process."""

    async def run():
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await work(client)

    return asyncio.run(run())


RANGES = [  # asked, status, first, last
    ("bytes=0-9", 206, 0, 9),
    ("bytes=10200-", 206, 10200, SIZE - 1),
    ("bytes=-5", 206, SIZE - 5, SIZE - 1),
    (f"bytes=-{SIZE * 9}", 206, 0, SIZE - 1),
    (f"bytes=5-{SIZE * 9}", 206, 5, SIZE - 1),
    (f"bytes={SIZE - 1}-{SIZE - 1}", 206, SIZE - 1, SIZE - 1),
    (f"bytes={SIZE}-", 416, None, None),
    ("bytes=-0", 416, None, None),
    ("bytes=9-3", 200, 0, SIZE - 1),
    ("bytes=0-1,5-6", 200, 0, SIZE - 1),
    ("bytes=-", 200, 0, SIZE - 1),
    ("bytes=a-b", 200, 0, SIZE - 1),
    ("bytes=--5", 200, 0, SIZE - 1),
    ("bytes=٣-٤".encode(), 200, 0, SIZE - 1),
    ("lines=0-1", 200, 0, SIZE - 1),
    ("bytes=" + "9" * 5000 + "-", 200, 0, SIZE - 1),
]


def test_ranges_of_a_file(app):
    async def ask(client):
        at = path_of("more/a.mp4", "media")
        for asked, status, first, last in RANGES:
            for method in ("GET", "HEAD"):
                got = await client.request(method, at, headers={"Range": asked})
                assert got.status_code == status, asked
                if status == 416:
                    assert got.headers["content-range"] == f"bytes */{SIZE}"
                    continue
                part = CONTENT[first : last + 1]
                assert got.content == (part if method == "GET" else b"")
                assert int(got.headers["content-length"]) == len(part)
                assert got.headers.get("content-range") == (
                    f"bytes {first}-{last}/{SIZE}" if status == 206 else None
                )
        return got, at, await client.get(at)

    async def conditions(client):
        _, at, whole = await ask(client)
        tag, changed = whole.headers["etag"], whole.headers["last-modified"]
        expected = [
            ({"If-None-Match": tag}, 304),
            ({"If-None-Match": f'"x", W/{tag}'}, 304),
            ({"If-None-Match": "*"}, 304),
        ]
        expected += [
            ({"If-None-Match": '"x"', "If-Modified-Since": changed}, 200),
            ({"If-Modified-Since": changed}, 304),
        ]
        part = {"Range": "bytes=0-1"}
        expected += [({"If-Range": tag, **part}, 206), ({"If-Range": changed, **part}, 206)]
        expected += [({"If-Range": '"x"', **part}, 200), ({"If-Range": f"W/{tag}", **part}, 200)]
        expected += [({"If-Range": '"x"', "Range": f"bytes={SIZE}-"}, 200)]
        for headers, status in expected:
            got = await client.get(at, headers=headers)
            assert (got.status_code, got.content) == (status, {304: b"", 206: CONTENT[:2], 200: CONTENT}[status])
        assert whole.headers["content-type"] == "video/mp4"
        assert whole.headers["accept-ranges"] == "bytes"
        assert whole.headers["x-content-type-options"] == "nosniff"
        html = await client.get(path_of("page.mp4", "media"))
        assert (html.status_code, html.headers["content-type"]) == (200, "application/octet-stream")

    answers(app("more/a.mp4", "page.mp4"), conditions)


OUTSIDE = [
    "../secret.mp4",
    "more/../../secret.mp4",
    "/etc/passwd",
    "",
    ".",
    "more",
    "a\0.mp4",
    "link.mp4",
    "up/secret.mp4",
]
OUTSIDE += ["pipe.mp4", "gone.mp4", "x" * 300, "more//../b.mkv", "to-device.mp4", "circle.mp4"]


def test_only_files_inside_the_library_are_reached(app, videos, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"<hidden>")
    (videos / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (videos / "up").symlink_to(tmp_path)
    (videos / "to-device.mp4").symlink_to("/dev/zero")
    (videos / "circle.mp4").symlink_to("circle.mp4")
    (videos / "inside.mp4").symlink_to("more/a.mp4")
    os.mkfifo(videos / "pipe.mp4")

    async def ask(client):
        for video in OUTSIDE:
            for part in ("media", "thumb", "strip", "moment.mp4"):
                got = await client.get(path_of(video, part))
                assert (got.status_code, b"<hidden>" in got.content) == (404, False), video
            play = await media.play_of(made, key_of(f"{video}#t=2,4"))
            assert play["kind"] == "none"
        for key in (
            "%2e%2e",
            "..%2f..%2fetc%2fpasswd",
            "%00",
            key_of("\ud800"),
            "A" * 9000,
            key_of("other#t=2,4"),
        ):
            assert (await client.get(f"/api/clips/{key}/media")).status_code == 404
        assert (await client.get(path_of("inside.mp4", "media"))).content == CONTENT

    made = app(*OUTSIDE, "inside.mp4")
    answers(made, ask)


def test_a_link_that_is_turned_between_check_and_use_leads_nowhere(videos, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"<hidden>")
    flip, stop, seen = videos / "flip.mp4", threading.Event(), set()

    def turn():
        number = 0
        while not stop.is_set():
            number += 1
            target = tmp_path / "secret.mp4" if number % 2 else videos / "more" / "a.mp4"
            (videos / "next").symlink_to(target)
            (videos / "next").rename(flip)

    flip.symlink_to(videos / "more" / "a.mp4")
    turning = threading.Thread(target=turn)
    turning.start()
    try:
        for _ in range(3000):
            try:
                with open_inside(videos, "flip.mp4") as file:
                    seen.add(file.read(6))
            except ValueError:
                seen.add(None)
    finally:
        stop.set()
        turning.join()
    assert seen == {CONTENT[:6], None}


def test_how_clips_are_played(app, says, videos):
    async def ask(client):
        found = {v: await media.play_of(made, key_of(f"{v}#t=2,4")) for v in ("more/a.mp4", "b.mkv", "sound.mp3")}
        a, b, sound = found.values()
        assert a["url"] == path_of("more/a.mp4", "media") + "#t=2.000,4.000"
        assert b["url"] == path_of("b.mkv", "moment.mp4")
        assert (b["direct"], b["start_s"], b["end_s"], b["why"]) == (False, 0.0, 2.0, "its video codec is hevc")
        assert sound["url"].endswith("#t=2.500,4.500")
        assert (sound["kind"], sound["mime"]) == ("audio", "audio/mpeg")
        whys = [
            (await media.play_of(made, key_of(f"{v}#t=2,4")))["why"] for v in ("hostile.mp4", "gone.mp4", "../x")
        ]
        changed = app("b.mkv", file_bytes=SIZE + 1)
        closed = app("b.mkv", root=None)
        whys += [(await media.play_of(each, key_of("b.mkv#t=2,4")))["why"] for each in (changed, closed)]
        refused = [path_of("b.mkv", "media"), path_of("still.jpg", "moment.mp4")]
        whys += [(await client.get(each)).json()["detail"] for each in refused]
        says("\n".join(whys))

    made = app("more/a.mp4", "b.mkv", "sound.mp3", "hostile.mp4", "gone.mp4", "../x", "still.jpg")
    answers(made, ask)


def test_what_was_made_is_kept_and_a_changed_file_is_made_anew(app, videos):
    async def ask(client):
        at = path_of("b.mkv", "moment.mp4")
        together = await asyncio.gather(*(client.get(at) for _ in range(10)))
        assert {each.content for each in together} == {b"moment" * 100}
        assert (await client.get(at, headers={"Range": "bytes=6-11"})).content == b"moment"
        assert (videos / "counted").read_text() == "x"
        tag = together[0].headers["etag"]
        assert (await client.get(at, headers={"If-None-Match": tag})).status_code == 304
        thumb = await client.get(path_of("b.mkv", "thumb"))
        assert thumb.content == CONTENT[:10] + b".mkv 2.0 4.0"
        assert thumb.headers["content-type"] == "image/jpeg"
        assert thumb.headers["cache-control"] == "private, max-age=3600"
        (videos / "b.mkv").write_bytes(CONTENT[::-1])
        assert (await client.get(path_of("b.mkv", "thumb"))).content.startswith(CONTENT[::-1][:10])
        assert (await client.get(at)).headers["etag"] != tag
        assert (videos / "counted").read_text() == "xx"
        crashed = [await client.get(path_of("crash.mp4", "thumb")) for _ in range(2)]
        assert [each.status_code for each in crashed] == [404, 404]
        assert (await client.get(path_of("sound.mp3", "thumb"))).status_code == 204
        assert made.state.media.playable == {}  # nothing is probed for a picture
        counts = made.state.service.metrics.text()
        for made_so in (("write_moment", "done"), ("thumbnail", "done"), ("thumbnail", "undone")):
            assert 'mee_conversions_total{{kind="{}",outcome="{}"}} 2\n'.format(*made_so) in counts

    made = app("b.mkv", "sound.mp3", "crash.mp4")
    answers(made, ask)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_client_that_leaves_frees_the_worker_that_converts_for_it(app, videos, tmp_path):
    made = app("slow.mkv", "b.mkv")
    server = uvicorn.Server(uvicorn.Config(made, port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        place = server.servers[0].sockets[0].getsockname()
        slow, begun = path_of("slow.mkv", "moment.mp4"), videos / "begun"
        for _ in range(3):  # there are two workers
            with socket.create_connection(place) as client:
                client.sendall(f"GET {slow} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                wait_for(lambda: begun.exists() and begun.read_text())
            pid = int(begun.read_text())
            wait_for(lambda pid=pid: ended(pid))
            begun.unlink()
        got = httpx.get(f"http://127.0.0.1:{place[1]}{path_of('b.mkv', 'moment.mp4')}", timeout=60)
        assert got.content == b"moment" * 100
        assert list((tmp_path / "cache").glob(".making-*")) == []
        (worker,) = (each for calls in made.state.media.moments._all for each in calls._pool._workers)
        pid = worker.process.pid
        assert not ended(pid)
    finally:
        server.should_exit = True
        thread.join()
    assert ended(pid)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(pid):
    """Whether a process has ended, also if nobody has waited for it yet."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
