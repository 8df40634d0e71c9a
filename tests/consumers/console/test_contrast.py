"""The page's colours can be read: WCAG 2.2's contrast of text, from the style sheet itself."""

from __future__ import annotations

import re
from itertools import product

import pytest

from consumers.console.server import STATIC

AA = 4.5  # of normal text to what is behind it
TEXTS = ("text", "muted", "up", "down", "forecast", "warning", "good")
GROUNDS = ("background", "raised")
LIGHT, DARK = (
    {
        name: pair[theme]
        for name, *pair in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", (STATIC / "style.css").read_text())
    }
    for theme in (0, 1)
)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour as in '#1a2b3c': 0 of black, 1 of white."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours: 1 of equal ones, 21 of black and white."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_formula_is_the_standards() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # W3C's example of what just fails


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_of_text_has_the_contrast_of_aa(theme: dict[str, str]) -> None:
    found = {(text, ground): round(contrast(theme[text], theme[ground]), 2) for text, ground in product(TEXTS, GROUNDS)}
    assert {pair: ratio for pair, ratio in found.items() if ratio < AA} == {}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("badge", ["good", "muted", "warning"])
def test_a_badge_can_be_read_on_its_colour(theme: dict[str, str], badge: str) -> None:
    assert contrast(theme["background"], theme[badge]) >= AA
