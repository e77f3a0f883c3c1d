"""`mee import`: streams of other tools, from files to figures; what it prints; killed at any moment."""

import pickle
import signal

import h5py
import numpy as np
import pytest

from features.store.feature_store import FeatureStore
from scripts.evaluate import main as evaluate
from scripts.import_features import main
from scripts.train import main as train

IDS = [f"video{number}" for number in range(12)]
SMALL_SHARDS = """
import os, signal, sys
import features.store.manifest, features.store.shard, features.store.writer as store_writer
from features.files import write_whole
store_writer.SHARD_CLIPS = 3
left = [int(sys.argv.pop(1))]
def write_or_die(path, content):
    left[0] -= 1
    if left[0] == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.{os.getpid()}").write_bytes(content[:10])
        os.kill(os.getpid(), signal.SIGKILL)
    write_whole(path, content)
for module in (store_writer, features.store.manifest, features.store.shard):
    module.write_whole = write_or_die
from scripts.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def made(tmp_path):
    """Four files of twelve clips: stacked, of HDF5, and with missing ones an .npz and a pickle; ids, captions."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "resnet.npy", rng.normal(size=(12, 6)))
    with h5py.File(tmp_path / "i3d.h5", "w") as file:
        for clip_id in IDS:
            file[clip_id] = rng.normal(size=(3, 4))
    np.savez(tmp_path / "vggish.npz", **{clip_id: rng.normal(size=(2, 5)) for clip_id in IDS[::3]})
    faces = {clip_id: rng.normal(size=(1, 3)).astype("f4") for clip_id in IDS[::2]}
    (tmp_path / "faces.pickle").write_bytes(pickle.dumps(faces))
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    rows = [f"{clip_id},clip {n} is number {n},{'train' if n < 8 else 'test'}" for n, clip_id in enumerate(IDS)]
    (tmp_path / "captions.csv").write_text("\n".join(["video_id,caption,split", *rows]))
    return tmp_path


def sources(place):
    files = {"appearance": "resnet.npy", "motion": "i3d.h5", "audio": "vggish.npz", "face": "faces.pickle"}
    return [f"{stream}={place / file}" for stream, file in files.items()]


def test_from_files_to_figures(made, prints, world):
    ids = ["--ids", made / "ids.txt"]
    names = ["--name", "appearance=resnet", "motion=i3d", "audio=vggish", "face=facenet"]
    store, captions, model = (made / name for name in ("store", "captions.csv", "model"))
    title, *table = prints(main, store, *sources(made), *ids, *names).out.splitlines()
    assert title.startswith("12 clips of 12 videos in ")
    assert [line.split() for line in table] == [
        ["stream", "present", "missing", "share", "size"],
        ["appearance", "12", "0", "100", "%", "6"],
        ["motion", "12", "0", "100", "%", "4"],
        ["audio", "4", "8", "33", "%", "5"],
        ["face", "6", "6", "50", "%", "3"],
    ]
    prints(train, store, captions, model, *world.tiny)
    out = prints(evaluate, store, captions, model).out
    assert "4 queries (every caption), 4 clips" in out
    assert "Streams in the gallery: appearance 4 of 4, motion 4 of 4, audio 1 of 4, face 2 of 4" in out
    for other, code in ((names, 0), (names[:-1], 1)):
        prints(main, made / f"store{code}", *sources(made), *ids, *other)
        err = prints(evaluate, made / f"store{code}", captions, model, code=code).err
    assert "'face' was made by another extractor" in err


def test_what_is_unusual_is_printed(made, prints):
    store = made / "store"
    padded, small = np.pad(np.ones((2, 3)), ((0, 2), (0, 0))), np.full(3, 1e-6)
    np.savez(made / "x.npz", video0=np.zeros(3), video1=np.ones(3), more=np.ones(3), video2=padded, video3=small)
    np.savez(made / "y.npz", video0=np.ones(2), new=np.ones(2))
    err = prints(main, store, f"face={made / 'x.npz'}", "--ids", made / "ids.txt").err
    for words in (
        "face: 1 clips of its file are not in",
        "skipped: more",
        "face: 1 clips are all zeros and count as present (video0); if zeros stand for missing",
        "--zero-is-missing --overwrite",
        "face: 1 clips end with rows of zeros, which count (video2); if that is padding, import again",
        "face: 1 clips are mostly too small for a store's float16 (video3); multiply the whole stream",
        "face: without --name, a model trained on this accepts streams of this very file only",
    ):
        assert words in err
    err = prints(main, store, f"audio={made / 'y.npz'}", "--name", "vggish").err
    assert "audio: 11 clips of the store are not in its file; they miss this stream now" in err
    assert "1 more clips wait for 'face': import or extract it (new)" in err
    assert "without --name" not in err
    err = prints(main, store, f"audio={made / 'y.npz'}", "--name", "vggish").err
    assert "13 of 13 clips are in the store already" in err


def test_a_harmful_pickle_ends_in_one_sentence(made, fails):
    (made / "x.pickle").write_bytes(b"cposix\nsystem\n(X\x05\x00\x00\x00touchtR.")
    assert "posix.system" in fails(main, made / "store", f"face={made / 'x.pickle'}")
    assert not (made / "store").exists()


@pytest.mark.parametrize("at", [9, *(pytest.param(at, marks=pytest.mark.slow) for at in range(1, 19) if at != 9)])
def test_killed_at_any_file_the_same_command_finishes_it(mee, made, at):
    arguments = [made / f"store{at}", *sources(made), "--ids", made / "ids.txt"]
    killed = mee(at, "import", *arguments, code=SMALL_SHARDS)
    assert killed.returncode == -signal.SIGKILL
    if (made / f"store{at}" / "store.json").exists():
        assert set(FeatureStore(made / f"store{at}").clips.index) <= set(IDS)
    assert main([str(argument) for argument in arguments]) == 0
    store = FeatureStore(made / f"store{at}")
    assert sorted(store.clips.index) == sorted(IDS)
    assert store.coverage() == {"appearance": 12, "motion": 12, "audio": 4, "face": 6}
    np.testing.assert_array_equal(
        np.concatenate(store.read("appearance", IDS)), np.load(made / "resnet.npy").astype(np.float16)
    )
    assert [path for path in store.directory.rglob(".*") if path.name != ".store.json.lock"] == []
    parts = {path.stem for path in (store.directory / "parts").iterdir()}
    assert {path.stem for path in store.directory.glob("*/*.safetensors")} <= parts
