"""The report as Markdown (GitHub's tables), for a README or an issue.

Text from files is escaped: it cannot become markup, a link, a cell or a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from scripts.console import visible
from scripts.report.entry import Entry
from scripts.report.templates import rendered

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$&#])")
LINK = re.compile(r"\b(https?|ftp|mailto|www)([:.])", re.IGNORECASE)


def markdown(entries: Sequence[Entry], notes: Sequence[str] = ()) -> str:
    """The whole document."""
    text = rendered("report.md.j2", _escaped, entries, notes)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _escaped(value: Any) -> Any:
    return Markup(safe(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def safe(text: str) -> str:
    """Text that Markdown takes as text, on one line."""
    text = SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)  # no list,
    text = re.sub(r"^([-+=])", r"\\\1", text)  # no list or heading of its own,
    text = re.sub(r"(?<!\w)@", "@\u200b", text)  # calls nobody,
    return LINK.sub(lambda found: f"{found[1]}&#{ord(found[2])};", text)  # and is no link by itself
