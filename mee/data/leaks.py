"""Keep training and evaluation videos apart: by name, and by the content of files.

    by name      the store's name of a video; a named protocol's ids also by base name: video7010, a/video7010.mp4
    by content   the first 16 hexadecimal digits of a file's SHA-256, where a store has it (column file_sha256):
                 finds one file under two names, but no re-encoded copy (`mee overlap` looks for those)

Among a million different files, two share these digits in one of about 40 million such collections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mee.data.names import base_name
from mee.errors import InputError, name_id, name_ids, some

if TYPE_CHECKING:
    from mee.data.source import ClipNames

DIGITS = 16  # of a file's SHA-256 that are kept and compared
DIGEST = "file_sha256"  # column of a store's clips
LEARNT = ("train", "images")  # parts of a record's videos that the model was trained on


def untrained(record: Mapping[str, Any]) -> bool:
    """Whether a model was made without captions, by its training.json."""
    return record.get("captions", "") is None


def check_apart(
    record: Mapping[str, Any], videos: Iterable[str], source: ClipNames, *, what: str, ids: Iterable[str] = ()
) -> str:
    """Refuse videos that a model was trained on; a note on what could not be compared, empty if everything was.

    Args:
        record: the model's training.json.
        videos: the store's names of the videos to evaluate on.
        source: the store.
        what: their name in messages: "split 'test'".
        ids: a named protocol's own ids of the same videos: they mean the same in every store, so they are compared
            with the base names of the training videos. Empty for your own collection.

    Raises:
        InputError: the model was trained on some of them, or on files of the same content.
    """
    tested = sorted(set(videos))
    learnt = [name for part in LEARNT for name in record.get("videos", {}).get(part, [])]
    if untrained(record):
        return ""
    if not learnt:
        return f"note: the model has no record of its training videos, so {what} may be among them"
    if both := known_names(tested, ids, learnt):
        raise InputError(
            f"the model was trained on {len(both):,} videos of {what}, {name_ids(both)}, so its figures would "
            f"mean nothing; train it with this split held out{_origin(record)}"
        )
    known = record.get("contents", {})
    trained = [known.get(part, {}) for part in LEARNT]
    contents = video_contents(source, tested)
    if same := [pair for part in trained for pair in same_files(contents, part)]:
        raise InputError(
            f"the model was trained on the files of {len(same):,} videos of {what} under other names, "
            f"{name_pairs(same)}, so its figures would mean nothing; train it without them{_origin(record)}"
        )
    return not_compared(sum(map(len, trained)), len(learnt), len(contents), len(tested), what)


def check_images_apart(
    images: tuple[ClipNames, Collection[str]],
    videos: tuple[ClipNames, Collection[str]],
    *,
    name: str,
    ids: Iterable[str] = (),
) -> None:
    """Refuse to train on images that are validated or tested on, by name or by content.

    Of the images, and of the videos of validation and test: their store and their names in it. `name`: of the file
    of image captions; `ids`: a named protocol's own ids of validation and test, whether in the store or not.

    Raises:
        InputError: names images that are validated or tested on.
    """
    if both := known_names(videos[1], ids, images[1]):
        named = f"{len(both):,} of the images are validated or tested on, {name_ids(both)}"
        raise InputError(f"{name}: {named}; leave them out")
    if same := same_files(video_contents(*images), video_contents(*videos)):
        raise InputError(
            f"{name}: {len(same):,} of the images are the files of videos that are validated or tested on, "
            f"{name_pairs(same)}; leave them out"
        )


def check_ids_apart(train_ids: Collection[str], test_ids: Collection[str], name: str) -> None:
    """Refuse a system that was trained on test videos, by base name, according to its list `name`.

    Raises:
        InputError: names the test videos.
    """
    if both := known_names((), test_ids, train_ids):
        raise InputError(
            f"{name} names {len(both):,} of the {len(set(test_ids)):,} test videos as trained on, {name_ids(both)}"
            ", so figures on them would mean nothing; measure that system on a test that it was not trained on"
        )


def known_names(videos: Iterable[str], ids: Iterable[str], others: Iterable[str]) -> list[str]:
    """The videos that are among others of any store: by name, or ids by base name if that finds more."""
    others = set(others)
    by_name = sorted(set(videos) & others)
    bases = {base_name(name) for name in others}
    by_id = sorted(video for video in set(ids) if base_name(video) in bases)
    return by_id if len(by_id) > len(by_name) else by_name


def video_contents(source: ClipNames, videos: Iterable[str]) -> dict[str, str]:
    """Video -> the first digits of the SHA-256 of its file, where the source has it."""
    clips = source.clips
    if DIGEST not in clips:
        return {}
    rows = clips[clips["video"].isin(list(set(videos))) & clips[DIGEST].notna()].drop_duplicates("video")
    return {video: digest[:DIGITS] for video, digest in zip(rows["video"], rows[DIGEST]) if digest}


def same_files(one: Mapping[str, str], other: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name in one, a name in other) of the videos with the same digits, in order; both are name -> digits."""
    name_of = {digest: name for name, digest in sorted(other.items(), reverse=True)}
    return [(name, name_of[digest]) for name, digest in sorted(one.items()) if digest in name_of]


def name_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """'a' is 'b', 'c' is 'd', 'e' is 'f' and 7 more."""
    return some((f"{name_id(name)} is {name_id(other)}" for name, other in pairs), len(pairs))


def not_compared(known: int, trained: int, known_tested: int, tested: int, what: str) -> str:
    """A note, if the content of some training or tested (`what`) files is unknown; otherwise empty."""
    if (known, known_tested) == (trained, tested):
        return ""
    how = "not compared" if not known or not known_tested else "compared only in part"
    return (
        f"note: the content of files was {how}, so training and {what} may share a file under two names: it is "
        f"known of {known:,} of {trained:,} training videos and of {known_tested:,} of {tested:,} of {what} "
        "(mee precompute records it, mee import cannot)"
    )


def _origin(record: Mapping[str, Any]) -> str:
    """The named protocol that a record was trained on, in brackets."""
    protocol, train_list = record.get("protocol", "folder"), record.get("train_list")
    used = f", list {train_list}" if train_list else ""
    return "" if protocol == "folder" else f" (it was trained on {protocol}{used})"
