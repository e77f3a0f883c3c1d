"""Log and tail give back what was put and removed; a record cut short does not count, another is damage."""

import os
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.scanners.kinds import Settings
from index.storage.log import HEADER, Log, Removal, framed, put_payload, read_log, removal_payload
from index.storage.manifest import Manifest
from index.storage.snapshot import Snapshot
from index.storage.tail import Tail
from mee.errors import InputError
from mee.layout import Layout
from tests.index.made_clips import LAYOUT, ORIGIN, as_dict, contents, made_entries


def manifest(layout=LAYOUT, identity="1f"):
    return Manifest(
        identity=identity, generation=1, layout=layout, origin=ORIGIN, settings=Settings(), log="log-000001"
    )


OTHER = Layout(("appearance", "motion"), (6, 3))
PUT = made_entries(["a", "b", "é", "no stream"], split=["x", None, "z", ""])
PUT.available[3] = False
PAYLOADS = (put_payload(PUT.checked(LAYOUT), LAYOUT), removal_payload(["b", "z"]))


@pytest.fixture
def path(tmp_path):
    log = Log.begin(tmp_path / "log-000001", "1f")
    for payload in PAYLOADS:
        log.append(payload)
    log.close()
    return tmp_path / "log-000001"


def test_it_gives_back_what_was_written(path):
    (put, removal), end = read_log(path.parent, manifest())
    assert as_dict(put) == as_dict(PUT)
    assert removal == Removal(["b", "z"])
    assert end == path.stat().st_size
    assert read_log(path.parent, manifest(), end) == ([], end)


def test_it_opens_without_us(path):
    """As its docstring says."""
    import pyarrow as pa

    content = path.read_bytes()
    start = content.index(b"\n") + 1
    magic, size, check = struct.unpack_from("<4sQI", content, start)
    payload = content[start + 20 : start + 20 + size]
    assert (magic, check) == (b"MEEr", zlib.crc32(payload))
    table = pa.ipc.open_stream(payload).read_all()
    assert table["clip_id"].to_pylist() == ["a", "b", "é", "no stream"]
    assert table["vector"][3].as_py() == b""


@given(cut=st.integers(0, 10**6))
def test_what_is_cut_short_does_not_count(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("log")
    log = Log.begin(folder / "log-000001", "1f")
    head = log.size
    records = [framed(payload) for payload in PAYLOADS]
    whole = b"".join(records)
    cut %= len(whole) + 1
    os.pwrite(log._file, whole[:cut], head)
    found, end = read_log(folder, manifest())
    log.close()
    assert len(found) == (cut >= len(records[0])) + (cut == len(whole))
    again = Log(folder / "log-000001", end, len(found))  # the next writer goes on there
    again.append(PAYLOADS[1])
    again.close()
    assert len(read_log(folder, manifest())[0]) == len(found) + 1


def test_zeros_that_a_power_cut_left_do_not_count(path):
    end = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(1000))
    assert read_log(path.parent, manifest())[1] == end


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda c, start: c + b"garbage", "there is no record"),
        (lambda c, start: c[:start] + b"x" + c[start:], "there is no record"),
        (lambda c, start: c[:start] + bytes(100) + c[start:], "there is no record"),
        (lambda c, start: c[: start + 6] + b"\7" + c[start + 7 :], "does not say how long it is"),
        (lambda c, start: c[: start + HEADER] + b"\7" + c[start + HEADER + 1 :], "is not what was written"),
        (lambda c, start: c[:-1] + bytes([c[-1] ^ 1]), "is not what was written"),
        (lambda c, start: c[: start - 3], "it is not the log of this index"),
        (lambda c, start: c + framed(b"no table"), "is not of this index"),
        (
            lambda c, start: c + framed(put_payload(made_entries(["q"], layout=OTHER), OTHER)),
            "is not of this index",
        ),
    ],
)
def test_damage(path, spoil, sentence):
    content = path.read_bytes()
    path.write_bytes(spoil(content, content.index(b"\n") + 1))
    with pytest.raises(InputError, match=rf"log-000001' is damaged \(.*{sentence}.*\); restore it, or make"):
        read_log(path.parent, manifest())


def test_the_log_of_another_index(path):
    with pytest.raises(InputError, match="it is not the log of this index"):
        read_log(path.parent, manifest(identity="2f"))


def test_a_log_that_was_longer(path):
    with pytest.raises(InputError, match="it is shorter than it was"):
        read_log(path.parent, manifest(), path.stat().st_size + 1)


def test_a_log_that_is_gone(path):
    path.unlink()
    with pytest.raises(InputError, match="it is not there"):
        read_log(path.parent, manifest())


def test_a_record_that_cannot_be_written_is_taken_back(path, monkeypatch):
    log = Log(path, path.stat().st_size, 2)
    before = path.read_bytes()
    for name in ("fsync", "pwrite"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OSError, match="No space"):
                log.append(PAYLOADS[0])
        assert path.read_bytes() == before
    with monkeypatch.context() as patch:  # not even that works
        patch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="No space"):
            log.append(PAYLOADS[0])
    log.append(PAYLOADS[1])
    log.close()
    assert path.read_bytes() == before + framed(PAYLOADS[1])


# ---- the tail: what was put last; segments made from it earlier stay as they were

SOME = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


def seen(segment):
    return contents(Snapshot(LAYOUT, ORIGIN).with_segments([segment])) if segment else {}


@given(st.lists(st.tuples(st.booleans(), SOME), max_size=12))
def test_it_holds_what_a_dict_holds(steps):
    tail, held, then = Tail(LAYOUT, offsets=False), {}, []
    for seed, (put, ids) in enumerate(steps):
        if put:
            entries = made_entries(ids, seed=seed).checked(LAYOUT)
            tail.put(entries)
            held |= as_dict(entries)
        else:
            tail.remove(ids)
            held = {clip_id: kept for clip_id, kept in held.items() if clip_id not in ids}
        then.append((tail.segment(), dict(held)))
    for segment, expected in then:
        assert seen(segment) == expected


def test_many_single_clips_make_few_chunks():
    tail = Tail(LAYOUT, offsets=False)
    for number in range(200):
        tail.put(made_entries([f"{number:03d}"]).checked(LAYOUT))
    assert tail.segment().table.arrow["clip_id"].num_chunks <= 8
