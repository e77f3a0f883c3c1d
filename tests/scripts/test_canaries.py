"""Commands on hostile stores, models, indexes, imports and results: nothing outside of these is opened or changed.

The canaries are a copy of the whole world beside what is attacked, so that a reader that follows a name or a link
out of its folder would succeed. The kernel reports each opening of them (inotify), whichever process or library
does it; afterwards their names, bytes and times are those of before. A pipe in the place of a file is not opened.
"""

import asyncio
import ctypes
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
from contextlib import contextmanager
from itertools import product

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from features.store.manifest import checksummed
from index.storage.manifest import _checksum
from scripts.cli import COMMANDS, main
from scripts.serve.asked import key_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify")

OPENED, EVENTS = 0x20, 0xFEE  # all but reading and closing what was only read, which needs opening
WRITER = """
import os, sys, time
while True:
    for path in sys.argv[1:]:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads it
            pass
    time.sleep(0.02)
"""
KEPT = "cache/mee/libraries/kept"
FAST = ("store list store", "store verify store --repair", "gallery list index", "explain model word")
FAST += ("import new a=evil.h5", "import new a=arrays", "report result.json", "library list")


async def ask_all(app, *_):
    """In the place of a server that listens: every route once, or each clip, when all is read."""
    from httpx import ASGITransport, AsyncClient

    progress = app.state.settings.progress
    while progress is not None and not progress.status.done:
        await asyncio.sleep(0.1)
    parts = ("", "/thumb", "/strip", "/media", "/moment.mp4")
    paths = [f"/api/clips/{key_of(name)}{part}" for name in ("clip1.mp4", "clip8.mp4") for part in parts]
    paths += ["/?q=word", f"/clip/{key_of('clip8.mp4')}", "/api/search?q=word", "/api/facets", "/api/info"]
    async with app.router.lifespan_context(app), AsyncClient(transport=ASGITransport(app)) as client:
        answers = [await client.get(f"http://localhost{path}", timeout=60) for path in paths]
    assert {answer.status_code for answer in answers} <= {200, 400, 404, 503}
    return 0


class Canaries:
    """A folder, and pipes, that nobody may open."""

    def __init__(self, folder, pipes=()):
        self.folder = folder
        self.before = self.seen()
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.handle = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.handle >= 0
        self.watched = {}
        for path in (folder, *folder.rglob("*"), *pipes):
            events = OPENED if path in pipes else EVENTS  # a pipe may be deleted, as by --repair
            watch = self.libc.inotify_add_watch(self.handle, os.fsencode(path), events)
            assert watch >= 0, os.strerror(ctypes.get_errno())
            self.watched[watch] = path

    def seen(self):
        paths = sorted(self.folder.rglob("*"))
        return [(path, path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in paths]

    def opened(self):
        """Which were opened, changed or linked since the last call."""
        found = set()
        while True:
            try:
                data = os.read(self.handle, 1 << 16)
            except BlockingIOError:
                return {os.path.relpath(path, self.folder) for path in found}
            at = 0
            while at < len(data):
                watch, what, _, length = struct.unpack_from("iIII", data, at)
                if what & EVENTS:  # else the watch of what was deleted has ended
                    found.add(self.watched[watch] / data[at + 16 : at + 16 + length].rstrip(b"\0").decode())
                at += 16 + length


@contextmanager
def writer_of(pipes):
    """Another process that ends the waiting of whoever opens a pipe to read; the reader may hold Python's lock."""
    command = [sys.executable, "-S", "-c", WRITER, *map(str, pipes)]
    writer = subprocess.Popen(command) if pipes else None
    try:
        yield
    finally:
        if writer:
            writer.kill()
            writer.wait()


@pytest.fixture(scope="module")
def pattern(world, tmp_path_factory):
    """What each test gets a copy of: the world, with what else there is to attack."""
    place = tmp_path_factory.mktemp("pattern")
    for name in ("videos", "store", "model", "index"):
        shutil.copytree(getattr(world, name), place / name)
    shutil.copy(world.captions, place / "captions.csv")
    line = f"evaluate {place}/store {place}/captions.csv {place}/model --result {place}/result.json"
    assert main(shlex.split(line)) == 0
    shutil.copytree(world.index, place / KEPT / "index")
    (place / KEPT / "library.json").write_text('{"format": 1, "folder": "videos"}')
    (place / KEPT / "lock").touch()
    origin(place, "store")
    np.save(place / "a.npy", np.ones((2, 3), np.float32))
    (place / "ids.txt").write_text("x\ny\n")
    (place / "arrays").mkdir()
    for name in "xy":
        np.save(place / "arrays" / f"{name}.npy", np.ones((1, 3), np.float32))
    with h5py.File(place / "inner.h5", "w") as file:
        file["x"] = file["y"] = np.ones((1, 3), np.float32)
    return place


@pytest.fixture
def place(pattern, tmp_path):
    """A folder with a copy of everything, and canaries beside it: another."""
    shutil.copytree(pattern, tmp_path / "given")
    shutil.copytree(pattern, tmp_path / "canaries")
    return tmp_path / "given"


def link(place, name):
    """The file or folder becomes a link to the same of the canaries."""
    for path in sorted(place.glob(name)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        source = place.parent / "canaries" / path.relative_to(place)
        path.symlink_to(source if len(name) % 2 else os.path.relpath(source, path.parent))


def pipe(place, name):
    """The file becomes a pipe that nobody writes to."""
    for path in sorted(place.glob(name)):
        path.unlink()
        os.mkfifo(path)


def temporary(place, name):
    """Where this process would write before it renames, and where it would lock, lead links to the canaries."""
    for path in sorted(place.glob(name)):
        for planted in (f".{path.name}.{os.getpid()}", f".{path.name}.lock", f"{path.name}.lock"):
            path.with_name(planted).unlink(missing_ok=True)
            path.with_name(planted).symlink_to(place.parent / "canaries" / path.relative_to(place))


def named(place, text):
    """A name by which canaries are reached."""
    return text.replace("CANARIES", str(place.parent / "canaries"))


def rewritten(path, change, seal=json.dumps):
    """The content of a JSON file is another, with a checksum that is right."""
    content = json.loads(path.read_text())
    content.pop("sha256", None)
    change(content)
    sealed = seal(content)
    path.write_text(sealed if isinstance(sealed, str) else sealed.decode())


def stream(place, name):
    """The manifest of a valid store calls a stream by a path."""

    def change(content):
        content["streams"][named(place, name)] = content["streams"].pop("audio")

    rewritten(place / "store" / "store.json", change, checksummed)


def claim(place, text):
    """A dead writer claims a shard that is a path."""
    lock, text = place / "store" / "writers" / "old.lock", named(place, text)
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(f"{text}\n")
    lock.with_suffix(".json").write_text(json.dumps({"streams": [text], "videos": text}))


def segment(place, name):
    """The manifest of a valid index calls its segment by a path."""

    def change(content):
        content["segments"][0]["name"] = named(place, name) + content["segments"][0]["name"]

    seal = lambda content: json.dumps({**content, "sha256": _checksum(content)})  # noqa: E731
    rewritten(place / "index" / "index.json", change, seal)


def origin(place, name):
    """The manifest of a valid index names its store, and a model that nobody has: both are looked for near it."""

    def change(content):
        content["origin"] |= {"store": os.path.abspath(place / named(place, name)), "model_inode": None}

    seal = lambda content: json.dumps({**content, "sha256": _checksum(content)})  # noqa: E731
    rewritten(place / "index" / "index.json", change, seal)


def config(place, settings):
    """The model's settings name files."""
    text = {key: named(place, value) for key, value in settings.items()}
    rewritten(place / "model" / "config.json", lambda content: content["text"].update(text))


def weight_map(place, target):
    """The weights are said to lie in several files, elsewhere."""
    weights = place / "model" / "model.safetensors"
    names = list(load_file(weights))
    weights.unlink()
    content = {"metadata": {}, "weight_map": dict.fromkeys(names, named(place, target))}
    (place / "model" / "model.safetensors.index.json").write_text(json.dumps(content))


def hdf5(place, how):
    """Arrays that lie in other files."""
    path, inner = place / "evil.h5", place.parent / "canaries" / "inner.h5"
    with h5py.File(path, "w") as file:
        file["y"] = np.ones((1, 3), np.float32)
        if how == "external storage":
            file.create_dataset("x", (1, 3), "f4", external=[(str(place.parent / "canaries" / "a.npy"), 0, 12)])
        elif how == "external link":
            file["x"] = h5py.ExternalLink(str(inner), "/x")
        else:
            layout = h5py.VirtualLayout((1, 3), "f4")
            layout[:] = h5py.VirtualSource(str(inner), "x", (1, 3))
            file.create_virtual_dataset("x", layout)


def result(place, target):
    """A result whose clips are said to be files elsewhere."""

    def change(part):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            if key in ("clip_id", "video") and value is not None:
                part[key] = named(place, target)
            elif isinstance(value, dict | list):
                change(value)

    rewritten(place / "result.json", change)


def playlist(place, content):
    """Videos that are lists of other videos."""
    for path in (place / "videos").glob("clip[678].mp4"):
        path.write_text(named(place, content))


SHARDS = ("store/store.json", "store/parts/*", "store/audio/*", "store/checksums/*")
STORE = [
    *product([link], [*SHARDS, "store/audio", "store/parts", "store/checksums", "store/writers"]),
    *product([pipe, temporary], SHARDS),
    *product([stream], ["CANARIES/store/audio", "../../canaries/store/audio", ".."]),
    *product([claim], ["CANARIES/store/store", "/../../../canaries/store/", "*"]),
]
MODELS = ("model/config.json", "model/model.safetensors", "model/text/tokenizer.json", "model/training.json")
VECTORS = {"encoder": "vectors", "vectors": "CANARIES/model/model.safetensors"}
MODEL = [
    *product([link], [*MODELS, "model/text"]),
    *product([pipe], MODELS),
    *product([config], [{"encoder": "CANARIES/model"}, VECTORS]),
    *product([weight_map], ["CANARIES/model/model.safetensors", "../../canaries/model/model.safetensors"]),
]
FILES = ("segment.json", "clips.arrow", "rows-1000*", "vectors-1000*")
SEGMENTS = ("index/index.json", *(f"index/segments/*/{name}" for name in FILES))
INDEX = [
    *product([link], [*SEGMENTS, "index/segments", "index/segments/*", "index/lock"]),
    *product([pipe], [*SEGMENTS, "index/lock"]),
    *product([temporary], SEGMENTS[:2]),
    *product([segment], ["CANARIES/index/segments/", "../../../canaries/index/segments/"]),
    *product([origin], ["CANARIES/store", "../canaries/store", "../canaries"]),
]
IMPORT = [
    *product([hdf5], ["external storage", "external link", "virtual"]),
    *product([link, pipe], ["arrays/x.npy"]),
]
LIBRARY = [
    *product([link], [KEPT, *(f"{KEPT}/{name}" for name in ("index", "library.json", "lock"))]),
    *product([pipe], [f"{KEPT}/library.json", f"{KEPT}/lock"]),
]
M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nCANARIES/videos/clip8.mp4\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile 'CANARIES/videos/clip8.mp4'\nduration 2\n"
RESULT = [
    *product([result], ["CANARIES/videos/clip8.mp4", "../canaries/videos/clip8.mp4"]),
    *product([pipe], ["result.json", "videos/clip8.mp4"]),
    *product([playlist], [M3U8, CONCAT]),
]
TRAINED = "--embed-dim 8 --text.width 16 --text.layers 1 --epochs 1 --device cpu"
EXAMPLE = "search index --like-file videos/clip1.mp4"
SERVE = "serve index --videos videos --port 0"
READERS = (  # of each kind of directory, the commands that read it
    (
        STORE,
        "store list store; store list store --clips; store verify store; store verify store --repair;"
        "store merge new store; store merge store other; store export store {stream}.npz;"
        "precompute videos store --streams audio --workers 1; import store extra=a.npy --ids ids.txt;"
        "precompute videos store --streams audio --workers 1 --overwrite; index store model new;"
        f"train store captions.csv new {TRAINED}; evaluate store captions.csv model; model store new;"
        f"overlap store captions.csv --by audio; {EXAMPLE}",
    ),
    (
        MODEL,
        "index store model new; evaluate store captions.csv model --result new.json; explain model word;"
        f"search index word --model model; train store captions.csv model --overwrite {TRAINED};"
        "train store captions.csv new --start model --epochs 1 --device cpu",
    ),
    (
        INDEX,
        f"search index word; search index --like clip1.mp4; {EXAMPLE};"
        "gallery list index; gallery list index --clips; gallery verify index; gallery compact index; "
        "gallery remove index --clips clip1.mp4; gallery normalise index --bank captions.csv;"
        "index store model index;"
        f"index store model index --overwrite; {SERVE}",
    ),
    (RESULT[3:], f"{SERVE}; open videos --port 0 --no-browser --preset offline"),
    (LIBRARY, "library list; library forget --all"),
    (IMPORT, "import new a=evil.h5; import new a=arrays"),
    (
        RESULT,
        "report result.json; report result.json --videos videos --out new.html; tokens videos/clip8.mp4;"
        "search index --like-file videos/clip8.mp4;"
        "precompute videos new --streams audio appearance --workers 1; overlap videos captions.csv --workers 1",
    ),
)
LINES = [(line.strip(), kinds) for kinds, lines in READERS for line in lines.split(";")]
ROWS = [
    pytest.param(line, *kind, marks=() if line in FAST else pytest.mark.slow)
    for line, kinds in LINES
    for kind in kinds
]


def test_every_command_that_reads_is_here():
    assert {line.split()[0] for line, _ in LINES} == {*COMMANDS} - {"demo"}  # which runs the others


@pytest.mark.parametrize(("line", "attack", "how"), ROWS)
def test_nothing_outside_is_opened_or_changed(place, monkeypatch, capsys, line, attack, how):
    attack(place, how)
    (place / "other").symlink_to("store")
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    for command in ("serve", "open"):  # both may be imported already
        monkeypatch.setattr(f"scripts.{command}.command.listen", ask_all)
    pipes = [path for path in place.rglob("*") if path.is_fifo()]
    canaries = Canaries(place.parent / "canaries", pipes)
    with writer_of(pipes):
        try:
            code = main(line.split())
        except SystemExit as end:
            code = end.code
    opened = canaries.opened()
    os.close(canaries.handle)
    assert opened == set()
    assert canaries.seen() == canaries.before
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert code in (0, 1, 3), err


def test_the_canaries_report_what_is_opened(place):
    canaries = Canaries(place.parent / "canaries")
    (place.parent / "canaries" / "store" / "store.json").stat()
    assert canaries.opened() == set()
    link(place, "store/store.json")
    (place / "store" / "store.json").read_text()
    assert canaries.opened() == {"store/store.json"}
    os.listdir(place.parent / "canaries" / "store")
    assert canaries.opened() == {"store"}
    os.link(place.parent / "canaries" / "a.npy", place / "linked.npy")
    assert "a.npy" in canaries.opened()
    os.close(canaries.handle)
