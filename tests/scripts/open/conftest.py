"""`mee open` in a process of its own, over a fake process that reads; an index that it could have made."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.open import LibraryState
from tests.scripts.serve.conftest import build

NAMES = ("a.mp4", "b.mp4", "c.mp4")
RUN = "import sys; from scripts import cli; from scripts.open import reading; reading.CHILD = {}; "
RUN += "sys.exit(cli.main())"
FAKE = Path(__file__).with_name("fake_conductor.py")


@pytest.fixture(scope="session")
def indexes(tmp_path_factory, model_config, make_source):
    """Of one of the files, and of two."""
    place = tmp_path_factory.mktemp
    return [build(place("open"), 0, NAMES[:number], model_config, make_source) for number in (1, 2)]


@pytest.fixture(scope="session")
def index(indexes):
    """Of two of the files."""
    return indexes[1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mee"


@pytest.fixture
def folder(tmp_path):
    """A folder of videos."""
    (tmp_path / "my videos").mkdir()
    for name in NAMES:
        (tmp_path / "my videos" / name).touch()
    return tmp_path / "my videos"


@pytest.fixture
def state(folder):
    """What is kept of it."""
    return LibraryState.of(folder)


def said(states, **status):
    """A message: the files in these states, and a status."""
    files = [{"video": name, "state": its, "why": its} for name, its in zip(NAMES, states.split())]
    return ["say", {"files": files, "status": status}]


@pytest.fixture
def read(indexes, tmp_path):
    """The script of a reading that is done when the file `on` is there."""
    return [
        said("waiting waiting waiting", step="looking", note="a note"),
        ["index", str(indexes[0])],
        said("reading waiting waiting", step="first looks", clips=1, left_s=9.0, share=0.3),
        ["wait for", str(tmp_path / "on")],
        ["index", str(indexes[1])],
        said("done done problem", step="done", clips=2, share=1.0, done=True),
    ]


@pytest.fixture
def opened(folder, tmp_path):
    """opened(script, …): a process of `mee open`, and its address; each start plays the next script."""

    @contextmanager
    def run(*plays, arguments=(), given=(), child=None, stderr=subprocess.PIPE):
        script = tmp_path / "script.json"
        script.write_text(json.dumps(plays))
        code = RUN.format(child or (str(FAKE), str(script)))
        line = [sys.executable, "-c", code, "open", folder, "--no-browser", "--port", "0", *arguments]
        place = {"env": {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1", **dict(given)}}
        pipes = {"stdout": subprocess.PIPE, "stderr": stderr, "text": True}
        with subprocess.Popen(list(map(str, line)), **pipes, **place) as process:
            try:
                first = process.stdout.readline()
                yield process, first[first.index("http://") :].strip() if "http://" in first else first
            finally:
                process.kill()

    return run


@pytest.fixture
def asked():
    """asked(address): status and content."""

    def ask(address):
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return ask
