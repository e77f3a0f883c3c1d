"""`mee store`: list, verify, merge, export."""

import json
import shutil

import numpy as np
import pytest

from features.store.feature_store import FeatureStore
from scripts.import_features import main as import_features
from scripts.precompute import main as precompute
from scripts.store import main
from tests.features.small_stores import fill

STREAMS = ["appearance", "motion", "audio", "face"]


def test_streams(world, prints, json_lines):
    store = FeatureStore(world.store)
    title, header, *rows = [line.split() for line in prints(main, "list", world.store).out.splitlines()]
    assert title[:5] == [f"{world.store}:", "10", "usable", "clips", "of"]
    assert header == ["stream", "size", "present", "missing", "unknown", "share", "rows", "times", "on", "disk"]
    counts = {row[0]: row[1:] for row in rows[:4]}
    assert list(counts) == STREAMS
    assert counts["appearance"][:5] == ["512", "10", "0", "0", "100"]
    assert counts["audio"][1:3] == ["4", "6"]
    made = {row[0]: row[1:] for row in rows[-4:]}
    assert made["audio"][0] == "AudioExtractor"
    assert "sound 16000 Hz" in " ".join(made["audio"])
    assert store.fingerprints["audio"] in made["audio"]
    found = {row["stream"]: row for row in json_lines(main, "list", world.store)}
    assert list(found) == STREAMS
    for stream, row in found.items():
        assert row["rows"] == sum(store.lengths(stream, store.clips.index))
        assert row["bytes"] == sum(path.stat().st_size for path in world.store.glob(f"{stream}/*"))
        assert (row["present"], row["unknown"]) == (store.coverage()[stream], 0)
        assert row["code"]["mee"]
        assert row["timed"] == (row["rows"] > 0)


def test_clips(world, prints, json_lines):
    out = prints(main, "list", world.store, "--clips").out.splitlines()
    assert len(out) == 11
    assert out[0].split()[:3] == ["clip", "start", "end"]
    assert out[1].startswith("clip0.mp4")
    assert "h264" in out[1] or "mpeg4" in out[1]
    assert {line.index(" ok ") + 1 for line in out if " ok " in line} == {out[0].index("verdict")}
    rows = json_lines(main, "list", world.store, "--clips")
    assert [row["clip_id"] for row in rows] == list(FeatureStore(world.store).rows.index)
    assert all(len(row["file_sha256"]) == 64 and row["width"] and row["file_seconds"] is not None for row in rows)


def test_prune(own, tmp_path, prints, fails, says):
    videos = shutil.copytree(own.videos, tmp_path / "videos")
    prints(precompute, videos, own.store, "--workers", "1")  # in another place, and the same
    (videos / "clip3.mp4").unlink()
    said = []
    for flags in (["--dry-run"], [], ["--exclude", "clip[12].*"], []):
        out, err = prints(main, "prune", own.store, videos, *flags)
        said += [*out.splitlines(), *err.splitlines()]
    (tmp_path / "empty").mkdir()
    said += [fails(main, "prune", own.store, tmp_path / place) for place in ("empty", "nowhere")]
    says("\n".join(said))
    assert len(FeatureStore(own.store).rows) == 7
    prints(main, "prune", own.store, tmp_path / "empty", videos)  # of several folders a file is in one


def test_failures(world, tmp_path, prints, json_lines):
    videos, store = tmp_path / "videos", tmp_path / "store"
    videos.mkdir()
    shutil.copy(world.videos / "clip0.mp4", videos / "[red] a.mp4")
    (videos / "b.mp4").write_text("no video")
    prints(precompute, videos, store, "--streams", "appearance", "--workers", "1", code=3)
    title, _, row = prints(main, "list", store, "--failed").out.splitlines()
    assert "1 videos of" in title
    assert row.startswith("b.mp4  ")
    assert [row["video"] for row in json_lines(main, "list", store, "--failed")] == ["b.mp4"]
    assert "[red] a.mp4" in prints(main, "list", store, "--clips").out


def test_verify(own, prints, json_lines):
    assert "all are what was written" in prints(main, "verify", own.store).out
    path = sorted((own.store / "motion").glob("*[0-9].safetensors"))[0]
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    name, what = f"motion/{path.name}", "is not what was written: its checksum differs"
    out, err = prints(main, "verify", own.store, code=3)
    assert f"{name} wrong {what}" in " ".join(out.split())
    assert f"mee store verify {own.store} --repair" in err
    assert json_lines(main, "verify", own.store, code=3) == [{"file": name, "what": what, "wrong": True}]
    before = FeatureStore(own.store).done("appearance")
    err = prints(main, "verify", own.store, "--repair").err
    assert "1 files removed; run again the mee precompute or mee import" in err
    assert FeatureStore(own.store).done("appearance") == before
    assert len(FeatureStore(own.store).clips) < 10
    prints(precompute, own.videos, own.store, "--workers", "1")
    prints(main, "verify", own.store)
    assert len(FeatureStore(own.store).clips) == 10


def test_merge(own, tmp_path, prints):
    half = tmp_path / "half"
    half.mkdir()
    for number in range(5):
        shutil.copy(own.videos / f"clip{number}.mp4", half / f"other{number}.mp4")
    shutil.copy(own.videos / "clip1.mp4", half / "clip0.mp4")
    prints(precompute, half, tmp_path / "more", "--workers", "1")
    for _ in range(2):
        out, err = prints(main, "merge", tmp_path / "all", own.store, tmp_path / "more")
        assert "15 usable clips of 15 videos" in out
        assert "1 videos are other files (by size or content) in one store than in another" in err
        assert "clip0.mp4" in err
    assert "0 of " in err
    prints(main, "verify", tmp_path / "all")


def test_a_merge_with_a_changed_store_json_and_with_another_extractor(own, fails, tmp_path, prints):
    text, place = (own.store / "store.json").read_text(), own.store / "store.json"
    place.write_text(text.replace('"flat": 1.0', '"flat": 2.0'))
    assert f"mee store merge NEW {own.store} makes" in prints(main, "verify", own.store, code=3).err
    prints(main, "merge", tmp_path / "fresh", own.store)
    prints(main, "verify", tmp_path / "fresh")
    np.savez(tmp_path / "x.npz", clip0=np.ones(3), clip1=np.ones(3))
    prints(import_features, tmp_path / "imported", f"face={tmp_path / 'x.npz'}")
    place.write_text(text)
    message = fails(main, "merge", tmp_path / "all", own.store, tmp_path / "imported")
    assert "its 'face' was made by imported" in message
    assert "a store never mixes two" in message
    assert not (tmp_path / "all").exists()


def test_named_columns_are_imported_and_shown(tmp_path, prints):
    np.savez(tmp_path / "x.npz", a=np.ones(2), b=np.ones(2))
    (tmp_path / "names.txt").write_text("cat\n")
    source, store = f"sight={tmp_path / 'x.npz'}", tmp_path / "store"
    prints(import_features, store, source, "--columns", tmp_path / "names.txt")
    assert "imported, 1 named columns" in prints(main, "list", store).out
    assert json.loads(prints(main, "list", store, "--json").out)["named"] == 1


def test_export_and_import(own, tmp_path, prints):
    _, *out = prints(main, "export", own.store, tmp_path / "{stream}.npz").out.splitlines()
    assert [line.split()[-6] for line in out] == [str(tmp_path / f"{stream}.npz") for stream in STREAMS]
    present = ["appearance", "motion", "audio"]
    sources, names = zip(*((f"{stream}={tmp_path / stream}.npz", f"{stream}=ours") for stream in present))
    prints(import_features, tmp_path / "back", *sources, "--name", *names)
    one, other = FeatureStore(own.store), FeatureStore(tmp_path / "back")
    for stream in present:
        for rows, again in zip(*(store.read(stream, one.clips.index) for store in (one, other))):
            assert (rows is None) == (again is None)
            assert rows is None or rows.tobytes() == again.tobytes()
    prints(main, "export", own.store, tmp_path / "a.parquet", "--streams", "audio")


def test_words(tmp_path, prints):
    store = tmp_path / "store"
    fill(store, [("v.mp4", "ok", 10, "x", "missing", "present", False)])  # `sound` holds a line at 1 s
    header, line = prints(main, "words", store).out.splitlines()
    assert header == "video,start_s,end_s,stream,words"
    assert line.startswith("v.mp4,1.000,1.000,sound,number ")
    vtt = prints(main, "words", store, "--format", "vtt", "--stream", "sound", "--video", "v.mp4").out
    assert vtt.startswith("WEBVTT\n\n00:00:01.000 --> 00:00:01.001\nnumber ")
    prints(main, "words", store, tmp_path / "out", "--format", "vtt", "--stream", "sound")
    assert (tmp_path / "out" / "v.mp4.vtt").read_text() == vtt
    prints(main, "words", store, tmp_path / "words.csv")
    assert (tmp_path / "words.csv").read_text().splitlines() == [header, line]
    with pytest.raises(SystemExit):
        main(["words", str(store), "--format", "vtt"])
    listed = [row.split()[:2] for row in prints(main, "list", store).out.splitlines()]
    assert ["sound", "words"] in listed
