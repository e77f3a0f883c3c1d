"""Sections of the page, from the figures to the facts; one that has nothing to show is None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scripts.report.comparison import differences, question_title, questions
from scripts.report.curves import drop_figures, recall_figures
from scripts.report.elements import Html, element, joined
from scripts.report.entry import NAMES, WAYS, Entry, Way
from scripts.report.facts import facts
from scripts.report.figures import Figures, legend, mean_figures, shared_names
from scripts.report.frames import Moment, Shot
from scripts.report.heat_map import heat_map
from scripts.report.histogram import histogram_figures
from scripts.report.marks import Mark, marks
from scripts.report.query_cards import cards
from scripts.report.tables import figure_table, folded, table
from scripts.report.tables_of_text import beside_whole

Build = Callable[[str, Entry, str], Html | None]  # (key, entry, ", of LABEL" or "") -> content
ROWS = 64  # of a table of patterns; more are told, and stand in the result file


def warning_list(entries: Sequence[Entry]) -> Html | None:
    """In what entries that stand side by side differ."""
    found = differences(entries) if len(entries) > 1 else []
    if not found:
        return None
    items = [element("li", element("strong", d.what), d.sentence[len(d.what) :]) for d in found]
    return joined(
        element("p", "These results differ in more than the system. Compare with care:"),
        element("ul", *items, class_="differences"),
    )


def mark_list(found: Sequence[Mark]) -> Html | None:
    """Marks in sentences."""
    items = [
        element("li", element("strong", labelled(mark)), f": {mark.sentence}", class_=mark.kind) for mark in found
    ]
    return element("ul", *items, class_="marks") if items else None


def labelled(mark: Mark) -> str:
    """The mark's few words; a warning has a sign, so that it does not need its colour."""
    return f"⚠ {mark.label}" if mark.kind == "warning" else mark.label


def badges(entry: Entry) -> Html:
    """Marks in a few words, beside a name."""
    return joined(*(element("span", labelled(mark), class_=f"mark {mark.kind}") for mark in marks(entry)))


def figures(entries: Sequence[Entry]) -> Html:
    """A table for each question and direction."""
    parts: list[Html | None] = []
    used: list[Figures] = []
    for way in WAYS:
        for at, group in enumerate(questions(entries, way)):
            outcomes = [(entry, outcome) for entry in group if (outcome := entry.outcome(way)) is not None]
            if not outcomes:
                continue
            used += [outcome.figures for _, outcome in outcomes]
            rule = f"; convention: {group[0].first.rules.v2t}" if way == "video_to_text" else ""
            caption = f"{NAMES[way].capitalize()}. {question_title(group[0])}{rule}. {_spread(group)}"
            rows = [(_named(entry, len(entries) > 1), outcome.figures) for entry, outcome in outcomes]
            parts.append(figure_table(f"figures-{way[0]}{at}", caption, "system", rows))
            seeds = [entry for entry, _ in outcomes if len(entry.results) > 1]
            parts += [_each_seed(f"seeds-{way[0]}{at}-{n}", entry, way) for n, entry in enumerate(seeds)]
    chosen = [entry for entry in entries if entry.choice is not None]
    for at, group in enumerate(questions(chosen)):
        rows = [
            (_named(entry, len(entries) > 1), {"accuracy, %": entry.choice[1]}) for entry in group if entry.choice
        ]
        caption = f"Multiple choice. {question_title(group[0])}. {_spread(group)}"
        parts.append(figure_table(f"figures-choice{at}", caption, "system", rows))
    parts.append(element("p", legend(shared_names(used)), class_="muted") if used else None)
    return joined(*parts)


def _each_seed(key: str, entry: Entry, way: Way) -> Html:
    """What the mean is made of."""
    rows = [
        (str(result.system.seed), mean_figures([found.metrics], found.intervals))
        for result in entry.results
        if (found := getattr(result, way))
    ]
    caption = f"Each seed of {entry.label}, {NAMES[way]}."
    return folded(f"Each seed of {entry.label}", figure_table(key, caption, "seed", rows))


def _named(entry: Entry, several: bool) -> Html:
    """The name, and in a comparison its marks."""
    return joined(entry.label, element("small", badges(entry)) if several else None)


def _spread(group: Sequence[Entry]) -> str:
    """What stands beside the numbers."""
    said = []
    if any(len(entry.results) > 1 for entry in group):
        said.append("± is the standard deviation over seeds (n − 1).")
    rules = {e.first.rules.intervals for e in group if len(e.results) == 1 and e.first.rules.intervals}
    said += [f"Small: {rule}." for rule in sorted(rules)]
    return " ".join(said)


def recall(entries: Sequence[Entry]) -> Html | None:
    """Recall curves, a figure for each question."""
    groups, parts = questions(entries), []
    for at, group in enumerate(groups):
        about = f" ({group[0].first.protocol.name}, {at + 1} of {len(groups)})" if len(groups) > 1 else ""
        made = recall_figures(f"recall{at}", group, about)
        parts += [element("h3", question_title(group[0])) if len(groups) > 1 else Html(""), made] if made else []
    return joined(*parts) if parts else None


def each(name: str, entries: Sequence[Entry], build: Build) -> Html | None:
    """What `build` makes of every entry, under its name where there are several."""
    several, parts = len(entries) > 1, []
    for at, entry in enumerate(entries):
        made = build(f"{name}{at}", entry, f", {entry.label}" if several else "")
        if made is not None:
            parts.append(joined(element("h3", entry.label) if several else None, made))
    return joined(*parts) if parts else None


def histograms(entries: Sequence[Entry]) -> Html | None:
    """Where right answers land."""
    return each("ranks", entries, histogram_figures)


def weights(entries: Sequence[Entry]) -> Html | None:
    """Mixture weights."""
    return each("weights", entries, lambda key, e, about: heat_map(key, e.weights, about) if e.weights else None)


def drops(entries: Sequence[Entry]) -> Html | None:
    """Streams removed."""
    return each("drop", entries, drop_figures)


def schemes(entries: Sequence[Entry]) -> Html | None:
    """Other ways to score."""

    def build(key: str, entry: Entry, about: str) -> Html | None:
        rows = beside_whole(entry, "schemes")
        made = [
            figure_table(
                f"{key}-{way[0]}",
                f"Ways to score, {NAMES[way]}{about}.",
                "scheme",
                [(scheme, found[way]) for scheme, found in rows],
            )
            for way in WAYS
            if entry.outcome(way) is not None
        ]
        return joined(*made) if rows else None

    return each("schemes", entries, build)


def patterns(entries: Sequence[Entry]) -> Html | None:
    """Figures by what the right clip has."""

    def build(key: str, entry: Entry, about: str) -> Html | None:
        rows = entry.patterns
        if not rows:
            return None
        names = list(
            dict.fromkeys((*entry.first.system.modalities, *(name for row in rows for name in row.streams)))
        )
        metrics = [name for name in shared_names([row.figures for row in rows]) if name != "R@50"]
        lines = [
            [
                " + ".join(name for name in names if name in row.streams) or "no stream",
                f"{row.clips:,}",
                f"{row.queries:,}",
                *(row.figures[name].text if name in row.figures else "–" for name in metrics),
            ]
            for row in rows[:ROWS]
        ]
        caption = f"Text to video by the streams of the right clip{about}."
        made = table(key, caption, ["streams", "clips", "queries", *metrics], lines)
        if (more := len(rows) - ROWS) > 0:
            made = joined(made, element("p", f"{more:,} rarer patterns stand in the result file."))
        return made

    return each("patterns", entries, build)


def queries(entries: Sequence[Entry], shots: Mapping[Moment, Shot] | None) -> Html | None:
    """Best and worst."""
    level = 4 if len(entries) > 1 else 3

    def build(key: str, entry: Entry, about: str) -> Html | None:
        parts = []
        seed = f", seed {entry.seeds[0]}" if len(entry.results) > 1 else ""
        for name, chosen in (("Best", entry.first.best), ("Worst", entry.first.worst)):
            if chosen:
                parts += [element(f"h{level}", f"{name} queries{seed}"), cards(chosen, shots, level + 1)]
        return joined(*parts) if parts else None

    return each("queries", entries, build)


def measured(entries: Sequence[Entry]) -> Html:
    """Every fact, a column an entry."""
    known = [dict(facts(entry)) for entry in entries]
    names = list(dict.fromkeys(name for table_ in known for name in table_))
    rows = [[name, *(table_.get(name, "–") for table_ in known)] for name in names]
    columns = range(1, len(entries) + 1)
    heads = ["fact", *(entry.label for entry in entries)]
    return table("facts", "Everything needed to repeat or compare.", heads, rows, words=(0, *columns))
