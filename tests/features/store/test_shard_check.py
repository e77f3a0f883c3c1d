"""What makes no sense in a shard is found, whoever wrote it."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save

from features.store.feature_store import FeatureStore
from features.store.part import FileFacts, Part, read_part
from features.store.verify import mend
from tests.features.small_stores import ROWS, TIMES, check, wrong

SIGHT, TIMED = "sight/*[0-9].safetensors", "sight/*.times.safetensors"


def rewrite(store, pattern, change, *, times=False):
    """Change the arrays of a file, and have its part say that this is how they were written."""
    path = sorted(store.glob(pattern))[0]
    arrays = load_file(path)
    change(arrays)
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    path.write_bytes(content)
    place = store / "parts" / f"{path.name.split('.')[0]}.parquet"
    part = read_part(place)
    files = {**part.files, path.relative_to(store).as_posix(): FileFacts.of(content)}
    place.write_bytes(Part(part.table, part.keys, files).encode())


@pytest.mark.parametrize(
    ("pattern", "change", "says"),
    [
        (
            SIGHT,
            lambda arrays: arrays.update(a=ROWS[:, :2]),
            r"'a' is float16 \(2, 2\), and the stream is \(T, 3\)",
        ),
        (SIGHT, lambda arrays: arrays.update(a=ROWS.astype("f4")), "'a' is float32"),
        (SIGHT, lambda arrays: arrays.update(a=ROWS[:0]), r"'a' is float16 \(0, 3\)"),
        (SIGHT, lambda arrays: arrays.update(a=ROWS * np.float16(np.nan)), "'a' holds NaN or infinity"),
        (SIGHT, lambda arrays: arrays.update(b=ROWS + np.float16(np.inf)), "'b' holds NaN or infinity"),
        (SIGHT, lambda arrays: arrays.pop("a"), "has no stream of 'a', which its part calls present"),
        (SIGHT, lambda arrays: arrays.update(z=ROWS), "has a stream of 'z', which its part does not"),
        (TIMED, lambda arrays: arrays.update(a=TIMES[:1]), r"'a' is float32 \(1,\), and its rows want \(2,\)"),
        (TIMED, lambda arrays: arrays.update(a=TIMES * np.nan), "'a' holds NaN or infinity"),
        (TIMED, lambda arrays: arrays.update(z=TIMES), r"'z' is float32 \(2,\), and its rows want \(None,\)"),
    ],
)
def test_arrays_that_make_no_sense_are_found(store_job, pattern, change, says):
    records = [store_job.record(name, sight=ROWS, times={"sight": TIMES}) for name in "ab"]
    store = store_job.write(*records, sight=3)
    rewrite(store, pattern, change)
    (what,) = wrong(store).values()
    assert re.search(says, what), what


def test_a_shard_of_an_earlier_version_is_looked_at_without_checksums(store):
    """Parts without checksums and without the columns on the file."""
    old = sorted((store / "parts").iterdir())[0]
    part = read_part(old)
    known = [*part.table.schema.names[:9], "written_at", *part.keys]
    streams = {"streams": json.dumps(part.keys)}
    for path in store.glob(f"sight/{old.stem}.times.safetensors"):
        path.unlink()
    pq.write_table(part.table.select(known).replace_schema_metadata(streams), old)
    report = check(store)
    assert (report.findings, report.unsealed) == ([], [old.stem])
    opened = FeatureStore(store)
    first = part.table["clip_id"].to_pylist()
    assert opened.coverage() == {"sight": 4, "sound": 3}
    assert opened.times("sight", first) == [None, None]
    assert opened.rows.loc[first, ["file_sha256", "width", "video_codec"]].isna().all(axis=None)
    rows = sorted(store.glob("sight/*[0-9].safetensors"))[0]
    rows.write_bytes(save({name: ROWS * np.float16(np.nan) for name in first}))
    assert list(wrong(store)) == [f"sight/{rows.name}"]
    assert mend(store, check(store).findings) == []
    assert check(store).findings == []


def test_a_part_of_somebody_else(store):
    pq.write_table(pa.table({"clip_id": ["z"]}), store / "parts" / "mine.parquet")
    assert "cannot be read" in wrong(store)["parts/mine.parquet"]


def test_a_part_whose_columns_lack(store):
    path = sorted((store / "parts").iterdir())[0]
    part = read_part(path)
    path.write_bytes(Part(part.table.drop_columns(["verdict"]), part.keys, part.files).encode())
    assert "it has no column 'verdict'" in wrong(store)[f"parts/{path.name}"]
