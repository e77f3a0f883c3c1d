"""Show and free what mee open keeps of folders of videos.

example:
  mee library list
  mee library forget videos/
  mee library forget --all

Videos are never touched, and mee open reads a folder again that was forgotten. Help for one of them:
mee library list --help
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.filesize import decimal
from tyro.conf import Positional, arg

from features.playback import default_folder
from mee.errors import InputError, count, did_you_mean, name_id
from mee.files import check_folder
from scripts.console import COULD_NOT, DONE, complain, errors_as_sentences, parse_form, print_line, print_table
from scripts.open.state import LibraryState, all_libraries, libraries_folder, size_of

CONVERTED = "(converted for playing)"  # the row of what all pages share


@dataclass(frozen=True, kw_only=True)
class ListArgs:
    """Show each library: its folder, how many moments of it can be searched for, and how much is kept."""

    json: bool = False  # print one JSON object a line

    def run(self) -> int:
        found = [_facts(state) for state in all_libraries()]
        if size := size_of(default_folder()):
            found.append({"name": CONVERTED, "folder": str(default_folder()), "bytes": size})
        if self.json:
            for each in found:
                print(json.dumps(each))
            return DONE
        rows = []
        for each in found:
            opened = time.strftime("%Y-%m-%d %H:%M", time.localtime(each["opened"])) if each.get("opened") else ""
            now, moments = "yes" if each.get("open") else "", f"{each['moments']:,}" if "moments" in each else ""
            rows.append([each["name"], each["folder"], now, opened, moments, decimal(each["bytes"])])
        total = decimal(sum(each["bytes"] for each in found))
        title = f"{count(len(all_libraries()), 'library', 'libraries')} in {libraries_folder()}, {total}"
        print_table(title, ["name", "folder", "open", "last opened", "moments", "on disk"], rows, words=4)
        return DONE


@dataclass(frozen=True, kw_only=True)
class ForgetArgs:
    """Delete what is kept of folders. Exit code 1: one of them is open, and is kept."""

    folders: Annotated[Positional[tuple[str, ...]], arg(metavar="[FOLDER ...]")] = ()  # or names that list shows
    all: bool = False  # of every folder, and what was converted for playing

    def __post_init__(self) -> None:
        if bool(self.folders) == self.all:
            raise ValueError("name the folders to forget, or give --all")

    def run(self) -> int:
        states = all_libraries() if self.all else list(map(_named, self.folders))
        freed, code = 0, DONE
        for state in states:
            size = size_of(state.directory)
            if state.forget():
                freed += size
            else:
                complain(f"error: {name_id(state.directory.name)} is open; stop its mee open first")
                code = COULD_NOT
        for path in default_folder().glob("*.[jm]p[g4]") if self.all else ():
            with suppress(OSError):
                freed += path.lstat().st_size
                path.unlink()
        print_line(f"{decimal(freed)} freed")
        return code


def _facts(state: LibraryState) -> dict[str, Any]:
    """A row of the list; of a library that is damaged what can be said."""
    from index.storage import read_snapshot

    record: dict[str, Any] = {}
    moments = 0
    with suppress(InputError, OSError):
        record = state.record()
    with suppress(InputError, OSError):
        check_folder(state.index)
        moments = len(read_snapshot(state.index))
    with state.locked() as handle:
        is_open = handle is None
    known = {"folder": record.get("folder", "?"), "opened": record.get("opened"), "open": is_open}
    return {"name": state.directory.name, **known, "moments": moments, "bytes": size_of(state.directory)}


def _named(word: str) -> LibraryState:
    """A library by its folder, or by its name."""
    known = {state.directory.name: state for state in all_libraries()}
    state = known.get(word) or known.get(LibraryState.of(Path(word)).directory.name)
    if state is None:
        raise InputError(
            f"nothing is kept of {name_id(word)}{did_you_mean(word, known)}; mee library list shows what is"
        )
    return state


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    forms = {"list": ListArgs, "forget": ForgetArgs}
    code: int = parse_form(forms, "library", argv, __doc__ or "").run()
    return code
