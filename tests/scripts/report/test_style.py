"""Colours: contrast (WCAG 2.2) of everything that is written or drawn, computed from the style sheet itself."""

import re

import pytest

from scripts.report.style import STEPS, css

TEXT_ON = {  # which text stands on which surface
    "ink": ("page", "card", *(f"h{step}" for step in range(STEPS + 1))),
    "muted": ("page", "card"),
    "link": ("page", "card"),
    "warning": ("warning-card",),
    "note": ("note-card",),
}
DRAWN = (*(f"s{number}" for number in range(6)), "warning-edge", "note-edge")


def themes():
    """The variables of light, dark and print, as the sheet sets them."""
    sheet = css()
    blocks = re.findall(r":root\{([^}]*)\}", sheet)
    return dict(zip(("light", "dark", "print"), [dict(re.findall(r"--([\w-]+):(#\w{6})", b)) for b in blocks]))


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # the well-known grey that just fails


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_has_a_contrast_of_at_least_4_5(theme):
    colours = themes()[theme]
    low = {
        (text, surface): round(found, 2)
        for text, surfaces in TEXT_ON.items()
        for surface in surfaces
        if (found := contrast(colours[text], colours[surface])) < 4.5
    }
    assert low == {}


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_lines_and_edges_have_a_contrast_of_at_least_3(theme):
    colours = themes()[theme]
    low = [
        (name, surface)
        for name in DRAWN
        for surface in ("page", "card")
        if contrast(colours[name], colours[surface]) < 3
    ]
    assert low == []


def test_no_rule_writes_in_a_colour_that_is_not_checked():
    sheet = css()
    written = set(re.findall(r"[{;\s](?:color|fill):var\(--([\w-]+)\)", sheet))
    assert written - {f"s{number}" for number in range(6)} == set(TEXT_ON)
    grounds = set(re.findall(r"background:var\(--([\w-]+)\)", sheet))
    assert grounds <= {surface for surfaces in TEXT_ON.values() for surface in surfaces}
    assert not re.findall(r"(?<![\w-])color:(?!var)[#\w]", sheet)


def test_dark_and_print_set_every_variable():
    light, dark, paper = (themes()[name] for name in ("light", "dark", "print"))
    assert light.keys() == dark.keys()
    assert paper == light
    assert set(re.findall(r"var\(--([\w-]+)\)", css())) <= light.keys()


def test_heat_rises_step_by_step():
    for theme, colours in themes().items():
        steps = [luminance(colours[f"h{step}"]) for step in range(STEPS + 1)]
        assert steps == sorted(steps, reverse=theme != "dark")
        assert len(set(steps)) == len(steps)
