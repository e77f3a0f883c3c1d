"""The text side beside an index: it encodes as the model does, or is refused, and the model takes its place."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file

from index.request import Request
from index.searcher import Searcher
from index.storage.manifest import Origin, read_manifest, text_name, write_text_facts
from index.storage.verify import verify_index
from index.sync import synchronise
from index.text_side import TextSide
from mee.checkpoint import fingerprint
from mee.encode import encode_captions
from mee.errors import InputError
from mee.model import MEE
from tests.mee import tiny_models

ENCODERS = {
    "transformer": {},
    "transformer-learnt": {"pooling": ("mean", "netvlad-3", "transformer")},
    "recurrent": {"encoder": "recurrent"},
    "bert": {"family": "bert"},
    "prompted": {"family": "bert", "prompts": ("a dog plays ", "rain: ")},
    "gpt2": {"family": "gpt2", "pooling": ("last",), "tuned_layers": 1},
    "clip": {"tower": "clip"},
}
ODD = (
    "a red circle",
    "ÜBER 雪 🎬",
    "?!",
    "-",
    "a\tb\nc",
    "x" * 3000,
    "a dog " * 500,
    "'; drop",
    "\u200b",
    "Ǆ ﬁ ½",
)


def indexed(place, model, source):
    """Save a model and index a source with it; returns what was reported."""
    model.save_pretrained(place / "model")
    origin = Origin(str(place / "model"), fingerprint(place / "model"), "store")
    return synchronise(place / "index", model, source, origin, overwrite=True)


def text_of(place):
    return place / "index" / text_name(read_manifest(place / "index")[0].origin)


@pytest.fixture
def place(model, source, tmp_path):
    """A folder with a model and an index."""
    assert indexed(tmp_path, model, source).no_text == ""
    return tmp_path


@pytest.mark.parametrize("name", ENCODERS)
def test_it_scores_and_refuses_as_the_model_does(name, model_config, source, tmp_path):
    how = dict(ENCODERS[name])
    family, tower = how.pop("family", None), how.pop("tower", None)
    first, *others = model_config.experts
    if family:
        how["encoder"] = str(tiny_models.save(family, tmp_path / "pretrained"))
    if tower:
        first = replace(first, text=str(tiny_models.save(tower, tmp_path / "pretrained")))
    config = replace(model_config, text=replace(model_config.text, **how), experts=(first, *others))
    torch.manual_seed(3)
    model = MEE.learn(config, tiny_models.WORDS).eval()
    assert indexed(tmp_path, model, source).no_text == ""
    exported = Searcher.load(tmp_path / "index")
    by_torch = Searcher.load(tmp_path / "index", model=tmp_path / "model")
    one, other = exported.text.encode(ODD), by_torch.text.encode(ODD)
    assert "without torch" in exported.text.source
    assert "with torch: a model is named" in by_torch.text.source
    np.testing.assert_allclose(one.packed, other.packed, atol=1e-6)
    np.testing.assert_allclose(one.logits, other.logits, atol=1e-5)
    np.testing.assert_array_equal(one.offsets, other.offsets)
    requests = [Request(sentence=sentence, top=99) for sentence in ODD]
    for found, wanted in zip(exported.search(requests), by_torch.search(requests)):
        scores = {hit.clip_id: hit.score for hit in wanted}
        assert {hit.clip_id: hit.score for hit in found} == pytest.approx(scores, abs=1e-6)
    for sentences in (("a dog", " \n"), ("\udcff",)):
        said = []
        for searcher in (exported, by_torch):
            with pytest.raises(InputError) as refused:
                searcher.text.encode(sentences)
            said.append(str(refused.value))
        assert said[0] == said[1]


def test_a_sentence_is_the_same_in_any_company(place):
    text = Searcher.load(place / "index").text
    together, alone = text.encode(ODD), [text.encode([sentence]) for sentence in ODD]
    np.testing.assert_array_equal(together.packed, np.concatenate([each.packed for each in alone]))


def test_an_encoder_with_its_own_rules_for_words_is_not_exported(model_config, source, tmp_path):
    (tmp_path / "vectors.txt").write_text("dog 1 2 3 4\ncat 2 3 4 5\nred 0 1 0 1\n")
    text = replace(model_config.text, encoder="word-vectors", vectors=str(tmp_path / "vectors.txt"))
    report = indexed(tmp_path, MEE.learn(replace(model_config, text=text), ["a red dog"]).eval(), source)
    assert "'word-vectors' has a tokenizer that is not" in report.no_text
    searcher = Searcher.load(tmp_path / "index")
    assert len(searcher.search([Request(sentence="a red dog")])[0]) == 10
    assert searcher.text.source.endswith("the index has no text side")


def test_a_model_that_has_changed_since_is_noticed_and_one_that_is_gone_not_missed(place, model, source):
    (place / "model").rename(place / "elsewhere")
    hits = Searcher.load(place / "index").search([Request(sentence="a dog")])
    assert Searcher.load(place / "index", model=place / "elsewhere").search([Request(sentence="a dog")]) != []
    with torch.no_grad():
        model.mixture.bias.add_(1)
    model.save_pretrained(place / "model")
    with pytest.raises(InputError, match=r"is not the model .*--overwrite"):
        Searcher.load(place / "index")
    for path in (place / "model").rglob("*"):
        os.utime(path, (1, 1))  # an older folder is not read
    assert Searcher.load(place / "index").search([Request(sentence="a dog")]) == hits
    before = text_of(place)
    assert indexed(place, model, source).no_text == ""
    assert [path.name for path in (place / "index").glob("text-*")] == [text_of(place).name] != [before.name]


def test_it_is_exported_once_and_again_where_it_is_damaged(place, model, source):
    graph = text_of(place) / "graph.onnx"
    made = graph.stat().st_ino
    assert indexed(place, model, source).no_text == ""
    assert graph.stat().st_ino == made
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + b"x")
    (finding,) = verify_index(place / "index")
    assert "graph.onnx' is damaged (its checksum is wrong)" in finding
    assert indexed(place, model, source).no_text == ""
    assert graph.read_bytes() == content
    assert verify_index(place / "index") == []


# ---- what is damaged, or made to do harm


def scratched(path, content):
    path.unlink()
    path.write_bytes(content)


def linked(path):
    path.rename(path.with_name("aside"))
    path.symlink_to(path.with_name("aside"))


def piped(path):
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "no folder": lambda folder: shutil.rmtree(folder),
    "a link to a folder": linked,
    "no description": lambda folder: (folder / "text.json").unlink(),
    "a description that is cut": lambda folder: scratched(folder / "text.json", b'{"format": 1'),
    "no graph": lambda folder: (folder / "graph.onnx").unlink(),
    "a graph that is a link": lambda folder: linked(folder / "graph.onnx"),
    "a graph that is a pipe": lambda folder: piped(folder / "graph.onnx"),
    "another graph": lambda folder: scratched(
        folder / "graph.onnx", bytes((folder / "graph.onnx").stat().st_size)
    ),
    "weights that are cut": lambda folder: scratched(folder / "weights.safetensors", b"\0" * 900),
    "a tokenizer that is cut": lambda folder: scratched(folder / "tokens-0.json", b"{}"),
}


def edited(change):
    """Change the graph."""

    def edit(folder):
        model = onnx.load(folder / "graph.onnx")
        change(model.graph, model)
        onnx.save(model, folder / "graph.onnx")

    return edit


def outside(graph, model):
    """A weight in another file."""
    tensor = TensorProto(name="more", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../model/config.json")
    graph.initializer.append(tensor)


def huge(graph, model):
    """Two terabytes of zeros, added to the offsets."""
    graph.initializer.append(helper.make_tensor("size", TensorProto.INT64, [2], [1 << 20, 1 << 19]))
    zero = helper.make_node("ConstantOfShape", ["size"], ["zeros"])
    total = helper.make_node("ReduceSum", ["zeros"], ["total"], keepdims=0)
    last = next(node for node in graph.node if "offsets" in node.output)
    last.output[0] = "small"
    graph.node.extend([zero, total, helper.make_node("Add", ["small", "total"], ["offsets"])])


def looping(graph, model):
    body = helper.make_graph([], "body", [], [])
    graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def another_domain(graph, model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    graph.node.append(helper.make_node("Gelu", ["ids-0"], ["x"], domain="com.microsoft"))


def renamed(graph, model):
    next(each for each in graph.output if each.name == "logits").name = "ids-0"


def of_weights(change):
    def edit(folder):
        weights = load_file(folder / "weights.safetensors")
        change(weights)
        save_file(weights, folder / "weights.safetensors")

    return edit


def catastrophic(folder):
    path = folder / "tokens-0.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}
    path.write_text(json.dumps(content))


HOSTILE = {  # with checksums that are right
    "weights in other files": edited(outside),
    "a loop": edited(looping),
    "others' operators": edited(another_domain),
    "endless memory": edited(huge),
    "other outputs": edited(renamed),
    "another input": edited(lambda graph, _: graph.input.add(name="x")),
    "no operators": edited(lambda graph, _: graph.ClearField("node")),
    "no weights": of_weights(lambda weights: weights.clear()),
    "one weight more": of_weights(lambda weights: weights.update(x=np.zeros(1, "f4"))),
    "weights of another shape": of_weights(
        lambda weights: weights.update({"model.mixture.bias": np.zeros(4, "f4")})
    ),
    "weights of another type": of_weights(lambda weights: weights.update({"model.offset": np.zeros(3, "f2")})),
    "a tokenizer that searches for ever": catastrophic,
    "no tokenizer": lambda folder: (folder / "tokens-0.json").write_text("[]"),
    "a file of its own": lambda folder: (folder / "more").write_text(""),
}


def said(place):
    """Why the text side is not used; the model is, and finds the same."""
    searcher = Searcher.load(place / "index")
    hits = searcher.search([Request(sentence="a dog barks", top=99)])[0]
    by_torch = Searcher.load(place / "index", model=place / "model").search(
        [Request(sentence="a dog barks", top=99)]
    )
    assert hits == by_torch[0]
    reason = searcher.text.source
    assert "with torch: " in reason
    return reason.partition("with torch: ")[2]


@pytest.fixture
def reasons(place, says):
    """For each change the reason that is given, in one snapshot."""

    def run(changes, reseal):
        whole, folder, found = place / "whole", text_of(place), {}
        shutil.copytree(folder, whole)
        for name, change in changes.items():
            change(folder)
            if reseal:
                facts = json.loads((folder / "text.json").read_text())
                (folder / "text.json").unlink()
                write_text_facts(folder, {name: facts[name] for name in ("format", "nothing", "prompts")})
            found[name] = said(place)
            for path in (place / "index").glob("*"):
                if path.name in (folder.name, "aside"):
                    path.unlink() if path.is_symlink() else shutil.rmtree(path)
            shutil.copytree(whole, folder)
        says("\n".join(f"{name}: {words}" for name, words in found.items()))

    return run


def test_damage_is_found_and_the_model_takes_its_place(reasons):
    reasons(DAMAGE, reseal=False)


def test_weights_that_are_cut_while_they_are_mapped_are_noticed(place):
    searcher, weights = Searcher.load(place / "index"), text_of(place) / "weights.safetensors"
    before = searcher.search([Request(sentence="a dog")])
    os.truncate(weights, 4096)
    assert [hit.clip_id for hit in searcher.search([Request(sentence="a dog")])[0]] == [
        h.clip_id for h in before[0]
    ]
    assert "weights.safetensors' is damaged (it has 4,096 bytes of " in searcher.text.source


def test_a_text_side_that_was_made_to_do_harm_is_refused(reasons):
    reasons(HOSTILE, reseal=True)


def test_what_encodes_otherwise_is_not_kept(place, model, source, monkeypatch):
    from mee import export

    real = export.export_text

    def wrong(*given):
        made = real(*given)
        return replace(
            made, weights={**made.weights, "model.mixture.bias": made.weights["model.mixture.bias"] + 1}
        )

    monkeypatch.setattr(export, "export_text", wrong)
    shutil.rmtree(text_of(place))
    assert "the exported logits differ from the model's by 1" in indexed(place, model, source).no_text
    assert not text_of(place).exists()
    with pytest.raises(InputError, match="has no text side"):
        TextSide(text_of(place), model.layout)
    assert encode_captions(model, ["a dog"]).logits.shape == (1, 3)


def test_a_model_that_differs_in_its_video_side_alone_takes_the_files_over(place, model, source, monkeypatch):
    before = text_of(place)
    monkeypatch.setattr("mee.export.export_text", None)
    with torch.no_grad():
        model.video_experts[0].unit.linear.bias.add_(1)
    assert indexed(place, model, source).no_text == ""
    assert before != text_of(place)
    assert not before.exists()
    encoded = TextSide(text_of(place), model.layout, whole=True).encode(ODD[:2]).packed[:, 0]
    np.testing.assert_allclose(encoded, encode_captions(model, ODD[:2]).packed, atol=1e-5)
    with torch.no_grad():
        model.offset.add_(1)
    with pytest.raises(TypeError):
        indexed(place, model, source)
