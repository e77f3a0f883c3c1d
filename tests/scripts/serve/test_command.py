"""mee serve: what is checked before it listens, what it says, what it loads, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from scripts.serve import command
from scripts.serve.command import main
from tests.scripts.serve.conftest import build
from tests.scripts.serve.serve_client import TOKEN


@pytest.fixture(scope="module")
def index(tmp_path_factory, model_config, make_source):
    return build(tmp_path_factory.mktemp("command"), 0, ["a.mp4", "b.mp4"], model_config, make_source)


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(f"{TOKEN}\n")
    return path


@contextmanager
def serving(*arguments, code=None):
    """A process of the command, and the line it says."""
    run = ["-c", code] if code else ["-m", "scripts.cli", "serve"]
    line = [sys.executable, *run, *map(str, arguments), "--port", "0"]
    place = {"env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}, "text": True}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **place) as process:
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def asked(address, path, **headers):
    """Status and content; an address in the line that is printed."""
    request = urllib.request.Request(address.split(" at ")[1].split()[0] + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_says_where_it_is_and_ends_in_order(index, tmp_path, sent, code):
    with serving(index, "--videos", tmp_path) as (process, line):
        assert line.startswith("2 clips at http://127.0.0.1:")
        assert "videos" not in line
        assert asked(line, "api/search?q=a+dog")[0] == 200
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    said = "stopped by SIGTERM\n" if sent == signal.SIGTERM else "stopped\n"
    assert (process.returncode, out, err) == (code, "", said)


def test_a_client_that_stays_does_not_keep_it(index):
    with serving(index) as (process, line):
        port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert process.returncode == 143


def test_without_videos_it_says_so_and_with_a_token_it_asks_for_it(index, token):
    with serving(index, "--token-file", token, "--allow-host", "archive.example.org") as (process, line):
        assert "without --videos" in line
        assert [asked(line, path)[0] for path in ("healthz", "api/info", "")] == [200, 401, 401]
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert asked(line, "api/info", **right)[0] == 200
        assert asked(line, "api/info", **right, Host="archive.example.org")[0] == 200
        assert asked(line, "api/info", **right, Host="other.example.org")[0] == 421
        process.terminate()
        assert TOKEN not in "".join([line, *process.communicate(timeout=60)])


LOADED = """
import os, signal, sys, threading, urllib.request
from scripts.serve import command
def open_in_browser(address):
    def ask():
        try:
            for path in ("api/search?q=a+dog", "?q=a+dog", "api/facets", "docs"):
                urllib.request.urlopen(address + path).read()
            print([name for name in ("torch", "transformers", "matplotlib") if name in sys.modules], flush=True)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=ask).start()
command.open_in_browser = open_in_browser
sys.exit(command.main())
"""


def test_a_search_is_answered_without_torch(index):
    with serving(index, "--open", code=LOADED) as (process, line):
        out, err = process.communicate(timeout=100)
    assert (out, err) == ("[]\n", "stopped by SIGTERM\n")
    assert "http://" in line


def test_help_loads_no_server(mee):
    code = "import sys; from scripts.serve.command import main\ntry: main(['--help'])\nexcept SystemExit: print("
    ran = mee(
        code=code + "[each for each in ('fastapi', 'uvicorn', 'starlette', 'pydantic') if each in sys.modules])"
    )
    assert ran.stdout.endswith("\n[]\n"), ran


def test_the_browser_opens_the_address(monkeypatch, capsys):
    opened, threads = [], []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address))
    monkeypatch.setattr(
        command.threading, "Thread", lambda target, daemon: threads.append(target) or threads_start
    )
    threads_start = type("Started", (), {"start": staticmethod(lambda: threads[0]())})
    command.open_in_browser("http://localhost:1/")
    assert opened == ["http://localhost:1/"]
    assert "open http://localhost:1/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--videos nowhere", "'nowhere' is not a folder"), ("--videos token", "'token' is not a folder"),
        ("--cache token", "'token' is not a folder"), ("--host 0.0.0.0", "--token-file"),
        ("--host ::", "--token-file"), ("--token-file nowhere", "secrets.token_urlsafe()"),
        ("--host 192.0.2.1 --token-file token", "'192.0.2.1' is no address of this machine"),
        ("--host nowhere.invalid", "no address of this machine"), ("--token-file empty", "make one"),
        ("--token-file short", "16 to 1,024"), ("--token-file spaced", "16 to 1,024"),
        ("--token-file binary", "make one"), ("--model nowhere", "nowhere"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_it_listens(fails, index, token, monkeypatch, flags, says):
    monkeypatch.chdir(token.parent)
    for name, content in {
        "short": b"x" * 15,
        "spaced": b"a token of many words",
        "empty": b"",
        "binary": b"\xff" * 20,
    }.items():
        (token.parent / name).write_bytes(content)
    monkeypatch.setattr(command, "listen", None)
    assert says in fails(main, index, "--port", "0", *flags.split())


def test_an_index_that_is_not_there(fails, tmp_path):
    assert "mee index STORE MODEL" in fails(main, tmp_path / "nowhere", "--port", "0")


def test_a_port_that_is_taken(fails, index):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = fails(main, index, "--port", str(port))
    assert said == f"port {port} is taken; choose another with --port, or --port 0"


def test_a_token_that_others_can_read_is_warned_of(fails, token, monkeypatch):
    warned = []
    monkeypatch.setattr(command, "say", warned.append)
    for mode, count in ((0o600, 0), (0o640, 1), (0o604, 2)):
        token.chmod(mode)
        fails(main, "nowhere", "--port", "0", "--token-file", token)
        assert len(warned) == count
    assert "chmod 600" in warned[0]


@pytest.mark.parametrize("flags", ["--port 65536", "--port -1", "--cache-size 0", "--cache-size nan"])
def test_wrong_usage(misused, index, flags):
    assert flags.split()[0] in misused(main, index, *flags.split())


def test_a_package_that_is_not_installed(fails, index, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "uvicorn" else object())
    assert fails(main, index) == "mee serve needs the package uvicorn: pip install 'mee[serve]'"
