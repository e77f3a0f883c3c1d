"""Which normalisation is used, and what a result states of it, of the protocol and of the rules."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from mee.errors import InputError
from mee.evaluation.config import EvaluateConfig, NormaliseConfig
from mee.evaluation.evaluate import protocol_facts, rules_of
from mee.evaluation.result import Normalisation
from mee.protocols.protocol import Benchmark
from mee.protocols.table import PROTOCOLS
from mee.ranking.normalise import qb_norm
from mee.ranking.rank import CONVENTIONS
from tests.mee.whole_scores import WholeScores, whole_matrix


def benchmark(name="lsmdc", **fields):
    table = pd.DataFrame(columns=["query_id", "video_id", "caption", "split"])
    return Benchmark(protocol=PROTOCOLS[name], table=table, gallery=(), **{"train_list": None, **fields})


@pytest.mark.parametrize("v2t", CONVENTIONS)
def test_rules_are_said_in_words(v2t):
    config = EvaluateConfig(captions=Path("captions.csv"), v2t=v2t)
    rules = rules_of(config, Normalisation(method="dsl"))
    assert rules.ties == "expected rank"
    assert rules.v2t == CONVENTIONS[v2t]
    assert rules.normalisation.method == "dsl"
    assert rules.intervals == "95 % bootstrap over queries, 1,000 resamples, seed 0"
    assert rules_of(replace(config, bootstrap=0), Normalisation()).intervals == ""


def test_a_whole_protocol_is_stated_with_its_counts(tmp_path):
    file = tmp_path / "test.csv"
    file.write_text("captions")
    said = {"without_stream": ("v3",), "streams": {"audio": 990}, "train_list": "9k"}
    whole = benchmark(files={"test": file})
    facts = protocol_facts(whole, split="test", queries=1000, gallery=1000, **said)
    names = {"name": "lsmdc", "title": PROTOCOLS["lsmdc"].title, "split": "test", "query_rule": "every caption"}
    numbers = {"queries": 1000, "expected_queries": 1000, "gallery": 1000, "expected_gallery": 1000}
    nothing = {"partial": False, "missing": (), "left_out": ()}
    files = {"test": f"test.csv sha256:{hashlib.sha256(b'captions').hexdigest()}"}
    assert facts.model_dump() == {**said, **names, **numbers, **nothing, "files": files}


COUNTED = ("997 queries, and lsmdc has 1,000", "1,001 clips, and lsmdc has 1,000")


@pytest.mark.parametrize(
    ("name", "split", "fields", "said", "missing"),
    [
        ("lsmdc", "test", {"shortfalls": ("a list is short",)}, {}, ("a list is short",)),
        ("lsmdc", "test", {}, {"missing": ("3 queries have no scores",)}, ("3 queries have no scores",)),
        ("lsmdc", "test", {}, {"left_out": ["v1"]}, ()),
        ("lsmdc", "test", {}, {}, COUNTED),  # that nobody explained
        ("lsmdc", "val", {"shortfalls": ("the test list is short",)}, {}, ()),
        ("lsmdc", "val", {}, {"left_out": ["v1"]}, ()),
        ("folder", "test", {}, {}, ()),  # a protocol without counts takes any
    ],
)
def test_whatever_is_missing_makes_a_result_partial(name, split, fields, said, missing):
    facts = protocol_facts(benchmark(name, **fields), split=split, queries=997, gallery=1001, **said)
    left_out = tuple(said.get("left_out", ()))
    assert (facts.missing, facts.left_out, facts.partial) == (missing, left_out, bool(missing or left_out))
    expected = (1000, 1000) if (name, split) == ("lsmdc", "test") else (None, None)
    assert (facts.expected_queries, facts.expected_gallery) == expected


METHODS = [  # settings, whether they need a bank, what they state
    ({}, False, {}),
    (
        {"method": "qb-norm", "beta": 3.0},
        True,
        {"bank": "9 training captions", "parameters": {"beta": 3}, "uses_test_queries": False},
    ),
    *(
        (
            {"method": "nnn", "neighbours": neighbours, "alpha": 0.5},
            True,
            {"bank": "9 training captions", "parameters": {"neighbours": used, "alpha": 0.5}},
        )
        for neighbours, used in ((2, 2), (128, 9))
    ),
    ({"method": "dsl", "beta": 4.0}, False, {"parameters": {"beta": 4}, "uses_test_queries": True}),
]


@pytest.mark.parametrize(("settings", "needs_bank", "stated"), METHODS)
def test_a_normalisation_uses_its_settings_and_states_them(settings, needs_bank, stated):
    config = NormaliseConfig(**settings)
    scores, bank = (
        WholeScores(torch.rand(rows, 4, generator=torch.Generator().manual_seed(rows))) for rows in (3, 9)
    )
    matrix, method = scores.matrix, settings.get("method", "none")
    offsets = config.offsets(bank if needs_bank else None)
    if method == "qb-norm":
        expected = qb_norm(bank, 3.0)
        matrix = matrix - expected.active[matrix.argmax(1)][:, None] * expected.offset
    elif method == "nnn":
        used = stated["parameters"]["neighbours"]
        matrix = matrix - 0.5 * bank.matrix.sort(0, descending=True).values[:used].mean(0)
    elif method == "dsl":
        matrix = matrix * (4 * matrix).softmax(0)
    torch.testing.assert_close(whole_matrix(config.apply(scores, offsets)), matrix)
    assert config.needs_bank is needs_bank
    assert config.facts("9 training captions", 9) == Normalisation(**{"method": method} | stated)
    if method == "none":
        assert config.apply(scores, offsets) is scores
    for none in (None, WholeScores(torch.empty(0, 4))):
        if needs_bank:
            with pytest.raises(InputError, match=f"^{method} needs a bank of training captions.*--bank"):
                config.offsets(none)
