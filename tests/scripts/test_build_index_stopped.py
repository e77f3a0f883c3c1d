"""`mee index`, stopped or refused: what was there stays."""

import shutil
from pathlib import Path

import pytest

from index.storage.snapshot import read_snapshot
from scripts.build_index import main as build_index
from scripts.index_plan import rows_of

ALL = {f"clip{n}.mp4" for n in range(9)} | {"clip9.png"}


def files(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def clips(directory):
    return set(rows_of(read_snapshot(directory)).index)


@pytest.fixture
def grown(world, own):
    """A store with an index of its own, and its videos."""
    own.videos = own.place / "videos"
    shutil.copytree(world.videos, own.videos)
    own.index = own.place / "grown"
    own.arguments = [str(own.store), str(own.model), str(own.index)]
    assert build_index(own.arguments) == 0
    return own


# ---- stopped


@pytest.mark.parametrize("overwrite", [False, True])
def test_stopped_half_way(grown, monkeypatch, capsys, overwrite):
    import scripts.index_sync

    if not overwrite:
        shutil.rmtree(grown.index)
    before = files(grown.index) if overwrite else {}
    encode, calls = scripts.index_sync.encode_gallery, []

    def stops(model, store, clip_ids):
        calls.append(clip_ids)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(model, store, clip_ids)

    monkeypatch.setattr(scripts.index_sync, "CLIPS", 2)
    monkeypatch.setattr(scripts.index_sync, "encode_gallery", stops)
    capsys.readouterr()
    assert build_index([*grown.arguments, *(["--overwrite"] if overwrite else [])]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    if overwrite:
        assert err == "stopped; the index is as it was\n"
        assert clips(grown.index) == ALL
        assert {name: content for name, content in files(grown.index).items() if name in before} == before
    else:
        assert err == "stopped; what is done is kept, the same command goes on from there\n"
        assert len(clips(grown.index)) == 4
    assert build_index(grown.arguments) == 0
    assert f"10 clips in the index, {0 if overwrite else 6} of them new" in capsys.readouterr().out
    assert clips(grown.index) == ALL
    (segment,) = read_snapshot(grown.index).segments
    assert segment.name  # on disk, not in the log


def test_stopped_when_the_new_one_is_there_already(grown, monkeypatch, capsys):
    import scripts.index_recall

    def stops(directory, given):
        raise KeyboardInterrupt

    monkeypatch.setattr(scripts.index_recall, "tune", stops)
    capsys.readouterr()
    assert build_index([*grown.arguments, "--overwrite"]) == 130
    assert capsys.readouterr().err == "stopped; what is done is kept, the same command goes on from there\n"


# ---- refused


def test_an_index_of_another_store_is_refused(own, fails):
    before = files(own.index)
    error = fails(build_index, own.store, own.model, own.index)  # it was made from the session's store
    assert "was made with another model or store" in error
    assert "--overwrite" in error
    assert files(own.index).keys() - {"lock"} == before.keys() - {"lock"}
    assert files(own.index)["index.json"] == before["index.json"]


@pytest.mark.parametrize("stray", ["notes.txt", "config.json"])
def test_what_is_no_index_is_refused_and_left_alone(own, fails, tmp_path, stray):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / stray).write_text("dear to me")
    for overwrite in ([], ["--overwrite"]):
        error = fails(build_index, own.store, own.model, mine, *overwrite)
        assert "is not an index" in error
        assert files(mine) == {stray: b"dear to me"}


def test_an_index_of_an_earlier_format(own, fails, tmp_path, capsys):
    old = tmp_path / "old"
    old.mkdir()
    (old / "index.json").write_text(
        '{"format": 1, "generation": 1, "layout": {}, "origin": {}, "clips": "clips-000001.parquet", '
        '"partitions": {"1111": "1111-000001.faiss"}}'
    )
    (old / "clips-000001.parquet").write_bytes(b"PAR1")
    (old / "1111-000001.faiss").write_bytes(b"IxFI")
    assert "is of format 1" in fails(build_index, own.store, own.model, old)
    assert build_index([str(own.store), str(own.model), str(old), "--overwrite"]) == 0
    assert clips(old) == ALL
    assert not list(old.glob("*.parquet")) + list(old.glob("*.faiss"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recall", "0"], "recall must be above 0 and at most 1"),
        (["--recall", "nan"], "recall must be above 0 and at most 1"),
        (["--recall", "0.9", "--kind", "certified"], "'certified' is exact"),
        (["--kind", "magic"], "'magic'"),
    ],
)
def test_wrong_usage(capsys, arguments, says):
    with pytest.raises(SystemExit) as ended:
        build_index(["store", "model", "index", *arguments])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert says in " ".join(err.split())


def test_a_damaged_index_is_one_sentence(grown, fails):
    path = grown.index / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"generation"', b'"generatiom"'))
    assert "is damaged" in fails(build_index, *grown.arguments)
    assert build_index([*grown.arguments, "--overwrite"]) == 0
    assert clips(grown.index) == ALL


def test_an_embedding_that_is_no_number_is_one_sentence(own, fails, monkeypatch, tmp_path):
    import scripts.index_sync

    encode = scripts.index_sync.encode_gallery

    def spoiled(model, store, clip_ids):
        gallery = encode(model, store, clip_ids)
        gallery.video.packed[0] = float("nan")
        return gallery

    monkeypatch.setattr(scripts.index_sync, "encode_gallery", spoiled)
    error = fails(build_index, own.store, own.model, tmp_path / "new")
    assert "the embedding of clip 'clip0.mp4' by expert" in error
    assert not Path(tmp_path / "new").exists()
