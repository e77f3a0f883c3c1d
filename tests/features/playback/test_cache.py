"""FileCache: never more than its limit, never a half file, and made once for all who wait."""

import asyncio
import errno
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError, MediaError
from features.playback import FileCache, default_folder, name_in_cache

ROOT, LIMIT = Path(__file__).parents[3], 1000
WRITING = """
import asyncio, hashlib, random, sys
from pathlib import Path
from features.playback import FileCache, name_in_cache
async def main():
    cache, draw = FileCache(Path(sys.argv[1]), 200_000), random.Random(sys.argv[2])
    for number in iter(int, 1):
        name = name_in_cache("jpg", draw.randrange(100))
        size = draw.randrange(1, 1000)
        async def make(path):
            path.write_bytes(hashlib.sha256(name.encode()).digest() * size)
        with await cache.get(name, make) as file:
            assert set(zip(*[iter(file.read())] * 32)) == {tuple(hashlib.sha256(name.encode()).digest())}
        print(number, flush=True)
asyncio.run(main())
"""


def kept(folder):
    """Name and content of what is kept."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix == ".jpg"}


def content(number, size):
    return bytes([number]) * size


def maker(number, size, made=None):
    async def make(path):
        if made is not None:
            made.append(number)
        path.write_bytes(content(number, size))

    return make


@given(steps=st.lists(st.tuples(st.integers(0, 5), st.integers(1, LIMIT + 100), st.booleans()), max_size=30))
def test_what_is_kept_is_whole_and_recent_and_never_more_than_the_limit(steps):
    async def run(folder):
        cache, sizes, used = FileCache(folder, LIMIT), {}, []
        for number, size, again in steps:
            name, made = name_in_cache("jpg", number), []
            with await cache.get(name, maker(number, size, made)) as file:
                sizes[name] = size if made else sizes[name]
                assert file.read() == content(number, sizes[name])
            used = [*(each for each in used if each != name), name]
            there = kept(folder)
            assert {key: len(data) for key, data in there.items()} == {key: sizes[key] for key in there}
            assert sum(map(len, there.values())) <= min(LIMIT, int((folder / ".bytes").read_text() or LIMIT))
            assert (name in there) == (sizes[name] <= LIMIT)
            if len(there) > 1 or sizes[name] <= LIMIT:  # nothing went before what was used less recently
                gone = [each for each in used if each not in there and sizes[each] <= LIMIT]
                assert not gone or used.index(gone[-1]) < min(map(used.index, there))
            cache = FileCache(folder, LIMIT) if again else cache
        assert list(folder.glob(".making-*")) == []

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


def test_made_once_for_all_who_wait_and_no_more_when_all_have_left(tmp_path):
    begun, go, ended = [], asyncio.Event(), []

    async def make(path):
        begun.append(path)
        try:
            await go.wait()
            path.write_bytes(b"made")
        finally:
            ended.append(path)

    async def run():
        cache, name = FileCache(tmp_path, LIMIT), name_in_cache("mp4", 1)
        clients = [asyncio.create_task(cache.get(name, make)) for _ in range(10)]
        await asyncio.sleep(0)
        for client in clients[:4]:
            client.cancel()
        await asyncio.sleep(0.02)
        assert (len(begun), ended) == (1, [])
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        late = asyncio.create_task(cache.get(name, make))  # asks while the first is being stopped
        await asyncio.sleep(0.01)
        assert (len(begun), ended) == (2, begun[:1])
        go.set()
        with await late as file:
            assert file.read() == b"made"
        assert cache.open(name).read() == b"made"

    asyncio.run(run())


@pytest.mark.parametrize(
    "error", [MediaError("no picture"), OSError(errno.ENOSPC, "No space left"), OSError(5, "I/O")]
)
def test_what_cannot_be_made_is_one_sentence_and_leaves_nothing(tmp_path, error, says):
    tried = []

    async def make(path):
        tried.append(path)
        path.write_bytes(b"half")
        raise error

    async def run():
        cache, told = FileCache(tmp_path, LIMIT), set()
        for _ in range(3):
            with pytest.raises(InputError) as raised:
                await cache.get(name_in_cache("jpg", 1), make)
            told.add(str(raised.value))
        (sentence,) = told
        says(sentence)

    asyncio.run(run())
    assert len(tried) == (
        1 if isinstance(error, MediaError) else 3
    )  # damage stays for a while, a full disk may not
    assert os.listdir(tmp_path) == [".bytes"]


def test_a_worker_that_fails_on_a_full_disk_is_not_held_against_the_file(tmp_path, monkeypatch):
    async def make(path):
        raise MediaError("it cannot be read: No space left on device")

    async def run():
        cache, name = FileCache(tmp_path, LIMIT), name_in_cache("mp4", 1)
        with monkeypatch.context() as patch:
            patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
            with pytest.raises(InputError, match="full"):
                await cache.get(name, make)
        (await cache.get(name, maker(1, 300))).close()

    asyncio.run(run())


def test_what_others_put_into_the_folder_stays_and_does_no_harm(tmp_path):
    folder, outside = tmp_path / "cache", tmp_path / "outside"
    (folder / "more").mkdir(parents=True)
    outside.write_bytes(b"outside")
    names = [name_in_cache("jpg", number) for number in range(4)]
    (folder / "holiday.jpg").write_bytes(b"x" * 5000)
    (folder / names[0]).symlink_to(outside)
    (folder / names[1]).write_bytes(b"")
    (folder / names[2]).mkdir()
    os.mkfifo(folder / names[3])
    (folder / ".bytes").write_bytes(b"\xff no number")
    (folder / ".making-old").mkdir()
    (folder / ".making-old" / "half.mp4").write_bytes(b"x")
    (folder / ".making-new").mkdir()
    os.utime(folder / ".making-old", (0, 0))

    async def run():
        cache = FileCache(folder, LIMIT)
        for number in (0, 1, 3):
            with await cache.get(names[number], maker(number, 300)) as file:
                assert file.read() == content(number, 300)
        with pytest.raises(InputError, match="cache"):
            await cache.get(names[2], maker(2, 300))
        for number in range(10, 20):
            await cache.get(name_in_cache("jpg", number), maker(number, 300))

    asyncio.run(run())
    assert outside.read_bytes() == b"outside"
    assert (folder / "holiday.jpg").stat().st_size == 5000
    assert {".making-new", "more", names[2]} <= set(os.listdir(folder))
    assert ".making-old" not in os.listdir(folder)
    with pytest.raises(InputError, match="outside"):
        FileCache(outside, LIMIT)


def test_processes_share_a_folder_and_one_that_is_killed_leaves_no_half_file(tmp_path):
    command, pipe = [sys.executable, "-c", WRITING, tmp_path], subprocess.PIPE
    for turn in range(3):
        writers = [
            subprocess.Popen([*command, str(n)], cwd=ROOT, stdout=pipe, stderr=pipe) for n in (turn, turn + 9)
        ]
        for writer in writers:
            for _ in range(60):
                assert writer.stdout.readline()
        for writer in writers:
            assert writer.poll() is None
            writer.kill()
            writer.communicate(timeout=60)
        there = kept(tmp_path)
        assert sum(map(len, there.values())) <= 200_000
        for name, data in there.items():
            assert set(zip(*[iter(data)] * 32)) == {tuple(hashlib.sha256(name.encode()).digest())}


def test_files_are_added_one_after_the_other_by_all_processes(tmp_path):
    async def run():
        cache, name = FileCache(tmp_path, LIMIT), name_in_cache("jpg", 1)
        with (tmp_path / ".bytes").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            waiting = asyncio.create_task(cache.get(name, maker(1, 300)))
            await asyncio.sleep(0.1)
            assert (kept(tmp_path), waiting.done()) == ({}, False)
        (await waiting).close()
        assert len(kept(tmp_path)) == 1

    asyncio.run(run())


def test_the_default_folder_is_the_user_s_cache_and_only_the_user_enters(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "mee" / "moments"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert default_folder() == Path.home() / ".cache" / "mee" / "moments"
    FileCache(tmp_path / "mee" / "moments", LIMIT)
    assert (tmp_path / "mee" / "moments").stat().st_mode & 0o777 == 0o700
