"""A library that is read while it is served: what the page and the API say of it, from the first second on."""

import asyncio
import shutil
from urllib.parse import parse_qsl, urlsplit

import pytest

from index import IndexWriter, Request, Searcher
from scripts.serve import Progress
from scripts.serve import service as service_module
from scripts.serve.asked import key_of
from scripts.serve.page import FILES, SHOWN
from scripts.serve.rendering import left
from scripts.serve.service import Busy, Service
from tests.scripts.serve.serve_client import client_of
from tests.scripts.serve.serve_html import Document

HOSTILE = "<b>x</b>\u202e.mp4"
STATES = ("done", "reading", "waiting", "problem", "copying", "gone")


def file(video, state="waiting", **more):
    return {"video": video, "state": state, **more}


@pytest.fixture
def progress():
    return Progress("videos/")


@pytest.fixture
def world(directory, progress, monkeypatch, tmp_path):
    """A client of a library whose index is aside until `come` is called; and what is known of the library."""
    monkeypatch.setattr(service_module, "AGAIN_S", 0.0)
    aside = directory.rename(directory.with_name("aside"))
    with client_of(None, reload=lambda: Searcher.load(directory), progress=progress, videos=tmp_path) as client:
        client.come = lambda: shutil.copytree(aside, directory)
        yield client


def look(client, path="/", status=200):
    answer = client(path, headers={"accept": "text/html"})
    assert answer.status_code == status
    return Document(answer.text).top


def names(document):
    return [row.one("bdi").text for row in document.all("li", "file")]


def test_before_anything_is_indexed_the_page_is_up_and_files_are_found_by_name(world, progress, says):
    empty = look(world).one("section", id="progress").text.split()
    progress.apply({"files": [file(f"day{n}/a dog.mp4") for n in range(16)]})
    page = look(world)
    says("\n".join(map(" ".join, (empty, page.one("section", id="progress").text.split()))))
    assert page.one("p", id="news", role="status").text == ""
    assert len(page.all("li", "empty")) == SHOWN
    answer = world("/?q=DAY1+dog")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    found = Document(answer.text).top
    assert "searched for yet" in found.one("p", id="status").text
    link = found.one("section", id="results").one("a")
    assert (link.text, link.attrs["href"]) == ("7 files", "/files?name=DAY1+dog")
    assert len(names(look(world, link.attrs["href"]))) == 7
    for path in ("/api/search?q=dog", "/api/info", f"/api/clips/{key_of('v00.mp4')}/thumb"):
        answer = world(path)
        assert answer.status_code == 503
        assert "searched for yet" in answer.json()["error"]
        assert int(answer.headers["retry-after"]) > 0
    assert "mee_index_clips 0" in world("/metrics").text


def test_the_page_finds_the_index_when_it_comes(world, progress):
    progress.apply({"status": {"step": "first look", "share": 0.424, "left_s": 130.0}, "files": [file("v00.mp4")]})
    assert look(world).one("a", id="reading").attrs["data-clips"] == "0"
    world.come()
    parts = look(world, "/progress?cards=3")
    assert parts.one("a", id="reading").attrs["data-clips"] == "12"
    assert parts.one("a", id="reading").text == "reading 42 %"
    assert "about 2 minutes left" in parts.one("section", id="progress").text
    assert len(parts.all("article", "hit")) == 12
    assert not look(world, f"/progress?cards={SHOWN}").all("article")
    page = look(world)
    assert len(page.all("article")) + len(page.all("li", "empty")) == SHOWN
    assert len(look(world, "/?q=a+dog").all("article")) == 12
    for path in ("/files", f"/clip/{key_of('v00.mp4')}", "/docs", "/?q=a+dog"):
        assert look(world, path).one("a", id="reading").text == "reading 42 %"
    assert look(world, "/nowhere", 404).one("a", id="reading")
    assert world("/healthz").json() == {"ok": True}
    progress.apply({"status": {"done": True, "clips": 12, "share": 1.0}})
    done = look(world)
    assert (done.one("a", id="reading").text, len(done.all("li", "empty"))) == ("1 file", 0)


def test_files_are_listed_with_their_state_and_what_to_do(world, progress, says):
    files = [file(f"v{n:02d}.mp4", state, streams=["appearance"]) for n, state in enumerate(STATES)]
    files[3] |= {"streams": [], "why": "the file ends too early", "advice": "copy it again"}
    files[5] |= {"streams": []}
    progress.apply({"files": [*files, file(HOSTILE)]})
    world.come()
    page = look(world, "/files")
    says("\n".join(" ".join(row.text.split()) for row in page.all("li", "file")))
    assert names(page)[0] == "v03.mp4"  # what somebody can do something about
    links = {link.attrs["href"] for row in page.all("li", "file") for link in row.all("a")}
    assert links == {f"/?video=v{n:02d}.mp4" for n in (0, 1, 2, 4)}
    for number, state in enumerate(STATES):
        link = next(a for a in page.one("ul", "counts").all("a") if a.attrs["href"].endswith(f"={state}"))
        assert f"v{number:02d}.mp4" in names(look(world, link.attrs["href"]))
        assert link.text.split()[0] == ("2" if state == "waiting" else "1")
    clips = look(world, "/?video=v01.mp4")
    assert [each.attrs["data-key"] for each in clips.all("article", "hit")] == [key_of("v01.mp4")]
    assert clips.one("input", name="video").attrs["value"] == "v01.mp4"  # a search from here is in this video
    assert "nothing.mp4" in look(world, "/?video=nothing.mp4", 404).all("p", "problem")[-1].text
    progress.apply({"dropped": ["v00.mp4"]})
    assert "v00.mp4" not in names(look(world, "/files"))


@pytest.mark.parametrize("query", ["state=odd", "page=0", "page=x", "page=99999999"])
def test_a_list_that_cannot_be_is_a_sentence(world, query):
    for path in ("/files", "/progress", "/api/library"):
        assert look(world, f"{path}?files=1&{query}", 400) if path != "/api/library" else world(f"{path}?{query}")


def test_ten_thousand_files_come_a_hundred_at_a_time(world, progress):
    progress.apply({"files": [file(f"{n:05d}.mp4") for n in range(10_000)]})
    seen, path, number = [], "/files", 0
    while path:
        page = look(world, path)
        assert len(page.inside) < 700
        seen += names(page)
        number += 1
        assert world(f"/api/library?page={number}").json()["files"][-1]["video"] == seen[-1]
        path = next((link.attrs["href"] for link in page.all("a", rel="next") if number < 3), None)
    assert seen == [f"{n:05d}.mp4" for n in range(3 * FILES)]
    assert dict(parse_qsl(urlsplit(link_to(page, "prev")).query)) == {"page": "2"}
    assert names(look(world, "/files?name=99+98.MP4&page=2")) == []


def link_to(page, rel):
    return page.one("a", rel=rel).attrs["href"]


def test_the_api_says_the_same(world, progress):
    progress.apply(
        {"files": [file("a.mp4", "done", streams=["audio"]), file("b.mp4", "problem", why="w", advice="d")]}
    )
    progress.apply({"status": {"step": "sound", "share": 0.5, "left_s": 9.0, "clips": 3, "note": "offline"}})
    answer = world("/api/library?name=B&state=problem").json()
    assert answer.pop("status") == {"step": "sound", "share": 0.5, "left_s": 9.0, "clips": 3, "done": False} | {
        "problem": "",
        "note": "offline",
    }
    assert answer.pop("files") == [file("b.mp4", "problem", streams=[], why="w", advice="d")]
    assert answer == {"folder": "videos/", "counts": {"done": 1, "problem": 1}, "count": 1, "page": 1, "pages": 1}
    assert "/api/library" in world("/api/openapi.json").json()["paths"]


def test_a_problem_is_an_alert_in_the_place_of_the_note(world, progress):
    for problem, note in (("", "no network: the offline preset"), ("connect the drive", "offline")):
        progress.apply({"status": {"problem": problem, "note": note}})
        block = look(world).one("section", id="progress")
        assert block.one("p", role="alert").text == problem
        assert (note in block.one("p", "note").text) == (not problem)


def test_what_is_played_says_what_is_wrong_with_its_file(world, progress, tmp_path):
    world.come()
    answer = look(world, f"/clip/{key_of('v00.mp4')}")
    assert "put it back" in answer.one("p", "problem").text
    world.app.state.media.videos = tmp_path / "unplugged"
    assert "drive" in look(world, f"/clip/{key_of('v00.mp4')}/part").one("p", "problem").text


def test_a_stream_that_is_not_read_yet_is_not_said_to_be_missing(world, progress):
    world.come()
    for state, word in (("reading", "not read yet"), ("done", "no ")):
        files = [file(f"v{n:02d}.mp4", state, streams=["appearance"]) for n in range(12)]
        progress.apply({"files": files})
        said = {each.text for each in look(world, "/?q=a+dog").all("dd", "absent")} - {"no appearance"}
        assert said
        assert all(each.startswith(word) for each in said), said
        assert word in look(world, f"/clip/{key_of('v01.mp4')}").one("dl", "facts").text


def test_plain_serve_knows_nothing_of_it(searcher):
    with client_of(searcher) as client:
        assert not look(client).all(id="live")
        for path in ("/files", "/progress", "/api/library"):
            assert "mee open" in client(path).json()["error"]
            assert client(path).status_code == 404


# ---- an index that is made again


def test_another_index_is_opened_beside_the_searches_and_what_was_handed_out_stays(searcher, directory, two):
    """A search meanwhile is answered from the index before; pages, keys and the next searches are right."""

    async def use():
        held = asyncio.Event()
        loop, go = asyncio.get_running_loop(), __import__("threading").Event()

        def reload():
            loop.call_soon_threadsafe(held.set)
            assert go.wait(20)
            return Searcher.load(directory)

        async with Service(searcher, reload=reload) as service:
            wanted = Request(sentence="a dog", top=12)
            before = await service.search(wanted, size=5)
            shutil.rmtree(directory)
            shutil.copytree(two[1], directory)
            for _ in range(3):
                page = await service.search(wanted, size=5)
                assert (page.found, page.notes) == (before.found, [])
            await held.wait()
            assert service.health()["ok"]
            go.set()
            while (page := await service.search(wanted, size=5)).found == before.found:
                await asyncio.sleep(0.01)
            assert {hit.clip_id[0] for hit in page.found} == {"w"}
            assert {hit.clip_id[0] for hit in (await service.page(before.next)).found} == {"v"}
            with IndexWriter.open(directory) as writer:
                writer.remove([page.found[0].clip_id])
            assert (await service.search(wanted, size=12)).count == page.count - 1

    asyncio.run(use())


def test_without_an_index_it_is_looked_for_now_and_then(monkeypatch):
    tries = []

    async def use():
        async with Service(None, reload=lambda: tries.append(1) or 1 / 0) as service:
            for _ in range(4):
                with pytest.raises(Busy, match="yet"):
                    await service.search(Request(sentence="a dog"), size=3)
                with pytest.raises(Busy, match="yet"):
                    await service.run(len)
            assert "yet" in service.health()["why"]

    asyncio.run(use())
    assert len(tries) == 1


def test_time_that_is_left():
    assert [left(seconds) for seconds in (0, 54, 60, 170, 5399, 7300)] == [
        *["less than a minute left"] * 2, "about 1 minute left", "about 3 minutes left", "about 2 hours left",
        "about 2 hours left",
    ]  # fmt: skip
