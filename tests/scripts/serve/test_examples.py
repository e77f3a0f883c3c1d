"""POST /api/examples: a file is given, clips like it are found, and nothing of it stays but its vectors."""

import asyncio
import shutil
import threading

import httpx
import pytest

from index import Searcher
from scripts.example import ExampleMaker, uploads
from scripts.serve import security
from scripts.serve.asked import Asked, chips
from tests.scripts.serve.serve_client import TOKEN, client_of

PATH = "/api/examples"
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture
def clean(tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    assert [*place.iterdir()] == []


@pytest.fixture
def ask(world, clean):
    with client_of(Searcher.load(world.index)) as client:
        yield client


def names(answer):
    return [hit["clip_id"] for hit in answer.json()["hits"]]


def test_a_file_is_given_and_clips_like_it_are_found(ask, world):
    sent = (world.videos / "clip1.mp4").read_bytes()
    made = ask(PATH, "POST", content=sent, params={"name": "../my <walk>.mp4"}, headers=TEXT).json()
    key = made.pop("example")
    assert made == {"streams": ["appearance", "motion", "audio"], "missing": ["face"], "notes": []}
    found = ask("/api/search", params={"example": key})
    assert names(found)[0] == "clip1.mp4"
    assert found.json()["query"] == {"example": key}
    assert names(ask("/api/search", "POST", json={"example": key, "where": 'video == "clip3.mp4"'})) == [
        "clip3.mp4"
    ]
    mixed = ask("/api/search", params={"example": key, "q": "number 3 moves"}).json()["hits"]
    assert mixed[0]["score"] < 1
    page = ask("/", params={"example": key})
    assert page.status_code == 200
    assert "like the file" in page.text
    assert "..-my -walk-.mp4</bdi>" in page.text
    assert ask(PATH, "POST", content=sent, params={"name": "../my <walk>.mp4"}).json()["example"] == key


@pytest.mark.parametrize(
    ("name", "ending"), [("clip9.png", ""), ("photo", ".jpg"), ("photo", ".webp"), ("photo", ".gif")]
)
def test_a_picture_is_one_by_its_content(ask, world, tmp_path, name, ending):
    path = world.videos / name
    if ending:
        from PIL import Image

        path = tmp_path / f"{name}{ending}"
        Image.open(world.videos / "clip9.png").convert("RGB").save(path, quality=95)
    made = ask(PATH, "POST", content=path.read_bytes()).json()
    assert made["streams"] == ["appearance"]
    assert names(ask("/api/search", params={"example": made["example"], "top": 1})) == ["clip9.png"]


def test_what_is_no_example_is_told(ask, world, monkeypatch, says):
    monkeypatch.setattr(security, "FILE", 100_000)
    bad = {"text": b"no film\n" * 99, "empty": b"", "large": b"x" * 100_001, "playlist": b"#EXTM3U\n/etc/passwd\n"}
    found = {}
    for name, content in bad.items():
        answer = ask(PATH, "POST", content=content, params={"name": f"{name}.mp4"})
        found[name] = (answer.status_code, answer.json()["error"])
    says("\n".join(map(str, found.values())))
    unknown = ask("/api/search", params={"example": "gone.mp4~12345678"})
    assert (unknown.status_code, unknown.json()) == (
        400,
        {"error": "the example is not kept any more; give the file again"},
    )


def test_who_may_give_one(world, clean):
    sent = {"content": (world.videos / "clip9.png").read_bytes()}
    with client_of(Searcher.load(world.index), token=TOKEN) as closed:
        assert closed(PATH, "POST", **sent).status_code == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        foreign = {**bearer, "Origin": "http://elsewhere.example"}
        assert closed(PATH, "POST", **sent, headers=foreign).status_code == 403
        assert closed(PATH, "POST", **sent, headers=bearer).status_code == 200


def test_the_oldest_is_forgotten(ask, world, monkeypatch):
    monkeypatch.setattr(uploads, "KEPT", 2)
    sent = (world.videos / "clip9.png").read_bytes()
    keys = [ask(PATH, "POST", content=sent, params={"name": f"{n}.png"}).json()["example"] for n in range(3)]
    answers = [ask("/api/search", params={"example": key}).status_code for key in keys]
    assert answers == [400, 200, 200]


def test_searches_go_on_meanwhile_and_too_many_files_are_refused(ask, world, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    make = ExampleMaker.make

    def slow(*given):
        begun.set()
        assert go_on.wait(60)
        return make(*given)

    monkeypatch.setattr(ExampleMaker, "make", slow)

    async def both():
        sent = {"content": (world.videos / "clip9.png").read_bytes()}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(ask.app), base_url="http://localhost"
        ) as client:
            giving = [asyncio.create_task(client.post(PATH, **sent)) for _ in range(security.AT_ONCE)]
            await asyncio.to_thread(begun.wait, 60)
            searched, refused = await client.get("/api/search?q=thing"), await client.post(PATH, **sent)
            go_on.set()
            return searched.status_code, refused, [(await each).status_code for each in giving]

    searched, refused, given = ask.runner.run(both())
    assert (searched, refused.status_code, given) == (200, 503, [200] * security.AT_ONCE)
    assert refused.headers["retry-after"] == "10"


def test_who_goes_away_ends_the_work_and_so_does_the_server(ask, world, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def endless(_, path, name, unwanted):
        begun.set()
        assert unwanted.wait(60)
        ended.set()

    monkeypatch.setattr(ExampleMaker, "make", endless)

    async def give(stop):
        made = asyncio.create_task(ask.app.state.uploads.make(None, b"x", ""))
        await asyncio.to_thread(begun.wait, 60)
        await stop(made)
        assert await asyncio.to_thread(ended.wait, 60)

    async def cancel(made):
        made.cancel()

    ask.runner.run(give(cancel))
    begun.clear(), ended.clear()
    ask.runner.run(give(lambda made: ask.app.state.uploads.close()))


def test_without_the_store_it_is_not_offered(grown, tmp_path, clean):
    file = (grown.videos / "clip9.png").read_bytes()
    control = 'id="example"'
    with client_of(Searcher.load(grown.index)) as client:
        assert control in client("/").text
        assert control in client("/", params={"q": "thing"}).text
    shutil.move(grown.store, tmp_path / "elsewhere")
    with client_of(Searcher.load(grown.index)) as client:
        assert control not in client("/").text
        answer = client(PATH, "POST", content=file)
        assert answer.status_code == 404
        assert "feature store" in answer.json()["error"]


def test_a_chip_says_the_name():
    (chip,) = chips(Asked.of([("example", "a~b.jpg~12345678")]))
    assert (chip.kind, chip.text, chip.href) == ("like the file", "a~b.jpg", "/")
