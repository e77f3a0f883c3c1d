"""Elements of HTML and SVG as strings: <name key="value">content</name>.

Plain text is escaped, in content and in attributes, whatever file it comes from; only `Html` passes as it is.
"""

from __future__ import annotations

import html
import re

from scripts.console import visible


class Html(str):
    """Text that is markup already; made by `element` and `joined` only."""

    __slots__ = ()


Content = str | Html | None
WHITE = re.compile(r"\s+")
VOID = frozenset(("meta", "img", "link", "br", "col"))


def element(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Html:
    """One element.

    Args:
        name: of the tag.
        content: text, which is escaped, or Html.
        attributes: `class_` is class, `aria_label` is aria-label; None and False are left out, True stands bare.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(f"{value:g}" if isinstance(value, float) else str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if name in VOID else f"{opening}{joined(*content)}</{name}>")


def joined(*content: Content) -> Html:
    """Several side by side, each escaped unless it is Html."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in content if part is not None))


def escape(text: str) -> str:
    """Text that is no markup, on one line, its control characters shown as escapes."""
    return html.escape(visible(WHITE.sub(" ", text)), quote=True)


def free(text: str) -> Html:
    """Text from a file in its own direction of writing, which changes nothing around it."""
    return element("bdi", text)
