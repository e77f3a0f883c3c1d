"""Tables, scores, results and word vectors made to fill the memory, to wait forever or to show what they like."""

import gzip
import io
import json
import os
import resource
import threading
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mee import files
from mee.data import read_captions, read_names, read_sentences
from mee.errors import LONGEST, InputError
from mee.evaluation import read_result
from mee.external_scores import read_scores
from mee.external_scores.read import read_ids
from mee.protocols import load_benchmark
from mee.text.word_vectors import read_vectors


def parquet(columns):
    return lambda path: pq.write_table(pa.table(columns), path)


def npz(**sizes):
    """Arrays that say a shape, and have so many bytes."""

    def write(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, (shape, count) in sizes.items():
                head = io.BytesIO()
                facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(head, facts)
                archive.writestr(f"{name}.npy", head.getvalue() + bytes(count))

    return write


def text(content):
    return lambda path: path.write_text(content)


def scores_of(path):
    return read_scores(path, query_ids=path.with_name("ids"), clip_ids=path.with_name("ids"))


def words_of(path):
    return read_vectors(path, 5, set())


ONE_LONG = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**5, "i4")), pa.array(["x" * 2**20]))
ZEROS = np.zeros(3 * 10**7, "i8")
WIDE = ",".join(["video_id", "caption", *map(str, range(2000))])
HOSTILE = {  # name of the file -> reader, how it is made, what is said
    "wide.csv": (read_captions, text(WIDE + "\n" + "a\n" * 9), "has 2,002 columns; no more than 1,000"),
    "dictionary.parquet": (read_captions, parquet({"video_id": ONE_LONG, "caption": ONE_LONG}), "takes more than"),
    "zeros.parquet": (read_names, parquet({"video_id": ZEROS}), "takes more than"),
    "bytes.parquet": (read_captions, parquet({"video": [b"\xff"], "caption": ["x"]}), "row 1 has 'b'"),
    "deep.jsonl": (read_captions, text('{"video_id": ' + "[" * 9000), "nested too deeply"),
    "large.jsonl": (read_captions, text('{"video_id": ' + "9" * 400 + "}"), "no column 'caption'"),
    "deep list.csv": (read_captions, text(f"video_id,caption\na,\"['x', {'-' * 9000}'x']\"\n"), "line 2"),
    "pipe.csv": (read_captions, os.mkfifo, "no caption file"),
    "pipe.txt": (read_sentences, os.mkfifo, "is a pipe and not a regular file"),
    "device.txt": (read_sentences, lambda path: path.symlink_to("/dev/zero"), "is a device and not a regular"),
    "claims.npz": (scores_of, npz(scores=((10**12, 1000), 9)), "takes more than"),
    "deflated.npz": (scores_of, npz(scores=((10, 3 * 10**6), 12 * 10**7)), "takes more than"),
    "claims.npy": (scores_of, lambda path: path.write_bytes(b"\x93NUMPY\x02\0" + b"\xff" * 9), "takes more than"),
    "pipe.npy": (scores_of, os.mkfifo, "no file of scores"),
    "deep.json": (lambda path: read_ids(path, "query"), text("[" * 10**5), "nested too deeply"),
    "nested.json": (lambda path: read_ids(path, "query"), text("[" * 900 + "]" * 900), "query id 1 is list"),
    "nan.json": (lambda path: read_ids(path, "query"), text("[NaN]"), "NaN is no number of JSON"),
    "pipe.json": (read_result, os.mkfifo, "is a pipe and not a regular file"),
    "large.json": (read_result, lambda path: path.write_bytes(bytes(17 << 20)), "has 17,825,792 bytes"),
    "version.json": (read_result, text(json.dumps({"version": "9" * 10**6})), "is not a result"),
    "keys.json": (read_result, text(json.dumps({"x" * 10**6: 1})), "is not a result"),
    "claims.txt": (words_of, text("1000000000000 300\nword 1\n"), "takes more than"),
    "overflows.txt": (words_of, text("99999999999999999999999 300\nword 1\n"), "is damaged"),
    "deflated.gz": (words_of, lambda p: p.write_bytes(gzip.compress(b"2 1\na " + b"1" * (90 << 20))), "takes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_one_sentence_with_little_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "ROOM", 64 << 20)  # so that small bombs are large
    read, make, said = HOSTILE[name]
    make(tmp_path / name)
    (tmp_path / "ids").write_text("a\nb\n")
    before, limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(InputError, match=rf"^[^\n]*{name}[^\n]*$") as error:
        read(tmp_path / name)
    assert said in str(error.value)
    assert len(str(error.value)) < LONGEST + 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 800 << 10
    assert resource.getrlimit(resource.RLIMIT_DATA) == limit


def test_a_pipe_that_the_shell_opened_is_read(tmp_path):
    reading, writing = os.pipe()

    def write():
        with os.fdopen(writing, "w") as pipe:
            pipe.write("one\ntwo\n" * 2)

    writer = threading.Thread(target=write)
    writer.start()
    (tmp_path / "file").write_text("one\ntwo\n")
    (tmp_path / "link").symlink_to("file")
    for path in (type(tmp_path)(f"/dev/fd/{reading}"), tmp_path / "link"):
        assert read_sentences(path) == ["one", "two"]
    writer.join()
    os.close(reading)


def test_a_benchmark_of_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "test_data.json")
    with pytest.raises(InputError, match=r"has no test_data\.json"):
        load_benchmark("didemo", tmp_path)


def test_words_without_a_name_and_columns_twice_are_left_out(tmp_path):
    (tmp_path / "v.txt").write_text("3 1\na 1\na 2\nb 3\n")
    assert words_of(tmp_path / "v.txt")[0] == ("a", "b")
    pd.DataFrame({"video_id": ["a"]}, index=pd.Index(["x"], name="caption")).to_parquet(tmp_path / "i.parquet")
    assert read_captions(tmp_path / "i.parquet").to_numpy().tolist() == [["a", "x"]]
