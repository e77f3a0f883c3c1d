"""Nothing that a model was trained on may be asked of it: by name, and by the content of files.

    by name      the store's name of a video; a named protocol's ids by base name too: video7010, a/video7010.mp4
    by content   the first 16 hexadecimal digits of a file's SHA-256, where a store knows it (column file_sha256):
                 finds one file under two names, never one that was encoded anew (`mee overlap` looks for those)

The digits of two different files, of a million, agree by chance once in some 40 million such collections.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mee.errors import InputError, name_id, name_ids, some

if TYPE_CHECKING:
    from mee.data.source import ClipNames

DIGITS = 16  # of a file's SHA-256 that are kept and compared
DIGEST = "file_sha256"  # column of a store's clips
LEARNT = ("train", "images")  # parts of a record's videos that the model has learnt from
_ENDING = re.compile(r"\.(?=\d*[A-Za-z])[A-Za-z\d]{2,4}$")  # .mp4, .3gp; not .129, as clips of LSMDC end in


def check_apart(
    record: Mapping[str, Any], videos: Iterable[str], source: ClipNames, *, what: str, ids: Iterable[str] = ()
) -> str:
    """Refuse videos that a model was trained on.

    Args:
        record: the model's training.json.
        videos: the store's names of those that it shall be asked for.
        source: the store.
        what: to call them in a sentence: "split 'test'".
        ids: a named protocol's own ids of the same videos; these mean the same in every store, so they are looked
            for among the base names of what was trained on. None for one's own collection.

    Returns:
        A note on what could not be compared; empty where all was.

    Raises:
        InputError: the model was trained on some of them, or on files of the same content.
    """
    asked = sorted(set(videos))
    learnt = [name for part in LEARNT for name in record.get("videos", {}).get(part, [])]
    if not learnt:
        return f"note: the model has no record of its training videos, so {what} may be among them"
    if both := known_names(asked, ids, learnt):
        raise InputError(
            f"the model was trained on {len(both):,} videos of {what}, {name_ids(both)}, so its figures would "
            f"mean nothing; train it with this split held out{_origin(record)}"
        )
    known = record.get("contents", {})
    trained = [known.get(part, {}) for part in LEARNT]
    contents = video_contents(source, asked)
    if twins := [twin for part in trained for twin in same_files(contents, part)]:
        raise InputError(
            f"the model was trained on the files of {len(twins):,} videos of {what} under other names, "
            f"{name_twins(twins)}, so its figures would mean nothing; train it without them{_origin(record)}"
        )
    return not_compared(sum(map(len, trained)), len(learnt), len(contents), len(asked), what)


def check_images_apart(
    images: tuple[ClipNames, Collection[str]],
    videos: tuple[ClipNames, Collection[str]],
    *,
    name: str,
    ids: Iterable[str] = (),
) -> None:
    """Refuse to learn from images that are validated or tested on, by name or by content.

    Args:
        images: where they are, and their names.
        videos: where those of validation and test are, and their names.
        name: of the file of image captions.
        ids: a named protocol's own ids of validation and test, of videos that are not in the store too.
    """
    if both := known_names(videos[1], ids, images[1]):
        raise InputError(
            f"{name}: {len(both):,} of the images are validated or tested on, {name_ids(both)}; leave them out"
        )
    if twins := same_files(video_contents(*images), video_contents(*videos)):
        raise InputError(
            f"{name}: {len(twins):,} of the images are the files of videos that are validated or tested on, "
            f"{name_twins(twins)}; leave them out"
        )


def check_ids_apart(train_ids: Collection[str], test_ids: Collection[str], name: str) -> None:
    """Refuse a system that was trained on test videos, by the word of this file; by base name."""
    if both := known_names((), test_ids, train_ids):
        raise InputError(
            f"{name} names {len(both):,} of the {len(set(test_ids)):,} test videos as trained on, {name_ids(both)}"
            ", so figures on them would mean nothing; measure that system on a test that it has not met"
        )


def known_names(videos: Iterable[str], ids: Iterable[str], others: Iterable[str]) -> list[str]:
    """Which videos are among others, of any store: by name or, where that finds more, ids by base name."""
    others = set(others)
    by_name = sorted(set(videos) & others)
    bases = {base_name(name) for name in others}
    by_id = sorted(video for video in set(ids) if base_name(video) in bases)
    return by_id if len(by_id) > len(by_name) else by_name


def base_name(name: str) -> str:
    """A video's name without folders and without the ending of a file."""
    return _ENDING.sub("", name.rpartition("/")[2])


def video_contents(source: ClipNames, videos: Iterable[str]) -> dict[str, str]:
    """The first digits of the SHA-256 of videos' files, of those that the source knows."""
    clips = source.clips
    if DIGEST not in clips:
        return {}
    rows = clips[clips["video"].isin(list(set(videos))) & clips[DIGEST].notna()].drop_duplicates("video")
    return {video: digest[:DIGITS] for video, digest in zip(rows["video"], rows[DIGEST]) if digest}


def same_files(one: Mapping[str, str], other: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name in one, a name in other) of videos of the same content, in order; both are name -> digits."""
    name_of = {digest: name for name, digest in sorted(other.items(), reverse=True)}
    return [(name, name_of[digest]) for name, digest in sorted(one.items()) if digest in name_of]


def name_twins(twins: Sequence[tuple[str, str]]) -> str:
    """'a' is 'b', 'c' is 'd', 'e' is 'f' and 7 more."""
    return some((f"{name_id(name)} is {name_id(other)}" for name, other in twins), len(twins))


def not_compared(known: int, trained: int, known_asked: int, asked: int, what: str) -> str:
    """A note on files of unknown content among those trained on and those asked for (what); or nothing."""
    if (known, known_asked) == (trained, asked):
        return ""
    how = "not compared" if not known or not known_asked else "compared only in part"
    return (
        f"note: the content of files was {how}, so training and {what} may share a file under two names: it is "
        f"known of {known:,} of {trained:,} training videos and of {known_asked:,} of {asked:,} of {what} "
        "(mee precompute notes it, mee import cannot)"
    )


def _origin(record: Mapping[str, Any]) -> str:
    """What a record says of its training captions, where it is a named protocol."""
    protocol, train_list = record.get("protocol", "folder"), record.get("train_list")
    if protocol == "folder":
        return ""
    return f" (it was trained on {protocol}{f', list {train_list}' if train_list else ''})"
