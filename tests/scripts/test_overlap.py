"""`mee overlap` on files, on a store, and with bad input."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest

from scripts.import_features import main as import_features
from scripts.overlap import main
from scripts.precompute import main as precompute


def shot(seed, size=(128, 96)):
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.uniform(30, 255, (8, 8, 3)), size, interpolation=cv2.INTER_CUBIC)
    return picture.clip(30, 255).astype(np.uint8)


@pytest.fixture
def lists(tmp_path):
    """lists(train=, test=): the flags that name two lists of these videos."""

    def write(**lists):
        for name, videos in lists.items():
            (tmp_path / f"{name}.txt").write_text("\n".join(videos))
        return [f"--{name}={tmp_path / name}.txt" for name in lists]

    return write


@pytest.fixture(scope="session")
def videos(media, tmp_path_factory):
    """Six training videos of three shots; for test a small, boxed part of one, a copy of one, and two others."""
    place = tmp_path_factory.mktemp("overlap")
    folder = place / "videos"
    (folder / "train").mkdir(parents=True)
    (folder / "test").mkdir()
    for number in range(6):
        frames = [shot(10 * number + second) for second in range(3) for _ in range(10)]
        media.write(folder / "train" / f"v{number}.mp4", frames)
        if number == 2:
            small = [cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA) for frame in frames[8:]]
            boxed = [np.pad(frame, ((10, 10), (0, 0), (0, 0))) for frame in small]
            media.write(folder / "test" / "part.mp4", boxed, options={"crf": "30"})
    shutil.copy(folder / "train" / "v4.mp4", folder / "test" / "copy.mp4")
    for number in (7, 8):
        media.write(folder / "test" / f"own{number}.mp4", [shot(100 * number)] * 15)
    captions = ["video_id,caption,split"]
    captions += [f"{path.parent.name}/{path.stem},x,{path.parent.name}" for path in sorted(folder.rglob("*.mp4"))]
    (place / "captions.csv").write_text("\n".join(captions) + "\n")
    return place


@pytest.fixture
def overlap(videos, prints):
    return lambda *flags: prints(main, videos / "videos", videos / "captions.csv", *flags)


def test_a_table_and_a_sentence(overlap):
    out, err = overlap("--workers=2")
    lines = [line.split() for line in out.splitlines()]
    assert lines[1][:3] == ["train/v4.mp4", "test/copy.mp4", "same"]
    assert lines[2][:3] == ["train/v2.mp4", "test/part.mp4", "alike"]
    assert int(lines[2][3]) <= 32
    assert "2 of 4 test videos have a near-duplicate among 6 training videos: 2 of 24 pairs" in out
    assert err == ""


@pytest.mark.parametrize(("name", "read"), [("pairs.csv", pd.read_csv), ("pairs.parquet", pd.read_parquet)])
def test_json_lines_and_files(overlap, tmp_path, name, read):
    printed, err = overlap("--json", "--workers=1", "--out", tmp_path / name)
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [(row["train_video"], row["test_video"], row["why"]) for row in rows] == [
        ("train/v4.mp4", "test/copy.mp4", "same file"),
        ("train/v2.mp4", "test/part.mp4", "alike"),
    ]
    assert rows[0]["bits"] == 0
    assert rows[1]["train_s"] - rows[1]["test_s"] == pytest.approx(0.5, abs=0.51)  # it was cut 0.8 s
    assert "2 of 4 test videos" in err
    assert read(tmp_path / name).to_dict("records") == rows


def test_files_that_cannot_be_read_are_listed(videos, prints, tmp_path):
    folder = shutil.copytree(videos / "videos", tmp_path / "videos")
    (folder / "test" / "own7.mp4").write_bytes(b"this is no video")
    out, err = prints(main, folder, videos / "captions.csv", "--workers=1", "--json", code=3)
    assert len(out.splitlines()) == 2
    assert "test/own7.mp4: not a video: its content is of no known media format" in err
    assert "1 video has nothing to compare but name and content" in err


def test_videos_that_are_missing_and_no_pairs(videos, store, lists, prints, fails, tmp_path):
    words = [videos / "videos", *lists(train=["Train/V0", "v99"], test=["test/own7"]), "--workers=1"]
    assert f"1 of 2 training videos are not usable in '{videos / 'videos'}': v99 (not in it)." in fails(
        main, *words
    )
    out, err = prints(main, *words, "--partial", "--out", tmp_path / "none.csv")
    assert "partial: left out 1 missing training videos" in err
    assert out.startswith("0 of 1 test videos have a near-duplicate among 1 training videos")
    assert (tmp_path / "none.csv").read_text() == "train_video,test_video,why,bits,train_s,test_s\n"
    message = fails(main, store / "store", *lists(train=["v0", "nobody"], test=["w0"]), "--by", "sight")
    assert (
        f"1 of 2 training videos are not usable in {store / 'store'}: nobody (not in it). See mee store list"
        in message
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Sixty imported clips; w1 is nearly v3."""
    place = tmp_path_factory.mktemp("overlap_store")
    rows = np.random.default_rng(0).normal(size=(60, 4, 16)).astype(np.float32)
    rows[41] = rows[3] + 0.02
    names = [f"v{number}" for number in range(40)] + [f"w{number}" for number in range(20)]
    np.savez(place / "sight.npz", stream=rows)
    (place / "ids.txt").write_text("\n".join(names) + "\n")
    words = [place / "store", f"sight={place / 'sight.npz'}", "--ids", place / "ids.txt", "--name", "seen"]
    assert import_features([str(word) for word in words]) == 0
    split = ["video_id,caption,split", *(f"{name},x,{'train' if name[0] == 'v' else 'test'}" for name in names)]
    (place / "captions.csv").write_text("\n".join(split) + "\n")
    return place


def test_by_a_stream(store, prints):
    words = [store / "store", store / "captions.csv", "--by", "sight"]
    out, err = prints(main, *words, "--threshold=0.99", "--json")
    (row,) = map(json.loads, out.splitlines())
    assert (row["train_video"], row["test_video"], row["why"]) == ("v3", "w1", "alike")
    assert row["similarity"] > 0.99
    assert "1 of 20 test videos have a near-duplicate among 40 training videos: 1 of 800 pairs" in err
    assert "has no digest of some files" in err
    out, err = prints(main, *words, "--threshold=-1", "--nearest=2")
    assert "800 of 800 pairs ('sight' at least -1 similar)" in out
    assert "760 further pairs are not listed: see --nearest" in err
    assert len(out.splitlines()) == 1 + 40 + 1 + 1


def test_files_of_equal_content_in_a_store(videos, tmp_path, prints):
    prints(precompute, videos / "videos", tmp_path / "store", "--streams", "motion", "--workers=1")
    flags = ("--by", "motion", "--threshold=1", "--json")
    out, err = prints(main, tmp_path / "store", videos / "captions.csv", *flags)
    (row,) = map(json.loads, out.splitlines())
    assert (row["train_video"], row["test_video"], row["why"]) == ("train/v4.mp4", "test/copy.mp4", "same file")
    assert "has no digest" not in err
    assert "only 10 clips are compared" in err


def test_what_is_refused_before_the_work(store, videos, fails, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    captions = store / "captions.csv"
    for words, message in (
        ((store / "store", captions), "is a feature store, which has no frames"),
        ((videos / "videos", captions, "--by", "sight"), "no feature store at "),
        ((store / "store", captions, "--by", "sound"), "has no stream 'sound'; it has sight"),
        ((videos / "videos", captions, "--out", "p.xls"), "--out is written as .csv or .parquet, not as 'p.xls'"),
        ((videos / "videos", captions, "--out", tmp_path / "mine.csv"), "mine.csv' exists already"),
    ):
        assert message in fails(main, *words, alone=False)
    assert (tmp_path / "mine.csv").read_text() == "mine"
