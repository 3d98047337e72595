"""`viewfinder explain convolution` writes one page whose numbers are right."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Page, Type, noise, on_one_line
from PIL import Image
from scipy.signal import correlate2d

from viewfinder.evaluation.kernels import KERNELS


@pytest.mark.parametrize("kernel", ["vertical_edges", "blur"])
def test_the_page_shows_the_products_and_their_sum(kernel: str, tmp_path: Path, viewfinder: Type) -> None:
    image = noise(40, 24)
    Image.fromarray(image).save(tmp_path / "<b>.png")
    options = ["--kernel", kernel, "--output", tmp_path / "p.html"]
    answer = viewfinder("explain", "convolution", tmp_path / "<b>.png", *options)
    assert (answer.code, answer.err) == (0, "")
    page = Page((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert all(address.startswith("data:image/png;base64,") for address in page.fetched)
    text = " ".join("".join(page.text).split())
    assert "<b>.png, in grey, 40 x 24 pixels" in text
    assert "width: (24 - 3 + 2*0)/2 + 1 = 11.5 -> 11" in text
    row, column = map(int, re.findall(r"from row (\d+) and column (\d+)", text)[0])
    patch, weights = image[row : row + 5, column : column + 5].astype(int), np.array(KERNELS[kernel][0])
    sums = correlate2d(patch, weights, "valid")
    terms = [f"{level}·{f'({weight})' if weight < 0 else weight}"
             for level, weight in zip(patch[:3, :3].ravel(), weights.ravel(), strict=True) if weight]  # fmt: skip
    assert f"{' + '.join(terms)} = {sums[0, 0]}" in text
    assert text.count("".join(map(str, correlate2d(patch, sums, "valid").ravel()))) == 2  # by hand and by autograd
    assert "Largest difference: 0." in text


def test_an_unknown_kernel_is_answered_with_a_suggestion(tmp_path: Path, viewfinder: Type) -> None:
    answer = viewfinder("explain", "convolution", "no.png", "--kernel", "blurr", "--output", tmp_path / "page.html")
    assert (answer.code, answer.out) == (2, "")
    assert "--kernel = blurr" in answer.err
    assert "Did you mean blur?" in on_one_line(answer.err)


def test_an_image_that_cannot_be_shown_is_refused_without_a_page(tmp_path: Path, viewfinder: Type) -> None:
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(noise(4, 30)).save(tmp_path / "flat.png")
    for name, text in (("text.png", "text.png"), ("flat.png", "at least 5 pixels"), ("none.png", "none.png")):
        answer = viewfinder("explain", "convolution", tmp_path / name, "--output", tmp_path / "page.html")
        assert (answer.code, answer.out) == (2, "")
        assert text in on_one_line(answer.err)
    assert not (tmp_path / "page.html").exists()
