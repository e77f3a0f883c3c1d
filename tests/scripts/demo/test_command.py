"""mee demo: what its figures must be, and that a second call has little left to do."""

import json

import pytest

from mee.evaluation.result import read_result
from scripts.demo.command import main
from scripts.search import main as search


def weights(output):
    """modality -> its own mean mixture weight in percent, of captions that speak of it alone."""
    lines = output.partition("captions about")[2].splitlines()
    order = lines[0].split()
    rows = [line.replace("%", "").split() for line in lines[1 : 1 + len(order)]]
    return {name: float(row[3 + order.index(name)]) for name, row in zip(order, rows, strict=True)}


@pytest.mark.slow
def test_the_whole_way(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert main([str(folder)]) == 0
    output = capsys.readouterr().out
    for command in ("precompute", "train", "index", "evaluate", "report", "search"):
        assert f"$ mee {command} " in output
    assert output.count("$ mee search") == 5
    assert (folder / "answers.png").read_bytes().startswith(b"\x89PNG")
    own = weights(output)
    assert own["audio"] > 50
    assert own["motion"] > 50

    result = read_result(folder / "result.json")
    mixture = result.text_to_video.metrics["R@1"]
    others = {row.name: row.text_to_video["R@1"] for row in result.schemes}
    assert result.protocol.gallery >= 60
    assert result.protocol.queries == result.protocol.gallery
    assert 100 * 10 / result.protocol.gallery <= 17  # chance R@10
    assert mixture >= 60
    assert mixture >= max(others[name] for name in ("appearance", "motion", "audio", "face")) + 15
    assert mixture > others["uniform"]
    assert (folder / "report.html").read_text(encoding="utf-8").count("data:image/") >= 12

    before = (folder / "model" / "model.safetensors").stat().st_mtime_ns
    assert main([str(folder)]) == 0
    assert (folder / "model" / "model.safetensors").stat().st_mtime_ns == before
    capsys.readouterr()
    assert search([str(folder / "index"), "a red star", "--json", "--top", "1"]) == 0
    (hit,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert hit["score"] == pytest.approx(sum(share["contribution"] for share in hit["experts"].values()), abs=1e-5)


def test_another_folder_is_not_touched(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert main([str(tmp_path)]) == 1
    assert "is not a demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
