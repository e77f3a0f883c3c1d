"""Plausible results of mee evaluate, made from random ranks."""

import functools
import json
import operator
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from mee.evaluation.result import Result, read_result, write_result

MODALITIES = ("appearance", "motion", "audio", "face")
KS = (1, 5, 10, 50)
COMMAND = "mee evaluate store/ msrvtt/ model/ --protocol msrvtt-1ka --result result.json"
CLIPS, CAPTIONS = [f"video{7010 + number}" for number in range(60)], ["a man drives his car down the road"]
NOTHING_MORE = {key: [] for key in ("schemes", "removed", "patterns", "best", "worst")} | {"weights": None}


def metrics(ranks):
    found = {f"R@{k}": 100 * float(np.mean(ranks <= k)) for k in KS}
    geom = (found["R@1"] * found["R@5"] * found["R@10"]) ** (1 / 3)
    means = {"MedR": float(np.median(ranks)), "MeanR": float(np.mean(ranks)), "Geom": geom}
    means["mR"] = (found["R@1"] + found["R@5"] + found["R@10"]) / 3
    gain = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0)
    return {**found, **means, "MRR": 100 * float(np.mean(1 / ranks)), "nDCG@10": 100 * float(np.mean(gain))}


def draw_ranks(rng, queries, gallery, skill):
    """Ranks that fall off like those of a trained model; skill in (0, 1)."""
    return np.floor(gallery ** rng.beta(1, 1 + 3 * skill, queries))


def direction(rng, queries, gallery, skill, a_clip=1):
    ranks = draw_ranks(rng, queries, gallery, skill)
    ks = sorted({*range(1, min(gallery, 100) + 1), *np.geomspace(1, gallery, 200).astype(int).tolist()})
    edges = [0, 1, 2, *(2**power for power in range(2, 30) if 2**power < gallery), gallery]
    found = metrics(ranks)
    return {
        "queries": queries,
        "candidates": gallery,
        "metrics": found,
        "intervals": {name: (max(value - 2.5, 0), value + 2.5) for name, value in found.items()},
        "recall": [(k, 100 * float(np.mean(ranks <= k))) for k in ks],
        "histogram": [
            (str(high) if high - low == 1 else f"{low + 1}-{high}", int(((ranks > low) & (ranks <= high)).sum()))
            for low, high in pairwise(edges)
        ],
        "ranks": ranks.reshape(-1, a_clip).tolist(),
    }


def answer(number, score, videos):
    name = videos[number % len(videos)]
    return {"clip_id": name, "video": name if "." in name else None, "start_s": 0.0, "end_s": 9.5, "score": score}


def query(number, rank, videos, caption):
    top = [answer(number if at + 1 == rank else number + 1 + at, 0.61 - 0.04 * at, videos) for at in range(5)]
    right = answer(number, 0.61 if rank == 1 else 0.12, videos)
    return {"query_id": f"ret{number}", "caption": caption, "rank": rank, "right": right, "top": top}


def result_dict(seed=0, skill=0.6, queries=1000, gallery=1000, videos=CLIPS, captions=CAPTIONS, worst=812.0):
    rng = np.random.default_rng(seed)
    patterns = [("appearance",), ("appearance", "motion"), MODALITIES[:3], MODALITIES]

    def rows(names, loss):
        sizes = {"text_to_video": (queries, gallery), "video_to_text": (gallery, queries)}
        return [
            {"name": name}
            | {way: metrics(draw_ranks(rng, *size, skill - loss * (1 + at))) for way, size in sizes.items()}
            for at, name in enumerate(names)
        ]

    versions = {"mee": "0.1.0", "torch": "2.9.0", "python": "3.11.9", "device": "cpu"}
    return {
        "made": versions | {"command": COMMAND, "at": "2026-11-21T17:00:00Z", "seconds": 12.4},
        "system": {
            "name": "small",
            "kind": "model",
            "checkpoint": f"{seed:08x}c0ffee00",
            "seed": seed,
            "files": {"weights": f"model.safetensors sha256:{seed:016x}"},
            "modalities": MODALITIES,
            "missing": "evidence",
            "trained_on": "9,000 videos, list 9k",
            "selected_on": "validation",
        },
        "protocol": {
            "name": "msrvtt-1ka",
            "title": "MSR-VTT, 1k-A test (JSFusion)",
            "split": "test",
            "query_rule": "one fixed caption",
            "train_list": "9k",
            "queries": queries,
            "gallery": gallery,
            "expected_queries": 1000,
            "expected_gallery": 1000,
            "streams": {"appearance": gallery, "motion": gallery, "audio": gallery * 7 // 8, "face": gallery // 2},
            "files": {"test": "MSRVTT_JSFUSION_test.csv sha256:0123456789abcdef"},
            "digest": "of these captions",
        },
        "rules": {"intervals": "95 % bootstrap over queries, 1,000 resamples, seed 0"},
        "text_to_video": direction(rng, queries, gallery, skill, max(1, queries // gallery)),
        "video_to_text": direction(rng, gallery, queries, skill),
        "schemes": rows([*MODALITIES, "uniform", "renormalise"], 0.05),
        "removed": rows(MODALITIES, 0.06),
        "patterns": [
            {"streams": streams, "clips": 250, "queries": 250 + 10 * at}
            | {"text_to_video": metrics(draw_ranks(rng, 250, gallery, skill))}
            for at, streams in enumerate(patterns)
        ],
        "weights": {
            "experts": MODALITIES,
            "rows": [
                ("all queries", queries, (61.2, 22.1, 9.3, 7.4)),
                ("that speak of sound", 84, (31.0, 14.6, 47.9, 6.5)),
                ("that speak of a person", 402, (52.7, 18.2, 6.1, 23.0)),
            ],
        },
        "best": [query(at, 1.0, videos, captions[at % len(captions)]) for at in range(4)],
        "worst": [query(at + 20, worst - 30 * at, videos, captions[(at + 20) % len(captions)]) for at in range(4)],
    }


def changed(whole, changes):
    """A deep copy in which "protocol.partial" and the like are replaced."""
    copy = json.loads(json.dumps(whole))
    for path, value in changes.items():
        *way, last = path.split(".")
        functools.reduce(operator.getitem, way, copy)[last] = value
    return copy


@pytest.fixture(scope="session")
def make_result():
    """make_result(seed, skill, …, **{"protocol.partial": True}) -> Result, strictly checked."""

    def make(seed=0, skill=0.6, changes=(), **options):
        made = changed(result_dict(seed, skill, **options), dict(changes))
        return Result.model_validate_json(json.dumps(made))

    return make


@pytest.fixture
def write(tmp_path, make_result):
    """write("a.json", **as make_result) -> its path."""

    def put(name, *args, **options):
        path = tmp_path / name
        write_result(make_result(*args, **options), path)
        assert read_result(path) == make_result(*args, **options)
        return path

    return put


class Node:
    """An element of a page."""

    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent, self.parts = tag, attributes, parent, []

    @property
    def children(self):
        return [part for part in self.parts if isinstance(part, Node)]

    def __iter__(self):
        """All elements below, in the order of the page."""
        for child in self.children:
            yield child
            yield from child

    def all(self, *tags):
        return [node for node in self if node.tag in tags]

    @property
    def text(self):
        return " ".join("".join(part if isinstance(part, str) else part.text for part in self.parts).split())


class Tree(HTMLParser):
    """A strict reader: every element is closed, in order, and no attribute is there twice."""

    VOID = ("meta", "img", "link", "br", "col", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.root = self.at = Node("", {}, None)
        self.feed(text)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> is not closed"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        node = Node(tag, dict(attrs), self.at)
        self.at.parts.append(node)
        self.at = self.at if tag in self.VOID else node

    def handle_endtag(self, tag):
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        self.at = self.at.parent

    def handle_data(self, data):
        self.at.parts.append(data)


@pytest.fixture(scope="session")
def parse():
    """parse(page) -> its root, read strictly."""
    return lambda text: Tree(text).root


@pytest.fixture(scope="session")
def make_page(make_result):
    """make_page(changes of one result): its page."""
    from scripts.report.entry import make_entries
    from scripts.report.page import page

    return lambda **changes: page(make_entries([make_result(changes=changes)])[0])


@pytest.fixture(scope="session")
def pages(make_result, make_page):
    """Pages of one result, of several that differ in everything, and of one that has hardly anything."""
    from scripts.report.entry import make_entries
    from scripts.report.page import page

    seeds = [make_result(seed, changes={"system.name": f"small-seed{seed}"}) for seed in range(3)]
    theirs = {"name": "theirs", "kind": "scores", "seed": None, "trained_on": None}
    theirs = {f"system.{key}": value for key, value in theirs.items()} | {"rules.v2t": "max over captions"}
    theirs |= {"rules.normalisation": {"method": "dsl", "uses_test_queries": True}, **NOTHING_MORE}
    bad = {"system.name": "bad", "system.selected_on": "test", "protocol.partial": True}
    results = [make_result(9, changes=theirs), make_result(5, changes=bad, queries=988, gallery=988)]
    choice = {"questions": 500, "accuracy": 71.3, "interval": (68.0, 74.5)}
    bare = make_page(choice=choice, text_to_video=None, video_to_text=None, **NOTHING_MORE)
    return {"one": make_page(), "several": page(make_entries([*seeds, *results])[0]), "choice": bare}
