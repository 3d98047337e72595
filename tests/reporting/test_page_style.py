"""Text of pages is readable in light and in dark mode."""

import re

import pytest
from conftest import ROOT

STYLE = (ROOT / "src" / "viewfinder" / "reporting" / "pages" / "base.html.j2").read_text(encoding="utf-8")
MODES = [dict(re.findall(r"--(\w+): (#\w+)", rule)) for rule in re.findall(r":root \{(.*?)\}", STYLE)]


def compute_luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    levels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colours", MODES, ids=["light", "dark"])
def test_text_has_a_contrast_of_at_least_4_5_to_each_background(colours: dict[str, str]) -> None:
    for text in ("ink", "soft", "blue"):
        for background in ("page", "tint"):
            darker, lighter = sorted(compute_luminance(colours[name]) for name in (text, background))
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, background)


def test_there_is_a_dark_mode_with_a_dark_background() -> None:
    light, dark = (compute_luminance(colours["page"]) for colours in MODES)
    assert light > 0.9
    assert dark < 0.05
