"""mee open: where its page is, what it says, how it ends, and that its reader may die; the reader is a fake."""

import json
import os
import signal
import socket
import stat
import time

import pytest

from scripts.open.command import main
from scripts.open.state import LibraryState
from scripts.search import main as search
from tests.scripts.open.conftest import NAMES, said

WAIT_S = 30
ENDS = "stopped; what is done is kept, the same command goes on from there"


def until(condition):
    """Wait for something that comes soon."""
    for _ in range(50 * WAIT_S):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not come")


def runs(pid):
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def reader_of(state):
    """Its arguments and its process."""
    path = state.directory / "arguments.json"
    until(path.exists)
    until(path.read_text)
    return json.loads(path.read_text())


def free(state):
    with state.locked() as handle:
        return handle is not None


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_says_where_it_is_what_is_read_and_ends_in_order(
    opened, read, state, folder, tmp_path, says, sent, code
):
    (tmp_path / "on").touch()
    with opened(read, arguments=["--exclude", "x", "y", "--no-audio-files", "--preset", "clip"]) as (
        process,
        page,
    ):
        until(lambda: (state.directory / "index" / "index.json").exists())
        assert page == state.address()
        given, reader = reader_of(state)
        time.sleep(0.5)
        process.send_signal(sent)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (code, "")
    says(err)
    assert given == ["--preset", "clip", "--exclude", "x", "y", "--no-audio-files"]
    assert (state.directory / "in order").exists()
    assert (runs(reader), state.address(), free(state)) == (False, None, True)
    assert sorted(path.name for path in folder.iterdir()) == [*NAMES]
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in (state.directory, state.directory.parent)} == {
        "0o700"
    }
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in state.directory.glob("*.*")} <= {0, 0o044}
    record = state.record()
    assert (record["folder"], record["preset"]) == (str(folder), "clip")


def test_a_sentence_is_answered_from_what_is_read_so_far_and_from_all(opened, read, indexes, prints, tmp_path):
    early, late = (prints(search, index, "a dog").out.splitlines(keepends=True) for index in indexes)
    with opened(read, arguments=["a dog"]) as (process, _):
        lines = [process.stdout.readline() for _ in early]
        assert lines == ['so far, 1 of 3 files: "a dog"\n', *early[1:]]
        (tmp_path / "on").touch()
        assert [process.stdout.readline() for _ in late] == late
        process.terminate()
        assert process.communicate(timeout=WAIT_S)[0] == ""
    again = [said("reading"), ["wait for", str(tmp_path / "later")], read[-1]]
    with opened(again, arguments=["a dog"]) as (process, _):  # with the index that is there
        assert process.stdout.readline() == 'so far, 1 of 1 file: "a dog"\n'
        (tmp_path / "later").touch()
        until(lambda: "the hits of all files are the same" in process.stderr.readline())


def test_a_second_one_shows_and_asks_the_page_of_the_first(
    opened, read, index, folder, tmp_path, prints, monkeypatch
):
    shown = []
    monkeypatch.setattr("scripts.open.command._show", shown.append)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "on").touch()
    with opened(read) as (process, page):
        until(lambda: "all is read" in process.stderr.readline())
        out, err = prints(main, tmp_path / "link", "a dog")
        first, table = out.split("\n", 1)
        assert (first, shown) == (f"'{tmp_path / 'link'}' is open at {page}", [page])
        assert (table, err) == (prints(search, index, "a dog").out, "")
        assert prints(main, f"{folder}/", "--no-browser").out == f"'{folder}' is open at {page}\n"
        assert process.poll() is None


def test_what_the_first_one_refuses_the_second_one_says(opened, folder, prints):
    with opened([said("waiting waiting waiting")]):
        assert (
            "error: nothing can be searched for yet" in prints(main, folder, "a dog", "--no-browser", code=1).err
        )


def test_a_reader_that_is_killed_or_says_something_else_is_started_again(opened, state, asked):
    first = [said("done reading waiting", clips=1), ["write", '{"files": 3}\n']]
    second = [["write", "x" * (17 << 20)]]
    third = [said("done done", step="again", clips=2)]
    with opened(first, second, third) as (process, page):
        until(lambda: (state.directory / "starts").exists() and (state.directory / "starts").read_text() == "3")
        until(lambda: "again: 2 of 2 files can be searched" in process.stderr.readline())  # the third is dropped
        os.kill(reader_of(state)[1], signal.SIGKILL)
        until(lambda: (state.directory / "starts").read_text() == "4")
        assert asked(f"{page}healthz")[0] in (200, 503)


def test_a_reader_that_always_fails_is_given_up_and_the_page_stays(opened, state, asked, says):
    code = "import sys; from scripts.open import reading; reading.PAUSE_S = 0; sys.exit('it is\\nbroken')"
    with opened(child=("-c", code)) as (process, page):
        says("".join(process.stderr.readline().replace(state.directory.name, "NAME") for _ in range(2)))
        assert asked(page)[0] == 200
        process.terminate()
        assert process.communicate(timeout=WAIT_S)[1] == ENDS.replace("stopped", "stopped by SIGTERM", 1) + "\n"


def test_a_reader_outlives_a_killed_command_only_until_it_has_ended_in_order(opened, state, asked):
    with opened([], given={"TAKES_S": "2"}) as (process, _):
        reader = reader_of(state)[1]
        process.kill()
        process.wait()
        assert (runs(reader), state.address(), free(state)) == (True, None, False)
        with opened([]) as (second, again):  # it waits for the lock
            assert "http" in again, second.stderr.read()
            assert asked(f"{again}healthz")[0] in (200, 503)
            assert not runs(reader)
            assert (state.directory / "in order").exists()


def test_what_lies_in_the_working_directory_is_not_imported(opened, tmp_path, state, monkeypatch):
    for name in ("scripts", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')")
    code = "import sys, json, scripts; open(sys.argv[2] + '/where', 'w').write(scripts.__file__); sys.stdin.read()"
    place = f"import os; os.chdir({str(tmp_path)!r})"
    with opened(child=("-c", f"{place}; {code}")):
        until((state.directory / "where").exists)
        until((state.directory / "where").read_text)
    assert str(tmp_path) not in (state.directory / "where").read_text()


def test_a_port_that_is_taken_is_another_one_unless_it_was_named(folder, fails, monkeypatch):
    seen = []
    monkeypatch.setattr("scripts.open.command._serve", lambda *args: seen.append(args[-1].getsockname()[1]))
    monkeypatch.setattr("scripts.open.command.asyncio.run", lambda _: 0)
    monkeypatch.setattr("scripts.open.reading.CHILD", ("-c", ""))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("scripts.open.command.PORT", port)
        assert main([str(folder), "--no-browser"]) == 0
        assert seen[0] not in (0, port)
        assert f"port {port} is taken" in fails(main, folder, "--port", port)


@pytest.mark.parametrize("given", ["nowhere", "my videos/a.mp4", "cache/mee/libraries", "my videos\n"])
def test_a_folder_that_cannot_be_opened(fails, folder, tmp_path, cache, monkeypatch, says, given):
    monkeypatch.chdir(tmp_path)
    (cache / "libraries").mkdir(parents=True)
    says(fails(main, given))
    assert list((cache / "libraries").iterdir()) == []


def test_a_folder_that_was_unplugged_opens_what_is_kept(opened, read, state, folder, asked):
    with opened(read) as (process, _):
        process.terminate()
        process.wait()
    folder.rename(folder.with_name("elsewhere"))
    with opened(read[2:3]) as (_, page):
        until(lambda: asked(f"{page}api/search?q=a")[0] == 200)


def test_a_library_of_another_version(fails, state, folder, says):
    state.directory.mkdir(parents=True)
    (state.directory / "library.json").write_text('{"format": 0}')
    says(fails(main, folder).replace(state.directory.name, "NAME"))


def test_names_of_one_folder_are_one_library(folder, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    same = {
        LibraryState.of(path).directory for path in (folder, tmp_path / "link", ".", f"{folder}/../my videos/")
    }
    (directory,) = same
    assert directory.name.startswith("my-videos-")
    assert len({LibraryState.of(tmp_path / name).directory for name in ("a b", "a-b", "..", "\udcff", "ü")}) == 5


def test_help_loads_no_server(mee):
    code = "import sys; from scripts.open.command import main\ntry: main(['--help'])\nexcept SystemExit: print("
    ran = mee(code=code + "[each for each in ('fastapi', 'uvicorn', 'torch', 'numpy') if each in sys.modules])")
    assert ran.stdout.endswith("\n[]\n"), ran


def test_a_terminal_shows_a_live_line(opened, read, tmp_path):
    terminal, other = os.openpty()
    with opened(read, stderr=other) as (process, _):
        seen = ""
        while "1 of 3 files can be searched, 1 moment, 0:09 left" not in seen:
            seen += os.read(terminal, 4096).decode()
        assert "first looks" in seen
        assert "looking: " not in seen
        (tmp_path / "on").touch()
        while "Ctrl-C ends" not in seen:
            seen += os.read(terminal, 4096).decode()
        process.terminate()
        process.wait(WAIT_S)
    for handle in (terminal, other):
        os.close(handle)
