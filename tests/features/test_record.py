"""What a row of the store tells of a clip."""

import numpy as np
import pytest

from features.record import ROW, SCHEMA, ClipRecord
from features.source_facts import SourceFacts
from features.store import FeatureStore

FACTS = SourceFacts(
    file_seconds=61.5, width=640, height=360, fps=29.97, video_codec="h264", audio_codec="aac", audio_rate=44100
)
ROWS = np.ones((2, 3), np.float16)


@pytest.mark.parametrize(
    "source", [None, FACTS, SourceFacts(file_seconds=0.0, width=3, height=4, video_codec="png")]
)
@pytest.mark.parametrize("digest", ["", "ab" * 32])
def test_a_row_read_back_makes_the_same_record(store_job, source, digest):
    record = store_job.record("v#t=0,10", "v", of=2, source=source, file_sha256=digest, sight=ROWS, note="n")
    rows = FeatureStore(store_job.write(record, sight=3)).rows
    (known,) = rows[list(ROW[1:])].astype(object).where(rows[list(ROW[1:])].notna(), None).to_dict("records")
    again = ClipRecord.of_row("v#t=0,10", known, record.streams)
    assert again == record


def test_what_is_not_known_is_nothing(store_job):
    rows = FeatureStore(store_job.write(store_job.record("v", sight=ROWS), sight=3)).rows
    assert rows.loc["v", ["file_seconds", "width", "fps", "video_codec", "audio_rate", "file_sha256"]].isna().all()


def test_a_stream_cannot_be_called_as_a_column():
    from features.registry import RESERVED

    assert set(SCHEMA.names) <= RESERVED
