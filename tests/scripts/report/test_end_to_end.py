"""From a store and a model to a page: what mee evaluate writes is what mee report reads."""

import pytest

from scripts.evaluate import main as evaluate
from scripts.report.command import main as report


@pytest.fixture(scope="module")
def result(world, tmp_path_factory):
    path = tmp_path_factory.mktemp("result") / "result.json"
    assert (
        evaluate([str(world.store), str(world.captions), str(world.model), "--result", str(path), "--ablation"])
        == 0
    )
    return path


def test_a_real_result_makes_a_page_with_frames(world, result, tmp_path, parse, capsys):
    page = tmp_path / "page.html"
    assert report([str(result), "--videos", str(world.videos), "--out", str(page)]) == 0
    root = parse(page.read_text("utf-8"))
    links = [node.text for node in root.all("nav")[0].all("a")]
    assert {"Figures", "Recall", "Ranks", "How much each expert counts", "Without one stream"} <= set(links)
    assert root.all("img")
    assert [node.text for node in root if node.attributes.get("class") == "blank"] == []
    capsys.readouterr()
    assert report([str(result)]) == 0
    assert "all streams" in capsys.readouterr().out
