"""Studio: whatever work does costs one request, and nobody works for those who have gone."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from features.errors import MediaError
from features.playback import Studio, StudioBusy, work_inside

ROOT = Path(__file__).parents[3]
SERVING = """
import asyncio, os
from features.playback import Studio
async def main():
    async with Studio(timeout=600) as studio:
        print(await studio.ask(os.getpid), flush=True)
        await studio.ask(os.read, 0, 1)
if __name__ == "__main__":
    asyncio.run(main())
"""


def alive(pid):
    """Whether it runs; one that nobody has waited for yet has ended."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pids(studio):
    return [worker.process.pid for calls in studio._all for worker in calls._pool._workers]


async def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_whatever_work_does_the_next_is_done():
    bad = [(os._exit, 7), (os.kill, 0, signal.SIGKILL), (time.sleep, 600), (bytearray, 8 << 30), (int, "x")]
    said = ["the decoder crashed"] * 2 + ["not done after 2 s", "it needs more than 3 GB", "ValueError"]

    async def run():
        async with Studio(timeout=2) as studio:
            assert pids(studio) == []
            for (work, *arguments), reason in zip(bad, said):
                if work is os.kill:
                    arguments[0] = await studio.ask(os.getpid)
                with pytest.raises(MediaError, match=reason):
                    await studio.ask(work, *arguments)
                assert await studio.ask(max, 3, 7) == 7
            first = await studio.ask(os.getpid)
            assert {await studio.ask(os.getpid) for _ in range(5)} == {first}  # one process serves a quiet server
        assert not alive(first)

    asyncio.run(run())


def test_cancelled_work_leaves_the_queue_or_ends_its_process(tmp_path):
    async def run():
        async with Studio(1, timeout=600, waiting=2) as studio:
            early = asyncio.create_task(studio.ask(time.sleep, 600))
            await until(lambda: pids(studio))
            early.cancel()  # while its process starts
            pid = await studio.ask(os.getpid)
            running = asyncio.create_task(studio.ask(time.sleep, 600))
            await asyncio.sleep(0)
            dropped = asyncio.create_task(studio.ask(os.mkdir, str(tmp_path / "dropped")))
            kept = asyncio.create_task(studio.ask(os.getpid))
            await asyncio.sleep(0.1)
            with pytest.raises(StudioBusy):
                await studio.ask(os.getpid)
            assert pids(studio) == [pid]
            dropped.cancel()
            running.cancel()
            other = await kept
            assert other != pid
            assert not alive(pid)
            await asyncio.wait([dropped, running])
            assert (dropped.cancelled(), running.cancelled()) == (True, True)
            assert await studio.ask(max, 1, 2) == 2
        assert list(tmp_path.iterdir()) == []

    asyncio.run(run())


def test_the_end_of_the_studio_ends_all_work():
    async def run():
        async with Studio(timeout=600) as studio:
            asked = [asyncio.create_task(studio.ask(time.sleep, 600)) for _ in range(5)]
            await until(lambda: len(pids(studio)) == 2)
            workers = pids(studio)
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in told} == {MediaError}
        assert not any(map(alive, workers))

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_server_whatever_ends_it(tmp_path, end):
    (tmp_path / "serving.py").write_text(SERVING)
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [sys.executable, tmp_path / "serving.py"], env=environment, stdin=pipe, stdout=pipe, stderr=pipe
    )
    worker = int(server.stdout.readline())
    server.send_signal(end)
    server.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_work_on_a_file_gets_a_path_with_its_ending_and_nothing_outside(tmp_path):
    library, place = tmp_path / "library", tmp_path / "place"
    library.mkdir()
    place.mkdir()
    (library / "a.PNG").write_bytes(b"picture")
    (library / "out.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "outside.png").write_bytes(b"hidden")
    assert work_inside(library, "a.PNG", place, Path.read_bytes) == b"picture"
    seen = {
        work_inside(library, "a.PNG", place, str) for _ in range(2)
    }  # so that what is known of a file is found
    assert len(seen) == 1
    assert seen.pop().endswith(".PNG")
    with pytest.raises(ValueError, match=r"out\.png"):
        work_inside(library, "out.png", place, Path.read_bytes)
    assert list(place.iterdir()) == []
