"""A tiny world, made once a session by the commands themselves: videos, captions, store, model, index."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

TINY = ["--embed-dim=8", "--text.width=16", "--text.layers=1", "--text.heads=2", "--epochs=2", "--batch-size=4"]
SPLITS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mee_test_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def media() -> ModuleType:
    """The module that writes media files, of the tests of features."""
    return _load(Path(__file__).parents[1] / "features" / "media_files.py")


@pytest.fixture(scope="session")
def mee(pytestconfig: pytest.Config):
    """Run a command as a user does, in a process of its own."""

    def run(*arguments, stdin="", code=None, env=(), timeout=120):
        command = [sys.executable, *(("-c", code) if code else ("-m", "scripts.cli")), *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=pytestconfig.rootpath,
            env={**os.environ, "OMP_NUM_THREADS": "1", **dict(env)},
            input=stdin,
            capture_output=True,
            text=isinstance(stdin, str),
            timeout=timeout,
        )

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
    paths = SimpleNamespace(
        place=place,
        videos=videos,
        captions=captions,
        store=place / "store",
        model=place / "model",
        index=place / "index",
        tiny=TINY,
    )
    assert precompute([str(videos), str(paths.store), "--workers", "2"]) == 0
    assert train([str(paths.store), str(captions), str(paths.model), *TINY]) == 0
    assert build_index([str(paths.store), str(paths.model), str(paths.index)]) == 0
    return paths


@pytest.fixture
def own(world, tmp_path) -> SimpleNamespace:
    """A copy of the world that one test may spoil; its index still names the session's model."""
    for name in ("store", "model", "index"):
        shutil.copytree(getattr(world, name), tmp_path / name)
    captions = shutil.copy(world.captions, tmp_path / "captions.csv")
    return SimpleNamespace(
        place=tmp_path,
        videos=world.videos,
        captions=Path(captions),
        store=tmp_path / "store",
        model=tmp_path / "model",
        index=tmp_path / "index",
        tiny=TINY,
    )


@pytest.fixture
def readers(own):
    """The commands that open a store, with arguments: what they make is called `new`."""
    from scripts.build_index import main as build_index
    from scripts.evaluate import main as evaluate
    from scripts.train import main as train

    return {
        "train": (train, own.store, own.captions, own.place / "new", *own.tiny),
        "index": (build_index, own.store, own.model, own.place / "new"),
        "evaluate": (evaluate, own.store, own.captions, own.model),
    }


@pytest.fixture
def fails(capsys):
    """Call a command that cannot do what it is asked; returns the one sentence it says on stderr, or the last."""

    def run(main, *arguments, alone=True):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 1
        out, err = capsys.readouterr()
        lines = err.strip().splitlines()
        assert out == ""
        assert len(lines) == 1 or not alone, err
        assert lines[-1].startswith("error: ")
        return lines[-1].removeprefix("error: ")

    return run


@pytest.fixture
def prints(capsys):
    """Call a command that does what it is asked; returns what it says on stdout and on stderr."""

    def run(main, *arguments):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr()

    return run


@pytest.fixture
def grown(world, own) -> SimpleNamespace:
    """A copy of the world with videos and an index of its own, made by `arguments`."""
    from scripts.build_index import main as build_index

    own.videos = own.place / "videos"
    shutil.copytree(world.videos, own.videos)
    own.index = own.place / "grown"
    own.arguments = [str(own.store), str(own.model), str(own.index)]
    assert build_index(own.arguments) == 0
    return own


@pytest.fixture
def replace_file(grown):
    """As if a file of `grown` had been replaced by another of its videos, and extracted again."""
    from scripts.precompute import main as precompute
    from scripts.store import main as store_command

    def run(name, by):
        (grown.place / "changed").mkdir()
        shutil.copy(grown.videos / by, grown.place / "changed" / name)
        assert precompute([str(grown.place / "changed"), str(grown.place / "later"), "--workers", "1"]) == 0
        assert store_command(["merge", str(grown.store), str(grown.place / "later")]) == 0

    return run


@pytest.fixture(scope="session")
def odd_site(tmp_path_factory) -> Path:
    """A folder for PYTHONPATH in which a third party's extractor `odd` is installed (tests/features)."""
    place = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).parents[1] / "features" / "odd_extractor.py", place)
    info = place / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mee.extractors]\nodd = odd_extractor:Odd\n")
    return place


@pytest.fixture
def misused(capsys):
    """Call a command with arguments that make no sense; returns what it says of them, on one line."""

    def run(main, *arguments):
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "")
        assert "Traceback" not in err
        return " ".join(err.replace("│", " ").split())

    return run
