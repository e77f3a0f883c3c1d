"""`mee precompute`: shares of a library, failures left alone, and flags that make no sense."""

import re

import pytest

from features.store.feature_store import FeatureStore
from scripts.precompute import main


@pytest.fixture
def clips(tmp_path, media):
    """A folder to fill with one short clip under several names."""
    folder = tmp_path / "videos"
    folder.mkdir()

    def fill(*names):
        for name in names:
            media.write(folder / name, [media.plain(number) for number in range(6)])
        return folder

    return fill


def test_shards_together_are_the_library(clips, tmp_path, capsys):
    folder = clips(*(f"{number}.mp4" for number in range(6)))
    arguments = [str(folder), str(tmp_path / "store"), "--streams", "audio", "--workers", "1"]
    of_each = []
    for index in range(2):
        assert main([*arguments, "--shard", f"{index}/2"]) == 0
        said = capsys.readouterr()
        of_each.append(int(re.search(rf"shard {index}/2: (\d) of 6 files", said.err)[1]))
        assert f"{sum(of_each)} clips of {sum(of_each)} videos" in said.out
    assert sum(of_each) == 6
    assert sorted(FeatureStore(tmp_path / "store").clips.index) == [f"{number}.mp4" for number in range(6)]
    assert main(arguments) == 0
    assert "6 of 6 files are in the store already" in capsys.readouterr().err


def test_a_shard_by_environment(clips, tmp_path, capsys, monkeypatch):
    folder = clips("a.mp4", "b.mp4")
    arguments = [str(folder), str(tmp_path / "store"), "--streams", "audio", "--workers", "1", "--shard", "env"]
    for name in ("RANK", "SLURM_PROCID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("error: --shard env: neither RANK (torchrun)")
    assert not (tmp_path / "store").exists()
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert main(arguments) == 0
    assert "shard 0/1: 2 of 2 files" in capsys.readouterr().err


def test_a_shard_without_files_has_nothing_to_do(clips, tmp_path, capsys):
    folder = clips("a.mp4")
    arguments = [str(folder), str(tmp_path / "store"), "--streams", "audio", "--workers", "1"]
    for index in range(2):
        assert main([*arguments, "--shard", f"{index}/2"]) == 0
    assert "0 of 1 files" in capsys.readouterr().err
    assert list(FeatureStore(tmp_path / "store").clips.index) == ["a.mp4"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--shard", "4/4"], "i from 0 to n - 1"),
        (["--shard", "half"], "shard must be i/n, such as 0/4, or env; got 'half'"),
        (["--shard", "0/2", "--overwrite"], "overwrite and shard exclude each other"),
        (["--retries", "-1"], "retries must be at least 0, got -1"),
        (["--max-seconds", "0"], "max-seconds must be positive"),
        (["--batch-size", "0"], "batch-size must be at least 1"),
    ],
)
def test_flags_that_make_no_sense(capsys, flags, says):
    with pytest.raises(SystemExit) as ended:
        main(["videos", "store", *flags])
    assert ended.value.code == 2
    assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_failures_left_alone_are_counted(clips, tmp_path, capsys):
    folder = clips("a.mp4")
    (folder / "zero.mp4").touch()
    arguments = [str(folder), str(tmp_path / "store"), "--streams", "audio", "--workers", "1"]
    assert main(arguments) == 3
    assert main([*arguments, "--skip-failed"]) == 0
    assert "1 files failed before, and are left alone (--skip-failed)" in capsys.readouterr().err
