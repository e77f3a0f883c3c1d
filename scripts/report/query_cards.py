"""Query cards: what was asked, the rank of its right clip, that clip's frames and the first answers.

A clip that cannot be read, or is not there, leaves a blank with the reason in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mee.evaluation.result import Answer, Query
from scripts.report.elements import Html, element, free, joined
from scripts.report.entry import Entry
from scripts.report.figures import rank_text
from scripts.report.frames import Moment, Shot
from scripts.report.tables import folded

RIGHT_SHARES = (1 / 6, 1 / 2, 5 / 6)  # of the right clip three frames, of an answer the middle one
ANSWER_SHARES = (1 / 2,)
SHOWN_QUERIES, SHOWN_ANSWERS = 12, 4
LONGEST = 160  # letters of a caption that stands as a heading


def wanted(entries: Sequence[Entry]) -> Iterator[Moment]:
    """Every frame that the cards show."""
    for entry in entries:
        for query in (*entry.first.best[:SHOWN_QUERIES], *entry.first.worst[:SHOWN_QUERIES]):
            yield from (Moment.of(query.right, share) for share in RIGHT_SHARES)
            for answer in query.top[:SHOWN_ANSWERS]:
                yield from (Moment.of(answer, share) for share in ANSWER_SHARES)


def cards(queries: Sequence[Query], shots: Mapping[Moment, Shot] | None, level: int) -> Html:
    """A list of cards.

    Args:
        queries: best or worst.
        shots: frames; None where no folder of videos was named.
        level: of the headings.
    """
    return element(
        "ul", *(element("li", _card(query, shots, level)) for query in queries[:SHOWN_QUERIES]), class_="queries"
    )


def _card(query: Query, shots: Mapping[Moment, Shot] | None, level: int) -> Html:
    title = free(cut(query.caption)) if query.caption else joined("query ", free(query.query_id))
    whole = query.caption if query.caption and cut(query.caption) != query.caption else None
    about = joined(f"Right clip at rank {rank_text(query.rank)} · query ", free(query.query_id))
    answers = [
        element("li", _answer(answer, f"{place}. ", answer.clip_id == query.right.clip_id, shots, ANSWER_SHARES))
        for place, answer in enumerate(query.top[:SHOWN_ANSWERS], start=1)
    ]
    return joined(
        element(f"h{level}", title),
        element("p", about, class_="muted"),
        folded("All of the text", element("p", free(whole))) if whole else None,
        element("p", "The right clip", class_="kicker"),
        element("div", _answer(query.right, "", True, shots, RIGHT_SHARES), class_="answers wide"),
        element("p", "The first answers", class_="kicker") if answers else None,
        element("ol", *answers, class_="answers") if answers else None,
    )


def cut(text: str) -> str:
    """A caption as a heading: a paragraph ends after LONGEST letters, at a word."""
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def _answer(
    answer: Answer, place: str, right: bool, shots: Mapping[Moment, Shot] | None, shares: Sequence[float]
) -> Html:
    mark = joined(element("strong", "✓ right", class_="right"), " ") if right and place else None
    score = element("span", f"score {answer.score:.3f}", class_="score")
    said = joined(place, mark, element("span", free(answer.clip_id), class_="clip"), " ", score, _span(answer))
    if shots is None:
        return element("p", said, class_="answer")
    frames = [_frame(answer, shots.get(Moment.of(answer, share), Shot(reason="not read"))) for share in shares]
    shown = element("div", *frames, class_="shots hit" if right else "shots")
    return element("figure", shown, element("figcaption", said))


def _frame(answer: Answer, shot: Shot) -> Html:
    if shot.uri is None:
        return element("div", f"no frame: {shot.reason}", class_="blank")
    moment = "" if shot.at_s is None else f" at {shot.at_s:.1f} s"
    return element("img", src=shot.uri, alt=f"Frame of {answer.clip_id}{moment}")


def _span(answer: Answer) -> Html | None:
    if answer.start_s is None or answer.end_s is None or answer.end_s <= answer.start_s:  # a still image
        return None
    return joined(" ", element("span", f"{answer.start_s:g}–{answer.end_s:g} s", class_="score"))
