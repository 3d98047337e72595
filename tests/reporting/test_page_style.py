"""Text and charts of pages are readable in light and in dark mode, and without colour."""

import itertools
import re

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.colors import to_rgb

from viewfinder.reporting.style import COLOURS, DASHES, GREY, get_cell_colours, get_look

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


def to_linear(colours: np.ndarray) -> np.ndarray:
    """Convert sRGB, from 0 to 1, to intensities."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def contrast(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the contrast ratio of WCAG 2.2 between sRGB colours, (..., 3)."""
    first, second = (to_linear(np.asarray(each)) @ np.array([0.2126, 0.7152, 0.0722]) + 0.05 for each in (one, other))
    return np.maximum(first, second) / np.minimum(first, second)


def show_dark(colours: np.ndarray) -> np.ndarray:
    """Return what the filter of drawn charts makes of sRGB colours: CSS invert(.91), then hue-rotate(180deg)."""
    assert "img.drawn { filter: invert(.91) hue-rotate(180deg); }" in STYLE
    grey = np.array([0.213, 0.715, 0.072])
    return np.clip((0.91 - 0.82 * np.asarray(colours)) @ (2 * np.outer(grey, np.ones(3)) - np.eye(3)), 0, 1)


LINES, WHITE, BLACK = np.array([to_rgb(colour) for colour in (*COLOURS, GREY)]), np.ones(3), np.zeros(3)


def test_lines_stand_out_from_the_paper_in_both_modes() -> None:
    assert contrast(LINES, WHITE).min() >= 3
    assert contrast(show_dark(LINES), show_dark(WHITE)).min() >= 3


def test_numbers_stand_out_from_the_cells_of_heat_maps_in_both_modes() -> None:
    cells = get_cell_colours(has_numbers=True)(np.linspace(0, 1, 256))[:, :3]
    assert contrast(cells, BLACK).min() >= 4.5
    assert contrast(show_dark(cells), show_dark(BLACK)).min() >= 4.5
    greys = to_linear(cells) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(greys) <= 0).all()  # without colour, larger is darker


VIEWS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Machado, Oliveira and Fernandes 2009: intensities as colour-blind readers see them."""
LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]  # fmt: skip
OKLAB = [
    [0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.808675766],
]  # fmt: skip
"""Ottosson 2020: intensities to LMS, and its cube roots to OKLab, in which a difference of 0.02 is just noticeable."""


@pytest.mark.parametrize("view", VIEWS)
def test_colour_blind_readers_tell_the_lines_apart(view: str) -> None:
    seen = np.clip(to_linear(LINES[:-1]) @ np.array(VIEWS[view]).T, 0, 1)
    lab = np.cbrt(seen @ np.array(LMS).T) @ np.array(OKLAB).T
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distances[~np.eye(len(lab), dtype=bool)].min() >= 0.1


def test_no_two_lines_share_marker_and_dashes() -> None:
    looks = [get_look(rank) for rank in range(len(COLOURS))]
    assert len({(look["marker"], look["ls"]) for look in looks}) == len(COLOURS)
    for first, second in itertools.pairwise(looks):
        assert first["ls"] != second["ls"]
    assert len(DASHES) == 4
    assert get_look(len(COLOURS))["color"] == get_look(99)["color"] == GREY
