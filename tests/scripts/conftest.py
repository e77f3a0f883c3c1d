"""A tiny world, made once a session by the commands themselves: videos, captions, store, model, index."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

TINY = ["--embed-dim=8", "--text.width=16", "--text.layers=1", "--text.heads=2", "--epochs=2", "--batch-size=4"]
MADE = ("store", "model", "index")
SPLITS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}


@pytest.fixture(scope="session")
def media() -> ModuleType:
    """The module that writes media files, of the tests of features."""
    path = Path(__file__).parents[1] / "features" / "media_files.py"
    spec = importlib.util.spec_from_file_location("mee_test_media", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def mee(pytestconfig: pytest.Config):
    """Run a command as a user does, in a process of its own."""

    def run(*arguments, stdin="", code=None, env=(), timeout=120):
        command = [sys.executable, *(("-c", code) if code else ("-m", "scripts.cli")), *map(str, arguments)]
        place = {"cwd": pytestconfig.rootpath, "env": {**os.environ, "OMP_NUM_THREADS": "1", **dict(env)}}
        text = isinstance(stdin, str)
        return subprocess.run(command, **place, input=stdin, capture_output=True, text=text, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def world(media, tmp_path_factory) -> SimpleNamespace:
    """Paths of videos, captions, store, model and index; tests that change one copy it first."""
    from scripts.build_index import main as build_index
    from scripts.precompute import main as precompute
    from scripts.train import main as train

    place = tmp_path_factory.mktemp("world")
    videos = place / "videos"
    videos.mkdir()
    for number in range(9):
        frames = [np.roll(media.quadrants(), 3 * number * frame, axis=1) // (1 + number % 3) for frame in range(6)]
        sounds = [(0.0, media.tone(0.6, 200.0 * (number + 1)))] if number % 2 else ()
        media.write(videos / f"clip{number}.mp4", frames, sounds=sounds)
    import cv2

    cv2.imwrite(str(videos / "clip9.png"), media.quadrants())
    captions = place / "captions.csv"
    rows = [f"clip{n},number {n} moves {way},{s}" for s, ns in SPLITS.items() for n in ns for way in ("up", "on")]
    captions.write_text("\n".join(["video_id,caption,split", *rows]) + "\n")
    made = {name: place / name for name in MADE}
    paths = SimpleNamespace(place=place, videos=videos, captions=captions, tiny=TINY, **made)
    assert precompute([str(videos), str(paths.store), "--workers", "2"]) == 0
    assert train([str(paths.store), str(captions), str(paths.model), *TINY]) == 0
    assert build_index([str(paths.store), str(paths.model), str(paths.index)]) == 0
    return paths


@pytest.fixture
def own(world, tmp_path) -> SimpleNamespace:
    """A copy of the world that one test may change; its index still names the session's model."""
    copies = {name: shutil.copytree(getattr(world, name), tmp_path / name) for name in MADE}
    captions = Path(shutil.copy(world.captions, tmp_path / "captions.csv"))
    return SimpleNamespace(**vars(world) | copies | {"place": tmp_path, "captions": captions})


@pytest.fixture
def readers(own):
    """The commands that read a store, a model or an index, with arguments: what they make is called `new`."""
    from scripts.build_index import main as build_index
    from scripts.evaluate import main as evaluate
    from scripts.search import main as search
    from scripts.train import main as train

    return {
        "train": (train, own.store, own.captions, own.place / "new", *own.tiny),
        "index": (build_index, own.store, own.model, own.place / "new"),
        "evaluate": (evaluate, own.store, own.captions, own.model),
        "search": (search, own.index, "a thing"),
    }


@pytest.fixture
def train(world, prints, tmp_path):
    """Train on the world; returns stdout and stderr."""
    from scripts.train import main

    def run(*extra, captions=world.captions, tiny=TINY, code=0):
        return prints(main, world.store, captions, tmp_path / "model", *tiny, *extra, code=code)

    run.model = tmp_path / "model"
    run.work = tmp_path / "model.training"
    return run


@pytest.fixture
def fails(prints):
    """Call a command that cannot do its work; returns its one line on stderr, or with alone=False the last one."""

    def run(main, *arguments, alone=True):
        out, err = prints(main, *arguments, code=1)
        lines = err.strip().splitlines()
        assert out == ""
        assert len(lines) == 1 or not alone, err
        assert lines[-1].startswith("error: ")
        return lines[-1].removeprefix("error: ")

    return run


@pytest.fixture
def prints(capsys):
    """Call a command that succeeds, or ends with `code`; returns its stdout and stderr."""

    def run(main, *arguments, code=0):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        return capsys.readouterr()

    return run


@pytest.fixture
def json_lines(prints):
    """Call a command with --json; returns its objects."""

    def run(main, *arguments, **given):
        return [json.loads(line) for line in prints(main, *arguments, "--json", **given).out.splitlines()]

    return run


@pytest.fixture
def grown(world, own, prints) -> SimpleNamespace:
    """A copy of the world with videos and an index of its own, made by `arguments`."""
    from scripts.build_index import main as build_index

    own.videos = shutil.copytree(world.videos, own.place / "videos")
    own.index = own.place / "grown"
    own.arguments = [own.store, own.model, own.index]
    prints(build_index, *own.arguments)
    return own


@pytest.fixture
def replace_file(grown, prints):
    """As if a file of `grown` had been replaced by another of its videos, and extracted again."""
    from scripts.precompute import main as precompute
    from scripts.store import main as store_command

    def run(name, by):
        changed, later = grown.place / "changed", grown.place / "later"
        changed.mkdir()
        shutil.copy(grown.videos / by, changed / name)
        prints(precompute, changed, later, "--workers", "1")
        prints(store_command, "merge", grown.store, later)

    return run


@pytest.fixture(scope="session")
def odd_site(tmp_path_factory) -> Path:
    """A folder for PYTHONPATH in which a third party's extractor `odd` is installed (tests/features)."""
    info = tmp_path_factory.mktemp("site") / "odd-1.0.dist-info"
    info.mkdir()
    shutil.copy(Path(__file__).parents[1] / "features" / "odd_extractor.py", info.parent)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mee.extractors]\nodd = odd_extractor:Odd\n")
    return info.parent


@pytest.fixture
def misused(capsys):
    """Call a command with wrong usage; returns its message, on one line."""

    def run(main, *arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        assert "Traceback" not in err
        return " ".join(err.replace("│", " ").split())

    return run


@pytest.fixture
def clips(tmp_path, media):
    """A folder to fill with copies of one short clip, under names that control the extractor `odd`."""
    folder = tmp_path / "videos"
    folder.mkdir()

    def fill(*names):
        for name in names:
            media.write(folder / name, [media.plain(number) for number in range(6)])
            media.own_content(folder / name, name)
        return folder

    return fill
