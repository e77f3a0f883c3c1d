"""The caption files of MSR-VTT, in the three shapes that circulate.

    MSRVTT_data.json                               {videos[]: video_id, …; sentences[]: sen_id, video_id, caption}
    train_val_videodatainfo.json and test_…        the same, in two files
    MSR_VTT.json                                   {annotations[]: image_id, caption[, id]}

The column `split` of videos[] is not read: some copies mark every video `train`. Ids of sentences are those of the
files; where two files number their sentences alike, the ids are `video7010:5`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mee.errors import InputError
from mee.protocols.annotation_files import AnnotationFiles
from mee.protocols.annotation_text import entry, identifier, read_json
from mee.protocols.id_names import name_id

VIDEOS = 10_000
_ID = re.compile(r"video(0|[1-9]\d{0,3})")


@dataclass
class MsrvttCaptions:
    """Every caption that was found, and every video, in the files' order."""

    sentences: list[tuple[str, str, str]] = field(default_factory=list)  # query_id, video_id, caption
    videos: dict[str, None] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def of(self, videos: Iterable[str], split: str) -> list[tuple[str, str, str, str]]:
        """The captions of some videos, as rows of a split, in the files' order."""
        wanted = set(videos)
        return [(*sentence, split) for sentence in self.sentences if sentence[1] in wanted]

    def first_of(self, videos: Iterable[str], split: str) -> list[tuple[str, str, str, str]]:
        """The first caption of each of some videos, in the order of the videos."""
        first: dict[str, tuple[str, str, str]] = {}
        for sentence in self.sentences:
            first.setdefault(sentence[1], sentence)
        return [(*first[video], split) for video in videos if video in first]


def find_captions(files: AnnotationFiles, *, alone: bool) -> MsrvttCaptions:
    """Read whichever caption files there are; nothing where there are none.

    Args:
        files: where to look.
        alone: whether one caption file suffices for the protocol.

    Raises:
        InputError: a file is broken, or names what is no video of MSR-VTT.
    """
    found = MsrvttCaptions()
    whole = files.find("MSRVTT_data.json", "MSR_VTT.json", alone=alone)
    if whole is not None:
        found.files["captions"] = whole
    else:
        for role, name in (("train", "train_val_videodatainfo.json"), ("test", "test_videodatainfo.json")):
            part = files.find(name)
            if part is not None:
                found.files[f"captions, {role}"] = part
    for path in found.files.values():
        _read_into(found, path)
    if len(found.files) > 1 and len({sentence[0] for sentence in found.sentences}) < len(found.sentences):
        found.sentences = [(f"{video}:{key}", video, caption) for key, video, caption in found.sentences]
    return found


def check_ids(ids: Iterable[str], path: Path) -> None:
    """All of them must be videos of MSR-VTT.

    Raises:
        InputError: one is not.
    """
    for name in ids:
        if not _ID.fullmatch(name):
            raise InputError(
                f"{path} names {name_id(name)}, but the videos of MSR-VTT are video0 to video{VIDEOS - 1}; fetch "
                "it again"
            )


def _read_into(found: MsrvttCaptions, path: Path) -> None:
    content = read_json(path)
    if isinstance(content, dict) and "sentences" in content:
        sentences = _sentences(content, path, "sentences", "sen_id", "video_id")
        listed = entry(content, "videos", list, str(path)) if "videos" in content else []
        videos = [identifier(video, "video_id", f"{path}: videos[{i}]") for i, video in enumerate(listed)]
    elif isinstance(content, dict) and "annotations" in content:
        sentences = _sentences(content, path, "annotations", "id", "image_id")
        videos = []
    else:
        raise InputError(f"{path} has neither 'sentences' nor 'annotations', so it is no caption file of MSR-VTT")
    named = dict.fromkeys([*videos, *(video for _, video, _ in sentences)])
    check_ids(named, path)
    found.videos.update(named)
    found.sentences += sentences


def _sentences(content: Any, path: Path, key: str, own_id: str, video_id: str) -> list[tuple[str, str, str]]:
    rows = []
    for number, record in enumerate(entry(content, key, list, str(path))):
        place = f"{path}: {key}[{number}]"
        named = isinstance(record, dict) and own_id in record
        rows.append(
            (
                identifier(record, own_id, place) if named else str(number),
                identifier(record, video_id, place),
                entry(record, "caption", str, place),
            )
        )
    return rows
