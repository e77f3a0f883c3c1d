"""What a result says of the protocol and the rules."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mee.evaluation.config import EvaluateConfig
from mee.evaluation.evaluate import protocol_facts, rules_of
from mee.evaluation.result import Normalisation
from mee.protocols.protocol import Benchmark
from mee.protocols.table import PROTOCOLS
from mee.ranking.rank import CONVENTIONS


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
