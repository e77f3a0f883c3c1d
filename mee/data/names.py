"""Names meet: which known name a written one means, although the two are spelled differently.

    a name    folder/folder/name.ending#t=start,end    a path, or a clip of it as a W3C media fragment

The first of these rules by which a name fits decides. If it fits several known names by it, it is ambiguous; but
where all of them except one are of files of sound, the video is meant, which they belong to.

    the same text
    whole     but for white space and quotes around it, ./ and //, \\ for /, file:// with %20, composed letters of
              Unicode or decomposed ones, 0.0 for 0 in a fragment; then with one ending more or less; then another
    ends      the same, where one path is the end of the other from some folder on, as long an end as can be
    plain     ends without endings, v_ before the name, .0 after a number (7.0 is 7), and %20 for a space
    folded    plain, whatever the case of letters and however many zeros a number begins with

Known names are looked up by the keys that the rules make of them, so a name costs a few look-ups, however many
there are. What follows a name's last dot is its ending only if it is a usual one, or if just the known name has
it: the clips of LSMDC end in .129.
"""

from __future__ import annotations

import posixpath
import re
from bisect import bisect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Final, Generic, NamedTuple, TypeVar
from unicodedata import normalize
from urllib.parse import unquote

from mee.errors import InputError, name_id

Thing = TypeVar("Thing", bound=Hashable)
_SOUND = frozenset(("aac", "aif", "aiff", "flac", "m4a", "mka", "mp2", "mp3", "oga", "opus", "wav", "wma"))
_USUAL = (  # of videos and sound, pictures, and of what is made from them
    "3g2 3gp 3gpp asf avi divx dv f4v flv h264 h265 hevc m1v m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe mpeg mpg "
    "mts mxf ogg ogm ogv ogx qt rm rmvb ts vob webm wmv y4m "
    "avif bmp gif heic heif jp2 jpe jpeg jpg png tif tiff webp "
    "csv h5 hdf5 json mat npy npz pickle pkl pt pth safetensors txt"
)
ENDINGS: Final = frozenset(("", *_USUAL.split())) | _SOUND  # DiDeMo has names that end in a dot
AROUND: Final = "\"'`“”‘’«»\ufeff\u200b"  # quotes and what nobody sees
NEAR, WINDOW = 3, 2500  # names in a message; known names on either side, by alphabet, that are looked through
_CLEAN = re.compile(r"\w[\w.,@+=-]*(?:/\w[\w.,@+=-]*)*", re.ASCII)  # a path that is written in one way only
_ENDING = re.compile(r"(?<=[^/])\.(?=\d*[A-Za-z])[A-Za-z\d]{1,5}$")
_FRAGMENT = re.compile(r"#t=(?:npt:)?(\d+\.?\d*)?(?:,(\d+\.?\d*))?$")
_ADDRESS = re.compile(r"file:/*|[A-Za-z][A-Za-z\d+.-]+://", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)\.0+")


def _form(name: str) -> tuple[str, str]:
    """A path and the times of a fragment, as text: what all spellings of the rule `whole` share."""
    if _CLEAN.fullmatch(name):
        return name, ""
    text, times = normalize("NFC", name).strip().strip(AROUND).strip(), ""
    if match := _FRAGMENT.search(text):
        text, times = text[: match.start()], "#" + ",".join(str(float(each or 0)) for each in match.groups())
    if match := _ADDRESS.match(text):
        text = normalize("NFC", unquote(text[match.end() :]))
    path = posixpath.normpath(text.replace("\\", "/"))
    return "/".join(part for part in path.split("/") if part not in ("", ".", "..")), times


def _stem(path: str) -> str:
    """Without its ending, if it has a usual one."""
    before, dot, ending = path.rpartition(".")
    return before if dot and ending.lower() in ENDINGS and before[-1:] not in ("", "/") else path


def _short(path: str) -> str:
    """Without what may be an ending; of known names."""
    cut = _stem(path)
    return cut if cut != path else _ENDING.sub("", path)


def _bare(path: str) -> str:
    """Without all of its usual endings, as of video0.mp4.npy."""
    while (cut := _stem(path)) != path:
        path = cut
    return path


def _plain(path: str) -> str:
    folders, slash, last = _bare(path).rpartition("/")
    last = unquote(last).removeprefix("v_") or last
    return folders + slash + (_NUMBER.sub(r"\1", last) if _NUMBER.fullmatch(last) else last)


def _folded(path: str) -> str:
    folders, slash, last = _plain(normalize("NFKC", path).casefold()).rpartition("/")
    return folders + slash + ((last.lstrip("0") or "0") if last.isdecimal() else last)


Cut = Callable[[str], str]
_CUTS: Final[tuple[tuple[Cut, Cut], ...]] = ((str, str), (str, _short), (_stem, str), (_bare, _bare))
_RULES: Final = (  # of a written name, of known ones, and whether ends suffice
    *((written, known, False) for written, known in _CUTS),
    *((written, known, True) for written, known in _CUTS),
    (_plain, _plain, True),
    (_folded, _folded, True),
)
STRICT: Final = 2 * len(_CUTS)  # the last rule of whole paths and ends


def base_name(name: str) -> str:
    """A video's name without folders and ending."""
    return _short(_form(name)[0]).rpartition("/")[2]


def _ends(path: str) -> Iterator[str]:
    """A path, and its ends from each folder on, the longest first."""
    while path:
        yield path
        path = path.partition("/")[2]


class Meant(NamedTuple):
    """The known names that a written one may mean by the first rule by which it fits any."""

    names: tuple[str, ...]  # none: it is unknown; several that name different things: it is ambiguous
    rule: int = 0  # its number; 0: the same text
    folders: str = ""  # of the written name, before those that the known one has


class Names(Generic[Thing]):
    """Known names, each of some thing; several may name the same one."""

    def __init__(self, known: Mapping[str, Thing], place: str) -> None:
        """place: where they are, for messages: "the store"."""
        self.known, self._place = known, place
        self._tables: dict[tuple[Cut, bool], dict[str, str | list[str]]] = {}

    def meant(self, name: str) -> Meant:
        """The known names that a name may mean."""
        if name in self.known:
            return Meant((name,))
        path, times = _form(name)
        for number, (written, known, ends) in enumerate(_RULES, 1):
            cut = written(path)
            found = self._table(known, ends).get(cut + times) if cut else None
            end = cut
            if ends and not found and "/" in cut:
                table = self._table(known, False)
                end = next((each for each in _ends(cut) if each + times in table), cut)
                found = table.get(end + times)
            if found:
                several = [found] if isinstance(found, str) else found
                seen = [each for each in several if _form(each)[0].rpartition(".")[2].lower() not in _SOUND]
                several = seen if len(seen) == 1 else several
                first = {self.known[each]: each for each in reversed(several)}  # one name of each thing
                return Meant(tuple(reversed(first.values())), number, cut.removesuffix(end))
        return Meant(())

    def find(self, name: str) -> Thing | None:
        """What a name means; None where it is unknown or ambiguous."""
        found = self.meant(name).names
        return self.known[found[0]] if len(found) == 1 else None

    def need(self, name: str, what: str) -> Thing:
        """The same, or an InputError; what: the thing is called."""
        found = self.find(name)
        if found is None:
            raise InputError(f"{what} {name_id(name)} {self.reason(name)}")
        return found

    def reason(self, name: str) -> str:
        """Why nothing is found by a name, in a few words."""
        if found := self.meant(name).names:
            return f"may be {' or '.join(found[:NEAR])}"
        near = " or ".join(map(name_id, self._near(name)))
        return f"is not in {self._place}" + (f" (did you mean {near}?)" if near else "")

    def _table(self, cut: Cut, ends: bool) -> dict[str, str | list[str]]:
        """Key -> the known name that has it, or several: of whole names, or of all their ends."""
        if (cut, ends) not in self._tables:
            table: dict[str, str | list[str]] = {}
            for name, path, times in self._forms:
                short = cut(path)
                for key in _ends(short) if ends else (short,):
                    other = table.setdefault(key + times, name)
                    if isinstance(other, list):
                        other.append(name)
                    elif other is not name:
                        table[key + times] = [other, name]
            self._tables[cut, ends] = table
        return self._tables[cut, ends]

    @cached_property
    def _forms(self) -> list[tuple[str, str, str]]:
        return [(name, *_form(name)) for name in self.known]

    def _near(self, name: str) -> list[str]:
        wanted, known = _folded(base_name(name)), sorted((_folded(base_name(each)), each) for each in self.known)
        place = bisect(known, (wanted,))
        near = dict(reversed(known[max(place - WINDOW, 0) : place + WINDOW]))
        return [near[each] for each in get_close_matches(wanted, near, NEAR)]


def names_of(
    clips: Iterable[tuple[str, str]], place: str, failed: Iterable[str] = ()
) -> Names[tuple[str, tuple[str, ...]]]:
    """Of clips, given with their videos, and of videos: (video, clips) that they name; failed: without clips."""
    videos: dict[str, list[str]] = {}
    known: dict[str, tuple[str, tuple[str, ...]]] = {}
    for clip_id, video in clips:
        videos.setdefault(video, []).append(clip_id)
        known[clip_id] = (video, (clip_id,))
    known |= {video: (video, tuple(clip_ids)) for video, clip_ids in videos.items()}
    return Names(known | {video: (video, ()) for video in failed if video not in videos}, place)


def meet(names: Iterable[str], known: Iterable[str], where: str) -> dict[str, str]:
    """Names -> the known names that they mean, each for one name only; without those that mean none.

    A name that fits by `plain` or `folded` alone means none where another one fits better.

    Raises:
        InputError: a name is ambiguous, or two mean the same one; `where` says where they are.
    """
    there, met = Names({name: name for name in known}, "it"), dict[str, tuple[int, str]]()
    for name, meant in sorted(((name, there.meant(name)) for name in names), key=lambda pair: pair[1].rule):
        if len(meant.names) > 1:
            raise InputError(f"{where} has {name_id(name)}, which {there.reason(name)}; write which of them")
        for each in meant.names:
            rule = max(meant.rule, STRICT)
            first, other = met.setdefault(each, (rule, name))
            if first == rule and other != name:
                both = f"{name_id(other)} and {name_id(name)}, and both may be {name_id(each)}"
                raise InputError(f"{where} has {both}; keep one")
    return {name: each for each, (_, name) in met.items()}
