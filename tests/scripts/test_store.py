"""`mee store`: what a person sees of a store, and does with one."""

import json
import shutil

import numpy as np
import pytest

from features.store.feature_store import FeatureStore
from scripts.import_features import main as import_features
from scripts.precompute import main as precompute
from scripts.store import main

STREAMS = ["appearance", "motion", "audio", "face"]


def lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_streams(world, capsys):
    assert main(["list", str(world.store)]) == 0
    title, header, *rows = lines(capsys)
    assert title[:5] == [f"{world.store}:", "10", "usable", "clips", "of"]
    assert header == ["stream", "size", "present", "missing", "unknown", "share", "rows", "times", "on", "disk"]
    counts = {row[0]: row[1:] for row in rows[:4]}
    assert list(counts) == STREAMS
    assert counts["appearance"][:5] == ["512", "10", "0", "0", "100"]
    assert counts["audio"][1:3] == ["4", "6"]
    made = {row[0]: row[1:] for row in rows[-4:]}
    assert made["audio"][0] == "AudioExtractor"
    assert "sound 16000 Hz" in " ".join(made["audio"])
    assert FeatureStore(world.store).fingerprints["audio"] in made["audio"]


def test_streams_as_json(world, capsys):
    assert main(["list", str(world.store), "--json"]) == 0
    found = {row["stream"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    store = FeatureStore(world.store)
    assert list(found) == STREAMS
    for stream, row in found.items():
        assert row["rows"] == sum(store.lengths(stream, store.clips.index))
        assert row["bytes"] == sum(path.stat().st_size for path in world.store.glob(f"{stream}/*"))
        assert (row["present"], row["unknown"]) == (store.coverage()[stream], 0)
        assert row["code"]["mee"]
        assert row["timed"] == (row["rows"] > 0)


def test_clips(world, capsys):
    assert main(["list", str(world.store), "--clips"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 11
    assert out[0].split()[:3] == ["clip", "start", "end"]
    assert out[1].startswith("clip0.mp4")
    assert "h264" in out[1] or "mpeg4" in out[1]
    assert {line.index(" ok ") + 1 for line in out if " ok " in line} == {out[0].index("verdict")}
    assert main(["list", str(world.store), "--clips", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    known = FeatureStore(world.store).rows
    assert [row["clip_id"] for row in rows] == list(known.index)
    assert all(len(row["file_sha256"]) == 64 and row["width"] and row["file_seconds"] is not None for row in rows)


def test_failures(world, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(world.videos / "clip0.mp4", videos / "[red] a.mp4")
    (videos / "b.mp4").write_text("no video")
    assert precompute([str(videos), str(tmp_path / "store"), "--streams", "appearance", "--workers", "1"]) == 3
    capsys.readouterr()
    assert main(["list", str(tmp_path / "store"), "--failed"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "1 videos of" in out[0]
    assert out[2].startswith("b.mp4  ")
    assert main(["list", str(tmp_path / "store"), "--failed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["video"] == "b.mp4"
    assert main(["list", str(tmp_path / "store"), "--clips"]) == 0
    assert "[red] a.mp4" in capsys.readouterr().out


def test_verify(own, capsys):
    assert main(["verify", str(own.store)]) == 0
    assert "all are what was written" in capsys.readouterr().out
    path = sorted((own.store / "motion").glob("*[0-9].safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    assert main(["verify", str(own.store)]) == 3
    out, err = capsys.readouterr()
    name = f"motion/{path.name}"
    assert f"{name} wrong is not what was written: its checksum differs" in " ".join(out.split())
    assert f"mee store verify {own.store} --repair" in err
    assert main(["verify", str(own.store), "--json"]) == 3
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert found == {"file": name, "what": "is not what was written: its checksum differs", "wrong": True}
    before = FeatureStore(own.store).done("appearance")
    assert main(["verify", str(own.store), "--repair"]) == 0
    assert "1 files removed; run the mee precompute or mee import again" in capsys.readouterr().err
    assert FeatureStore(own.store).done("appearance") == before
    assert len(FeatureStore(own.store).clips) < 10
    assert precompute([str(own.videos), str(own.store), "--workers", "1"]) == 0
    assert main(["verify", str(own.store)]) == 0
    assert len(FeatureStore(own.store).clips) == 10


def test_a_merge_repairs_a_store_json_that_was_changed(own, capsys):
    text = (own.store / "store.json").read_text()
    (own.store / "store.json").write_text(text.replace('"flat": 1.0', '"flat": 2.0'))
    assert main(["verify", str(own.store)]) == 3
    assert f"mee store merge NEW {own.store} makes" in capsys.readouterr().err
    assert main(["merge", str(own.place / "fresh"), str(own.store)]) == 0
    assert main(["verify", str(own.place / "fresh")]) == 0


def test_merge(own, tmp_path, capsys):
    half = tmp_path / "half"
    half.mkdir()
    for number in range(5):
        shutil.copy(own.videos / f"clip{number}.mp4", half / f"other{number}.mp4")
    shutil.copy(own.videos / "clip1.mp4", half / "clip0.mp4")
    assert precompute([str(half), str(tmp_path / "more"), "--workers", "1"]) == 0
    capsys.readouterr()
    for _ in range(2):
        assert main(["merge", str(tmp_path / "all"), str(own.store), str(tmp_path / "more")]) == 0
        out, err = capsys.readouterr()
        assert "15 usable clips of 15 videos" in out
        assert "1 videos are other files (by size or content) in one store than in another" in err
        assert "clip0.mp4" in err
    assert "0 of " in err
    assert main(["verify", str(tmp_path / "all")]) == 0


def test_stores_that_do_not_fit(own, fails, tmp_path):
    np.savez(tmp_path / "x.npz", clip0=np.ones(3), clip1=np.ones(3))
    assert import_features([str(tmp_path / "imported"), f"face={tmp_path / 'x.npz'}"]) == 0
    says = fails(main, "merge", tmp_path / "all", own.store, tmp_path / "imported")
    assert "its 'face' was made by imported" in says
    assert "a store never mixes two" in says
    assert not (tmp_path / "all").exists()


def test_export_and_import(own, tmp_path, capsys):
    assert main(["export", str(own.store), str(tmp_path / "{stream}.npz")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[-6] for line in out[1:]] == [str(tmp_path / f"{stream}.npz") for stream in STREAMS]
    there = ["appearance", "motion", "audio"]
    sources = [f"{stream}={tmp_path / stream}.npz" for stream in there]
    names = [f"{stream}=ours" for stream in there]
    assert import_features([str(tmp_path / "back"), *sources, "--name", *names]) == 0
    one, other = FeatureStore(own.store), FeatureStore(tmp_path / "back")
    for stream in there:
        for rows, again in zip(*(store.read(stream, one.clips.index) for store in (one, other))):
            assert (rows is None) == (again is None)
            assert rows is None or rows.tobytes() == again.tobytes()
    assert main(["export", str(own.store), str(tmp_path / "a.parquet"), "--streams", "audio"]) == 0


@pytest.mark.parametrize("form", [["list"], ["verify"], ["merge", "all"]])
def test_no_store(fails, tmp_path, form):
    assert "no feature store at" in fails(main, *form, tmp_path / "nowhere")
