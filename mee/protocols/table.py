"""PROTOCOLS: the one table of named benchmarks.

    name         train (list)           val    test videos   queries   rule
    msrvtt-full  6,513                  497    2,990         59,800    every caption
    msrvtt-1ka   9,000 (9k) 7,010 (7k)  none   1,000         1,000     one fixed caption
    msrvtt-1kb   6,656                  none   1,000         1,000     first caption
    lsmdc        101,079 rows           7,408  1,000         1,000     every caption
    lsmdc-mc     101,079 rows           7,408  any           10,053    five choices
    msvd         1,200                  100    670           any       every caption
    didemo       8,392                  1,065  1,004         1,004     paragraph
    activitynet  10,009                 none   4,917         4,917     paragraph
    vatex        25,991                 1,500  1,500         15,000    every caption
    coco         118,287                none   5,000         25,014    every caption
    folder       any                    any    any           any       every caption

Video to text, all of them rank the closest own caption among all captions of the test (mee.ranking has the other
two conventions). LSMDC counts rows for training and validation, since clip ids repeat there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mee.protocols.protocol import Protocol

_MSRVTT = "MSRVTT_data.json (or MSR_VTT.json, or train_val_videodatainfo.json and test_videodatainfo.json)"
_LSMDC = "LSMDC16_annos_training.csv and LSMDC16_annos_val.csv"

_ROWS = (
    Protocol(
        name="msrvtt-full",
        title="MSR-VTT, full test",
        files=_MSRVTT,
        reader="mee.protocols.msrvtt:read_full",
        query_rule="every caption",
        gallery=2_990,
        queries=59_800,
        val=497,
        train={"": 6_513},
    ),
    Protocol(
        name="msrvtt-1ka",
        title="MSR-VTT, 1k-A test (JSFusion)",
        files=f"MSRVTT_JSFUSION_test.csv and, to train, MSRVTT_train.9k.csv or MSRVTT_train.7k.csv and {_MSRVTT}",
        reader="mee.protocols.msrvtt:read_1ka",
        query_rule="one fixed caption",
        gallery=1_000,
        queries=1_000,
        val=0,
        train={"9k": 9_000, "7k": 7_010},
    ),
    Protocol(
        name="msrvtt-1kb",
        title="MSR-VTT, 1k-B test (Miech)",
        files=f"test_list_miech.txt and {_MSRVTT} and, to train, train_list_miech.txt",
        reader="mee.protocols.msrvtt:read_1kb",
        query_rule="first caption",
        gallery=1_000,
        queries=1_000,
        val=0,
        train={"": 6_656},
    ),
    Protocol(
        name="lsmdc",
        title="LSMDC, 1,000 clips",
        files=f"LSMDC16_challenge_1000_publictect.csv and, to train, {_LSMDC}",
        reader="mee.protocols.lsmdc:read_retrieval",
        query_rule="every caption",
        gallery=1_000,
        queries=1_000,
        val=7_408,
        train={"": 101_079},
    ),
    Protocol(
        name="lsmdc-mc",
        title="LSMDC, multiple choice",
        files=f"LSMDC16_multiple_choice_test_randomized.csv and, to train, {_LSMDC}",
        reader="mee.protocols.lsmdc:read_choices",
        query_rule="five choices",
        gallery=None,
        queries=10_053,
        val=7_408,
        train={"": 101_079},
    ),
    Protocol(
        name="msvd",
        title="MSVD",
        files="raw-captions.pkl (or raw-captions.json) and test_list.txt and, to train, train_list.txt and "
        "val_list.txt",
        reader="mee.protocols.msvd:read",
        query_rule="every caption",
        gallery=670,
        queries=None,
        val=100,
        train={"": 1_200},
        missing=("audio",),
    ),
    Protocol(
        name="didemo",
        title="DiDeMo, paragraphs",
        files="test_data.json and, to train, train_data.json, val_data.json and train_list.txt",
        reader="mee.protocols.paragraphs:read_didemo",
        query_rule="paragraph",
        gallery=1_004,
        queries=1_004,
        val=1_065,
        train={"": 8_392},
    ),
    Protocol(
        name="activitynet",
        title="ActivityNet Captions, paragraphs (val_1)",
        files="val_1.json and, to train, train.json",
        reader="mee.protocols.paragraphs:read_activitynet",
        query_rule="paragraph",
        gallery=4_917,
        queries=4_917,
        val=0,
        train={"": 10_009},
    ),
    Protocol(
        name="vatex",
        title="VATEX, English (split of 25,991 / 1,500 / 1,500)",
        files="test_list.txt and vatex_data.json (or vatex_training_v1.0.json and vatex_validation_v1.0.json) "
        "and, to train, train_list.txt and val_list.txt",
        reader="mee.protocols.vatex:read",
        query_rule="every caption",
        gallery=1_500,
        queries=15_000,
        val=1_500,
        train={"": 25_991},
    ),
    Protocol(
        name="coco",
        title="COCO captions 2017, validation images",
        files="captions_val2017.json and, to train, captions_train2017.json",
        reader="mee.protocols.coco:read",
        query_rule="every caption",
        gallery=5_000,
        queries=25_014,
        val=0,
        train={"": 118_287},
        only=("appearance",),
    ),
    Protocol(
        name="folder",
        title="your own collection",
        files="captions.csv (or captions.parquet or captions.jsonl): video_id, caption[, split]",
        reader="mee.protocols.folder:read",
        query_rule="every caption",
        gallery=None,
        queries=None,
        val=None,
    ),
)

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({row.name: row for row in _ROWS})
