"""What a row of the store tells of a clip."""

import numpy as np
import pytest

from features.errors import InputError
from features.extractors.base import Fingerprint
from features.media.clip import SourceFacts
from features.store.feature_store import FeatureStore
from features.store.layout import ROW, ClipRecord
from features.store.manifest import declare

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


@pytest.mark.parametrize("name", ["parts", "checksums", "writers", "imports", "clip_id", "written_at", "verdict"])
def test_a_stream_cannot_have_the_name_of_a_column_or_folder(tmp_path, name):
    with pytest.raises(InputError, match=f"'{name}'"):
        declare(tmp_path / "store", {name: Fingerprint(extractor="x", version=1, dim=3)}, None, overwrite=False)
    assert not (tmp_path / "store").exists()
