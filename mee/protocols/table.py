"""PROTOCOLS: the one table of named benchmarks, with the counts that a figure of this name implies.

benchmark = load_benchmark("msrvtt-1ka", Path("annotations"))
benchmark.table      query_id, video_id, caption, split
benchmark.gallery    the test videos

A new protocol is one row here and one reader, (Protocol, Path, train list) -> Reading. Video to text, all
protocols rank the closest own caption among all captions of the test (mee.ranking has the other two conventions).
LSMDC's training and validation counts are rows, since clip ids repeat there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Final

from mee.errors import InputError, did_you_mean
from mee.protocols.protocol import FOLDER, Benchmark, Protocol, Reading, check

_MSRVTT = "MSRVTT_data.json (or MSR_VTT.json, or train_val_videodatainfo.json and test_videodatainfo.json)"
_LSMDC = "LSMDC16_annos_training.csv and LSMDC16_annos_val.csv"

# fmt: off
_ROWS = (
    Protocol(
        name="msrvtt-full", title="MSR-VTT, full test",
        reader="mee.protocols.msrvtt:read_full", query_rule="every caption",
        train={"": 6_513}, val=497, gallery=2_990, queries=59_800,
        files=_MSRVTT,
    ),
    Protocol(
        name="msrvtt-1ka", title="MSR-VTT, 1k-A test (JSFusion)",
        reader="mee.protocols.msrvtt:read_1ka", query_rule="one fixed caption",
        train={"9k": 9_000, "7k": 7_010}, val=0, gallery=1_000, queries=1_000,
        files=f"MSRVTT_JSFUSION_test.csv and, to train, MSRVTT_train.9k.csv or MSRVTT_train.7k.csv and {_MSRVTT}",
    ),
    Protocol(
        name="msrvtt-1kb", title="MSR-VTT, 1k-B test (Miech)",
        reader="mee.protocols.msrvtt:read_1kb", query_rule="first caption",
        train={"": 6_656}, val=0, gallery=1_000, queries=1_000,
        files=f"test_list_miech.txt and {_MSRVTT} and, to train, train_list_miech.txt",
    ),
    Protocol(
        name="lsmdc", title="LSMDC, 1,000 clips",
        reader="mee.protocols.lsmdc:read_retrieval", query_rule="every caption",
        train={"": 101_079}, val=7_408, gallery=1_000, queries=1_000,
        files=f"LSMDC16_challenge_1000_publictect.csv and, to train, {_LSMDC}",
    ),
    Protocol(
        name="lsmdc-mc", title="LSMDC, multiple choice",
        reader="mee.protocols.lsmdc:read_choices", query_rule="five choices",
        train={"": 101_079}, val=7_408, gallery=None, queries=10_053,
        files=f"LSMDC16_multiple_choice_test_randomized.csv and, to train, {_LSMDC}",
    ),
    Protocol(
        name="msvd", title="MSVD",
        reader="mee.protocols.msvd:read", query_rule="every caption",
        train={"": 1_200}, val=100, gallery=670, queries=None, missing=("audio",),
        files="raw-captions.pkl (or raw-captions.json) and test_list.txt and, to train, train_list.txt and "
        "val_list.txt",
    ),
    Protocol(
        name="didemo", title="DiDeMo, paragraphs",
        reader="mee.protocols.json_captions:read_didemo", query_rule="paragraph",
        train={"": 8_392}, val=1_065, gallery=1_004, queries=1_004,
        files="test_data.json and test_list.txt, the videos of it that count, and, to train, train_data.json, "
        "val_data.json, train_list.txt and val_list.txt",
    ),
    Protocol(
        name="activitynet", title="ActivityNet Captions, paragraphs (val_1)",
        reader="mee.protocols.json_captions:read_activitynet", query_rule="paragraph",
        train={"": 10_009}, val=0, gallery=4_917, queries=4_917,
        files="val_1.json and, to train, train.json",
    ),
    Protocol(
        name="vatex", title="VATEX, English (split of 25,991 / 1,500 / 1,500)",
        reader="mee.protocols.json_captions:read_vatex", query_rule="every caption",
        train={"": 25_991}, val=1_500, gallery=1_500, queries=15_000,
        files="test_list.txt and vatex_data.json (or vatex_training_v1.0.json and vatex_validation_v1.0.json) "
        "and, to train, train_list.txt and val_list.txt",
    ),
    Protocol(
        name="coco", title="COCO captions 2017, validation images",
        reader="mee.protocols.json_captions:read_coco", query_rule="every caption",
        train={"": 118_287}, val=0, gallery=5_000, queries=25_014, only=("appearance",),
        files="captions_val2017.json and, to train, captions_train2017.json",
    ),
    Protocol(
        name=FOLDER, title="your own collection",
        reader="mee.protocols.annotations:read_folder", query_rule="every caption",
        val=None, gallery=None, queries=None,
        files="captions.csv (or .tsv, .parquet, .json, .jsonl): video_id, caption[, split]",
    ),
)
# fmt: on

PROTOCOLS: Final[Mapping[str, Protocol]] = MappingProxyType({row.name: row for row in _ROWS})


def find_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        InputError: there is none; the message suggests the nearest name.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = did_you_mean(name, PROTOCOLS)
    raise InputError(f"no protocol is called '{name}'{near}; there are {', '.join(PROTOCOLS)}")


def load_benchmark(
    name: str,
    path: Path,
    *,
    train_list: str | None = None,
    partial: bool = False,
    columns: Mapping[str, str] | None = None,
    judgments: Path | None = None,
) -> Benchmark:
    """Read a protocol's annotation files and refuse what does not match it.

    The table has training and validation captions where their files exist; those of the test alone suffice. Your
    own table (`folder`) without a column split is all test and gets no such column.

    Args:
        name: of the protocol.
        path: the directory with its files under their usual names, or one file where one suffices.
        train_list: one of the protocol's training lists; None takes the first that is available.
        partial: go on where the files fall short of the protocol, and say how in `Benchmark.shortfalls`.
        columns: of your own table: its names of our columns, where it has others.
        judgments: of your own table: the right videos of its queries (mee.protocols.judgments).

    Raises:
        InputError: a name is unknown, a file is missing or broken, or its content is not the protocol's.
    """
    protocol = find_protocol(name)
    read: Callable[..., Reading] = resolve_name(protocol.reader)
    ours = {"columns": columns, "judgments": judgments} if name == FOLDER else {}
    if name != FOLDER and (columns or judgments):
        flag = "--columns" if columns else "--judgments"
        raise InputError(f"{flag} is for your own table: the files of {name} are read as they were published")
    try:
        reading = read(protocol, path, train_list, **ours)
    except UnicodeEncodeError as error:  # JSON and pickles can spell what is no character
        half = "holds half a character (a lone surrogate); fetch its files again"
        raise InputError(f"{path}: an id or a caption of {name} {half}") from error
    if train_list is not None and train_list not in protocol.train:
        own = [f"'{own}'" for own in protocol.train if own]
        raise InputError(
            f"'{train_list}' is no training list of {name}, which has {' and '.join(own) or 'one only'}; "
            + ("name one of its own" if own else "leave --train-list out")
        )
    return check(reading, protocol, path, train_list=train_list, partial=partial)
