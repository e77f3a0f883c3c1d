"""`mee explain`: the weights, the pictures, and bad input."""

import json
import math
import os
import re

import numpy as np
import pytest
import torch

from mee.text.transformer import TransformerEncoder
from scripts.explain import ATTENTION, WEIGHTS, main
from scripts.pictures import SHOWN_SENTENCES

LOGITS = {"appearance": 0.5, "motion": -1.25, "audio": 2.0}
DOG = "a dog barks in the snow"


def softmax(logits):
    total = sum(math.exp(logit) for logit in logits.values())
    return {name: math.exp(logit) / total for name, logit in logits.items()}


@pytest.fixture
def toy(model, tmp_path):
    """A model that gives every sentence LOGITS."""
    torch.nn.init.zeros_(model.mixture.weight)
    with torch.no_grad():
        model.mixture.bias.copy_(torch.tensor(list(LOGITS.values())))
    model.save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def explain(tmp_path, prints):
    """Run it with --out pictures; returns stdout and stderr."""
    return lambda *arguments: prints(main, *arguments, "--out", tmp_path / "pictures")


@pytest.fixture
def answers(json_lines, tmp_path):
    """The same as JSON."""
    return lambda *arguments: json_lines(main, *arguments, "--out", tmp_path / "pictures")


@pytest.fixture
def queries(tmp_path):
    def write(content):
        (tmp_path / "queries.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "queries.txt"

    return write


@pytest.mark.parametrize(
    "names", [tuple(LOGITS), ("appearance", "audio"), ("audio", "appearance"), ("motion",)], ids="+".join
)
@pytest.mark.parametrize("missing", ["evidence", "renormalise"])
def test_weights_are_the_softmax_of_the_logits_by_the_models_rule(answers, toy, names, missing):
    config = toy / "config.json"
    config.write_text(config.read_text().replace('"missing": "evidence"', f'"missing": "{missing}"'))
    (answer,) = answers(toy, DOG, *(("--available", *names) if len(names) < 3 else ()))
    assert answer["sentence"] == DOG
    counted = {name: logit for name, logit in LOGITS.items() if missing == "evidence" or name in names}
    assert answer["weights"] == pytest.approx(softmax(counted), rel=1e-15)
    assert list(answer["weights"]) == list(counted)
    assert answer["absent"] == [name for name in LOGITS if name not in names]


def test_weights_follow_the_sentence(answers, model, tmp_path, queries, sentences):
    model.save_pretrained(tmp_path / "model")
    found = answers(tmp_path / "model", "--sentences", queries("\n".join(sentences)))
    assert [answer["sentence"] for answer in found] == sentences
    for answer in found:
        h = model.text_encoder.encode([answer["sentence"]], torch.device("cpu"))[0].tolist()
        rows = zip(model.mixture.weight.tolist(), model.mixture.bias.tolist())
        logits = [sum(w * x for w, x in zip(row, h)) + bias for row, bias in rows]
        assert answer["weights"] == pytest.approx(softmax(dict(zip(LOGITS, logits))), rel=1e-5)
    assert len({answer["weights"]["audio"] for answer in found}) == len(sentences)


def test_a_trained_model(explain, world, tmp_path):
    out, err = explain(world.model, "number 3 moves up", "--json")
    answer, picture = json.loads(out), tmp_path / "pictures" / ATTENTION
    assert list(answer["weights"]) == ["appearance", "motion", "audio", "face"]
    assert sum(answer["weights"].values()) == pytest.approx(1, abs=1e-12)
    assert (answer["pictures"], err) == ([str(picture)], f"drawn: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_index_gives_the_weights_of_its_model(world, prints, json_lines, tmp_path, monkeypatch, queries):
    monkeypatch.chdir(tmp_path)
    of_index, of_model = (json_lines(main, place, DOG)[0] for place in (world.index, world.model))
    assert of_index["weights"] == pytest.approx(of_model["weights"], abs=1e-6)
    assert (of_index["pictures"], of_model["pictures"]) == ([], [ATTENTION])
    (tmp_path / ATTENTION).unlink()
    assert "without torch" in prints(main, world.index, DOG, "--verbose").err
    assert not list(tmp_path.glob("*.png"))
    drawn = json_lines(main, world.index, "--sentences", queries("a dog\na cat\n"), "--out", tmp_path / "pictures")
    assert [answer["pictures"] for answer in drawn] == [[str(tmp_path / "pictures" / WEIGHTS)]] * 2
    prints(main, world.index, DOG, "--out", tmp_path / "pictures")
    assert (tmp_path / "pictures" / ATTENTION).is_file()


def test_tables_of_one_sentence_and_of_a_file(explain, toy, queries):
    title, header, *rows = [line.split() for line in explain(toy, f"  {DOG} ").out.splitlines()]
    numbers = [f"{weight:.3f}" for weight in softmax(LOGITS).values()]
    assert title == f'"{DOG}"'.split()
    assert header == ["expert", "weight"]
    assert [row[:2] for row in rows] == [list(pair) for pair in zip(LOGITS, numbers)]
    bars = [len(row[2]) for row in rows]
    assert bars[2] > bars[0] > bars[1]
    *_, appearance, motion, audio = explain(toy, DOG, "--available", "audio").out.splitlines()
    assert [line.split(maxsplit=2)[2] for line in (appearance, motion)] == ["absent, adds nothing"] * 2
    assert audio.split() == rows[2]
    found = explain(toy, "--sentences", queries(DOG), "--available", "audio").out
    assert found.split()[2:5] == ["(appearance)", "(motion)", "audio"]
    out, err = explain(toy, "--sentences", queries("\ufeffone dog\r\n\n  two  cats \n雪"))
    header, *rows = [line.split() for line in out.splitlines()]
    assert header == ["#", "sentence", *LOGITS]
    assert rows == [["1", "one", "dog", *numbers], ["2", "two", "cats", *numbers], ["3", "雪", *numbers]]
    assert re.fullmatch(rf"drawn: .*{WEIGHTS}\n", err)


def test_the_picture_of_a_sentence_and_that_of_a_file_are_overwritten(explain, toy, queries, tmp_path):
    picture = tmp_path / "pictures" / ATTENTION
    explain(toy, DOG)
    first = picture.read_bytes()
    explain(toy, "rain falls")
    assert picture.read_bytes() != first
    assert list(picture.parent.iterdir()) == [picture]
    explain(toy, "--sentences", queries("only one\n"))
    assert sorted(path.name for path in picture.parent.iterdir()) == [ATTENTION, WEIGHTS]


def test_the_current_directory_is_fine_and_a_pipe_is_refused(toy, tmp_path, monkeypatch, json_lines, fails):
    monkeypatch.chdir(tmp_path)
    assert json_lines(main, toy, DOG)[0]["pictures"] == [ATTENTION]
    assert (tmp_path / ATTENTION).is_file()
    read, write = os.pipe()  # as the shell opens <(…); a named pipe may never have a writer
    os.write(write, b"a dog\na cat\n")
    os.close(write)
    assert len(json_lines(main, toy, "--sentences", f"/dev/fd/{read}")) == 2
    os.close(read)
    os.mkfifo("pipe")
    assert "'pipe' is a pipe and not a regular file" in fails(main, toy, "--sentences", "pipe")


def test_an_encoder_without_attention_still_has_weights(explain, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(TransformerEncoder, "attention", lambda self, sentence: None)
    out, err = explain(toy, DOG, "--json")
    assert err == "no picture: the text encoder 'transformer' has no attention to draw\n"
    assert json.loads(out)["pictures"] == []
    assert json.loads(out)["weights"] == pytest.approx(softmax(LOGITS))
    assert not (tmp_path / "pictures").exists()


def test_more_sentences_than_a_picture_shows(explain, toy, queries, tmp_path):
    file = queries("\n".join(f"sentence {number}" for number in range(SHOWN_SENTENCES + 3)))
    out, err = explain(toy, "--sentences", file, "--json")
    pictures = [json.loads(line)["pictures"] for line in out.splitlines()]
    assert [len(drawn) for drawn in pictures] == [1] * SHOWN_SENTENCES + [0] * 3
    assert "the first 200 of 203 sentences" in err


@pytest.mark.parametrize("sentence", ["[/b] [red]", "漢字 übung $x_", "?!", "a" * 3000, "🐶 :car:", "\x1b[31m"])
def test_any_sentence_is_explained(answers, toy, sentence, queries, recwarn):
    for asked in ([sentence], ["--sentences", queries(sentence)]):
        assert [answer["sentence"] for answer in answers(toy, *asked)] == [sentence]
    assert [str(warning.message) for warning in recwarn if "lyph" in str(warning.message)] == []


def test_pyplot_and_pandas_are_not_imported(mee, toy, tmp_path):
    code = (
        "import sys; from scripts.explain import main; code = main(sys.argv[1:]); "
        "print('loaded:', [name for name in ('matplotlib.pyplot', 'pandas') if name in sys.modules], code)"
    )
    ran = mee(toy, DOG, "--out", tmp_path, code=code)
    assert ran.stdout.splitlines()[-1] == "loaded: [] 0", ran.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((" ",), "the sentence is empty"),
        ((), "no sentence: name one"),
        ((DOG, "--sentences", "x.txt"), "not both"),
        (("--sentences", "x.txt"), "'x.txt'"),
        (("--sentences", "/"), "at '/'"),
        ((DOG, "--available", "apearance"), "'apearance' (did you mean 'appearance'?)"),
        ((DOG, "--available", "audio", "xyz"), "no expert 'xyz'; it has appearance, motion, audio"),
        (("\udcff",), r"the sentence '\udcff' is not UTF-8 text"),
    ],
)
def test_arguments_that_cannot_be_used(fails, toy, arguments, says):
    assert says in fails(main, toy, *arguments)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "{} is an empty file of sentences"),
        (b"\n \r\n\n", "{} is an empty file of sentences"),
        (b"good\nb\xe4d\n", "{}: line 2 is not UTF-8"),
        ("b\u00e4d\n".encode("utf-16-le"), "{}: line 1 is not UTF-8"),
    ],
)
def test_files_without_sentences(fails, toy, queries, content, says):
    path = queries(content)
    assert says.format(path) in fails(main, toy, "--sentences", path)


def test_models_and_places_that_cannot_be_used(fails, toy, model, tmp_path, monkeypatch):
    missing, file = tmp_path / "none", tmp_path / "file"
    assert fails(main, missing, DOG).startswith(f"no model at '{missing}'; make one with: ")
    file.write_text("x")
    for place in (file, file / "below"):
        assert f"{place / ATTENTION} cannot be written" in fails(main, toy, DOG, "--out", place)
    with monkeypatch.context() as patch:
        patch.setattr("index.queries.Queries.factors", lambda queries, *_: np.full((len(queries), 1, 3), np.nan))
        assert f"no finite weights for '{DOG}'" in fails(main, toy, DOG, "--out", tmp_path / "pictures")
    torch.nn.init.constant_(model.mixture.bias, torch.nan)
    model.save_pretrained(toy)
    assert "'mixture.bias' holds numbers that are not finite" in fails(
        main, toy, DOG, "--out", tmp_path / "pictures"
    )
    assert not (tmp_path / "pictures").exists()
