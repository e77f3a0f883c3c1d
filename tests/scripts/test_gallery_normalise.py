"""`mee gallery normalise`: every clip gets a constant, and search takes it off."""

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


def hits(capsys, *arguments):
    capsys.readouterr()
    assert search([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_search_takes_the_constants_off(own, bank, capsys):
    plain = hits(capsys, own.index, "a red thing")
    assert main(["normalise", str(own.index), "--bank", str(bank)]) == 0
    out = capsys.readouterr().out
    assert out == f"{own.index}: every clip carries a constant of nnn, made of 2 captions of captions.csv\n"
    facts = read_snapshot(own.index).constants
    assert (facts["method"], facts["bank"]) == ("nnn", "2 captions of captions.csv")
    shifted = hits(capsys, own.index, "a red thing")
    assert any(hit["constant"] for hit in shifted)
    for hit in shifted:
        parts = sum(share["contribution"] for share in hit["experts"].values())
        assert parts - hit["constant"] == pytest.approx(hit["score"], abs=1e-5)
    assert hits(capsys, own.index, "a red thing", "--plain") == plain


def test_again_gives_the_same_and_drop_takes_them_off(own, bank, capsys):
    plain = hits(capsys, own.index, "a blue thing")
    for _ in range(2):
        assert main(["normalise", str(own.index), "--bank", str(bank), "--neighbours", "1"]) == 0
        shifted = hits(capsys, own.index, "a blue thing")
    assert hits(capsys, own.index, "a blue thing") == shifted
    assert main(["compact", str(own.index), "--drop-constants"]) == 0
    assert hits(capsys, own.index, "a blue thing") == plain
    assert build_index([str(own.store), str(own.model), str(own.index), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video_id,caption,split\nclip0,a thing,test\n", "no captions of split 'train'"),
        ("video_id,text\nclip0,a thing\n", "no column 'caption'"),
    ],
)
def test_a_bank_that_cannot_be_used(own, fails, bank, text, said):
    bank.write_text(text)
    assert said in fails(main, "normalise", own.index, "--bank", bank)
    assert read_snapshot(own.index).constants is None


def test_a_bank_or_an_index_that_is_not_there(own, fails, tmp_path, bank):
    assert "nowhere.txt" in fails(main, "normalise", own.index, "--bank", tmp_path / "nowhere.txt")
    assert "no index at" in fails(main, "normalise", tmp_path / "nowhere", "--bank", bank)


def test_constants_that_are_no_numbers(own, fails, bank):
    assert "take a smaller --alpha" in fails(main, "normalise", own.index, "--bank", bank, "--alpha", "1e300")
    assert read_snapshot(own.index).constants is None


def test_clips_that_come_later_have_none_and_changed_ones_keep_theirs(own, bank, fails, capsys):
    shutil.copytree(own.videos, own.place / "videos")
    again = [str(own.store), str(own.model), str(own.index)]
    assert build_index([*again, "--overwrite"]) == 0
    assert main(["normalise", str(own.index), "--bank", str(bank)]) == 0
    table = own.place / "m.csv"
    table.write_text("clip_id,mood\nclip3.mp4,glad\n")
    before = {hit["clip_id"]: hit["constant"] for hit in hits(capsys, own.index, "a thing", "--top", 99)}
    assert build_index([*again, "--metadata", str(table)]) == 0
    assert {hit["clip_id"]: hit["constant"] for hit in hits(capsys, own.index, "a thing", "--top", 99)} == before
    shutil.copy(own.videos / "clip9.png", own.place / "videos" / "new.png")
    assert precompute([str(own.place / "videos"), str(own.store), "--workers", "1"]) == 0
    error = fails(build_index, *again)
    assert "the index carries constants, and 1 clips have none, 'new.png' among them" in error
    assert "mee gallery compact INDEX --drop-constants" in error


def test_settings_that_mean_nothing(own, bank, capsys):
    for setting in (["--neighbours", "0"], ["--alpha", "-1"]):
        with pytest.raises(SystemExit) as stopped:
            main(["normalise", str(own.index), "--bank", str(bank), *setting])
        assert stopped.value.code == 2
