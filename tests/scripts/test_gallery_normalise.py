"""`mee gallery normalise`: every clip gets an offset, and search takes it off."""

import json
import shutil

import pytest

from index.storage.snapshot import read_snapshot
from scripts.build_index import main as build_index
from scripts.gallery import main
from scripts.precompute import main as precompute
from scripts.search import main as search


@pytest.fixture
def bank(tmp_path):
    path = tmp_path / "captions.csv"
    rows = ["video_id,caption,split", "clip0,a red thing,train", "clip1,a blue thing moves,train"]
    path.write_text("\n".join([*rows, "clip2,a secret,test\n"]))
    return path


@pytest.fixture
def hits(prints):
    def run(*arguments):
        return [json.loads(line) for line in prints(search, *arguments, "--json").out.splitlines()]

    return run


def test_search_takes_the_offsets_off(own, bank, hits, prints):
    plain = hits(own.index, "a red thing")
    out, _ = prints(main, "normalise", own.index, "--bank", bank)
    assert out == f"{own.index}: every clip has an offset of nnn, from 2 captions of captions.csv\n"
    facts = read_snapshot(own.index).offsets
    assert (facts["method"], facts["bank"]) == ("nnn", "2 captions of captions.csv")
    shifted = hits(own.index, "a red thing")
    assert any(hit["offset"] for hit in shifted)
    for hit in shifted:
        parts = sum(share["contribution"] for share in hit["experts"].values())
        assert parts - hit["offset"] == pytest.approx(hit["score"], abs=1e-5)
    assert hits(own.index, "a red thing", "--plain") == plain


def test_again_gives_the_same_and_drop_takes_them_off(own, bank, hits, prints):
    plain, shifted = hits(own.index, "a blue thing"), []
    for _ in range(2):
        prints(main, "normalise", own.index, "--bank", bank, "--neighbours", "1")
        shifted.append(hits(own.index, "a blue thing"))
    assert shifted[0] == shifted[1]
    prints(main, "compact", own.index, "--drop-offsets")
    assert hits(own.index, "a blue thing") == plain
    prints(build_index, own.store, own.model, own.index, "--overwrite")


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("video_id,caption,split\nclip0,a thing,test\n", (), "no captions of split 'train'"),
        ("video_id,text\nclip0,a thing\n", (), "no column 'caption'"),
        ("video_id,caption,split\nclip0,a,train\n", ("--alpha", "1e300"), "take a smaller --alpha"),
    ],
)
def test_what_cannot_be_used(own, fails, tmp_path, bank, text, more, said):
    bank.write_text(text)
    assert said in fails(main, "normalise", own.index, "--bank", bank, *more)
    assert read_snapshot(own.index).offsets is None
    assert "nowhere.txt" in fails(main, "normalise", own.index, "--bank", tmp_path / "nowhere.txt")
    assert "no index at" in fails(main, "normalise", tmp_path / "nowhere", "--bank", bank)


def test_clips_that_come_later_have_none_and_changed_ones_keep_theirs(grown, bank, fails, hits, prints):
    prints(main, "normalise", grown.index, "--bank", bank)
    table = grown.place / "m.csv"
    table.write_text("clip_id,mood\nclip3.mp4,glad\n")
    before = {hit["clip_id"]: hit["offset"] for hit in hits(grown.index, "a thing", "--top", 99)}
    prints(build_index, *grown.arguments, "--metadata", table)
    assert {hit["clip_id"]: hit["offset"] for hit in hits(grown.index, "a thing", "--top", 99)} == before
    shutil.copy(grown.videos / "clip9.png", grown.videos / "new.png")
    prints(precompute, grown.videos, grown.store, "--workers", "1")
    error = fails(build_index, *grown.arguments)
    assert "1 clips have none, 'new.png' among them" in error
    assert "mee gallery compact INDEX --drop-offsets" in error
