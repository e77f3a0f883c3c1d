"""mee model: a store without captions becomes a model, which the other commands take."""

import json

import numpy as np
import pytest

from mee.checkpoint import check_directory, fingerprint
from scripts.build_index import main as build_index
from scripts.evaluate import main as evaluate
from scripts.import_features import main as import_features
from scripts.model import main as model
from scripts.search import main as search
from tests.mee.tiny_models import save

NAMES = ("red", "green", "drums", "rain")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with probabilities of four names, of flow without names, and a sentence encoder."""
    place = tmp_path_factory.mktemp("made")
    rows = {f"c{n}": (0.1 / 3 + (0.9 - 0.1 / 3) * np.eye(4)[n % 4])[None].astype("f4") for n in range(12)}
    np.savez(place / "seen.npz", **rows)
    np.savez(place / "flow.npz", **{name: np.random.default_rng(0).normal(size=(2, 3)) for name in rows})
    (place / "names.txt").write_text("\n".join(NAMES))
    given = (
        f"seen={place / 'seen.npz'}",
        f"flow={place / 'flow.npz'}",
        "--columns",
        f"seen={place / 'names.txt'}",
    )
    assert import_features([str(place / "store"), *given]) == 0
    return place / "store", save("bert", place / "bert")


def test_a_store_is_searched_without_captions(made, prints, json_lines, tmp_path):
    store, encoder = made
    out, _ = prints(model, store, tmp_path / "model", "--text", encoder)
    rows = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert "4 names" in rows["seen"]
    assert "clips only" in rows["flow"]
    prints(build_index, store, tmp_path / "model", tmp_path / "index")
    for number, name in enumerate(NAMES):
        hits = json_lines(search, tmp_path / "index", name, "--top", "3")
        assert [int(hit["clip_id"][1:]) % 4 for hit in hits] == [number] * 3
        assert hits[0]["experts"]["flow"]["weight"] == 0
    like = json_lines(search, tmp_path / "index", "--like", "c0", "--only", "flow", "--top", "1")
    assert like[0]["experts"]["flow"]["weight"] == 1


def test_the_same_store_makes_the_same_model(made, prints, tmp_path):
    store, encoder = made
    for name in ("one", "other"):
        prints(model, store, tmp_path / name, "--text", encoder)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "other")


def test_it_is_evaluated_on_captions_that_it_has_not_seen(made, prints, tmp_path):
    store, encoder = made
    prints(model, store, tmp_path / "model", "--text", encoder, "--streams", "seen")
    captions = tmp_path / "captions.csv"
    captions.write_text("video_id,caption\n" + "".join(f"c{n},{NAMES[n % 4]}\n" for n in range(12)))
    out, err = prints(evaluate, store, captions, tmp_path / "model", "--result", tmp_path / "result.json")
    assert "Trained on: nothing: it was made without captions\n" in out
    assert "record" not in err
    figures = json.loads((tmp_path / "result.json").read_text())["text_to_video"]["metrics"]
    assert figures["MedR"] == 2  # of three equal clips


def test_a_bank_of_ones_own(made, prints, tmp_path):
    store, encoder = made
    (tmp_path / "bank.txt").write_text("a dog\na cat\n\na dog\n")
    prints(model, store, tmp_path / "model", "--text", encoder, "--bank", tmp_path / "bank.txt")
    assert check_directory(tmp_path / "model").bank == ("a dog", "a cat")


@pytest.mark.parametrize(
    "flags",
    [
        "--text /nowhere/bert",
        "--streams sound",
        "--tower seen=/nowhere/clip",
        "--bank /nowhere/bank.txt",
        "--streams flow",
        "--text transformer",
    ],
)
def test_what_cannot_be_made_leaves_nothing(made, fails, says, tmp_path, flags):
    store, encoder = made
    given = ("--text", encoder) if "--text" not in flags else ()
    said = fails(model, store, tmp_path / "model", *given, *flags.split())
    says(said.replace(str(store), "STORE"))
    assert list(tmp_path.iterdir()) == []
