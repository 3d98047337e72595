"""Changed copies of images are found among others, and each copy has the right consequence."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from image_files import noise, save_image
from PIL import Image, ImageOps
from scenes import CHANGES, draw_scene

from viewfinder.data.audit.alignment import align, correlate, subtract_surroundings
from viewfinder.data.audit.duplicates import Duplicates, find_equal, join_pairs
from viewfinder.data.audit.manifest import build_manifest, build_suspect_table, name_files
from viewfinder.data.audit.result import scan_and_compare
from viewfinder.data.audit.scan import scan_images
from viewfinder.data.audit.signatures import compute_signatures
from viewfinder.data.audit.suspects import count_leaks, find_small, list_suspects
from viewfinder.data.split import ImageRows, Split

SCENES = 40


def to_pixels(image: Image.Image) -> torch.Tensor:
    """Return an image as (1, 3, 32, 32) float32."""
    levels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).astype(np.float32)
    return torch.from_numpy(levels).permute(2, 0, 1)[None]


def make_split(paths: list[Path], labels: list[int]) -> Split:
    names = np.array([path.name for path in paths], dtype=object)
    return Split(names, np.array(labels), np.array(paths, dtype=object))


def make_table(rows: list[tuple[str, int, str | None]]) -> pd.DataFrame:
    """Return facts of readable images of one size, from split, label and group."""
    table = pd.DataFrame(rows, columns=["split", "label", "group"])
    table = table.assign(name=[str(row) for row in table.index], fold=None, height=32, width=32)
    return table.assign(content=None, problem="")


def make_duplicates(count: int, pairs: list[tuple[int, int, str]]) -> Duplicates:
    table = pd.DataFrame(pairs, columns=["first", "second", "kind"]).assign(correlation=0.99)
    return Duplicates(table, join_pairs(table, count))


@pytest.mark.parametrize("in_files", [True, False], ids=["files", "a tensor"])
def test_changed_copies_are_found_and_nothing_else(tmp_path: Path, in_files: bool) -> None:
    scenes = [draw_scene(seed) for seed in range(SCENES)]
    copies = {3 * place: change(scenes[3 * place]) for place, change in enumerate(CHANGES.values())}
    if in_files:
        train = make_split([save_image(tmp_path, f"{n}.png", image) for n, image in enumerate(scenes)], [0] * SCENES)
        test = make_split([save_image(tmp_path, f"c{n}.png", image) for n, image in copies.items()], [0] * len(copies))
    else:
        pixels = [np.asarray(image.resize((48, 40))) for image in [*scenes, *copies.values()]]
        base, names = torch.from_numpy(np.stack(pixels)), np.arange(len(pixels)).astype(str)
        train = Split(names[:SCENES], np.zeros(SCENES, int), ImageRows(base, torch.arange(SCENES)))
        test = Split(names[SCENES:], np.zeros(5, int), ImageRows(base, torch.arange(SCENES, len(base))))
    scan, blank, duplicates = scan_and_compare({"train": train, "test": test}, tmp_path, 0.88)
    found = {(pair.first, pair.second): pair.kind for pair in duplicates.pairs.itertuples()}
    kinds = ["mirrored" if name == "mirrored" else "near" for name in CHANGES]
    assert found == {(row, SCENES + place): kinds[place] for place, row in enumerate(copies)}
    assert not blank.any()
    assert count_leaks(scan.table, duplicates).loc["test"].to_dict() == {"images": 5, "exact": 0, "near": 5}


def test_equal_files_are_exact_duplicates_whatever_their_names(tmp_path: Path) -> None:
    paths = [save_image(tmp_path, f"{number}.png", noise(9, 9, 3, seed=number)) for number in range(4)]
    (tmp_path / "copy.png").write_bytes(paths[2].read_bytes())
    splits = {"train": make_split(paths, [0, 0, 1, 1]), "test": make_split([tmp_path / "copy.png"], [1])}
    scan, _, duplicates = scan_and_compare(splits, tmp_path, 0.88)
    assert duplicates.pairs[["first", "second", "kind"]].to_numpy().tolist() == [[2, 4, "exact"]]
    assert count_leaks(scan.table, duplicates).loc["test"].to_dict() == {"images": 1, "exact": 1, "near": 0}


def test_facts_are_those_of_pillow_and_unreadable_images_have_a_reason(tmp_path: Path) -> None:
    paths = [
        save_image(tmp_path, "a.png", Image.fromarray(noise(7, 5)).convert("L")),
        save_image(tmp_path, "b.jpg", Image.fromarray(noise(30, 20, 3))),
        save_image(tmp_path, "c.png", Image.new("P", (200, 200))),
        save_image(tmp_path, "d.png", noise(50, 50, 3)),
    ]
    paths[3].write_bytes(paths[3].read_bytes()[:-3000])
    scan, blank, _ = scan_and_compare({"train": make_split(paths, [0] * 4)}, tmp_path, 0.88)
    assert scan.table[["height", "width", "mode"]].to_numpy().tolist() == [
        [7, 5, "L"], [30, 20, "RGB"], [200, 200, "P"], [0, 0, ""]
    ]  # fmt: skip
    assert [bool(problem) for problem in scan.table["problem"]] == [False, False, False, True]
    assert blank.tolist() == [False, False, True, True]
    assert find_small(scan.table.assign(height=[7, 100, 100, 0], width=[90, 90, 90, 0])).tolist() == [
        True, False, False, False
    ]  # fmt: skip


def test_a_signature_consists_of_weighted_coefficients_of_the_cosine_transform() -> None:
    levels = torch.from_numpy(noise(1, 32, 32)).unsqueeze(3).expand(-1, -1, -1, 3)
    position = np.arange(32) + 0.5
    grey = levels[0, :, :, 0].numpy().astype(float)
    signature = compute_signatures(levels)[0].reshape(8, 8)

    def coefficient(row: int, column: int) -> float:
        waves = [np.cos(math.pi * frequency * position / 32) for frequency in (row, column)]
        return math.sqrt(math.hypot(row, column)) * float(waves[0] @ grey @ waves[1])

    assert signature[0, 0] == 0
    assert signature[3, 4] / signature[2, 7] == pytest.approx(coefficient(3, 4) / coefficient(2, 7), rel=1e-3)
    assert signature.square().sum() == pytest.approx(1, abs=1e-5)


def test_a_crop_is_aligned_to_the_pixels_that_it_shows() -> None:
    whole = draw_scene(5, (64, 64))
    part = whole.crop((8, 4, 64, 60))
    scale_x, scale_y, shift_x, shift_y = align(to_pixels(part), to_pixels(whole))[0].tolist()
    assert (scale_x, scale_y) == pytest.approx((56 / 64 - 1, 56 / 64 - 1), abs=0.02)
    assert (shift_x, shift_y) == pytest.approx((8 / 64, 0), abs=0.02)
    assert correlate(to_pixels(part), to_pixels(whole)).item() > 0.99


def test_levels_are_relative_to_the_mean_of_the_square_around_them() -> None:
    levels = noise(20, 30).astype(np.float32)
    around = [[levels[max(y - 8, 0) : y + 9, max(x - 8, 0) : x + 9].mean() for x in range(30)] for y in range(20)]
    relative = subtract_surroundings(torch.from_numpy(levels)[None, None])[0, 0]
    np.testing.assert_allclose(relative, levels - around, atol=1e-3)


def test_a_slow_change_of_brightness_hardly_makes_images_alike() -> None:
    slope = np.linspace(200, 50, 32, dtype=np.float32)[:, None]
    images = [
        torch.from_numpy(slope + 40 * np.kron(noise(4, 4, seed=seed) / 255, np.ones((8, 8)))).float() for seed in (1, 2)
    ]
    assert np.corrcoef(*(image.numpy().ravel() for image in images))[0, 1] > 0.9
    assert correlate(*(image.expand(1, 3, -1, -1) for image in images)).item() < 0.7


def test_of_several_duplicates_the_one_in_the_test_split_stays() -> None:
    table = make_table(
        [("train", 0, None), ("train", 0, None), ("val", 0, None), ("test", 0, None), ("train", 1, None)]
    )
    duplicates = make_duplicates(5, [(0, 1, "exact"), (1, 2, "near"), (2, 3, "mirrored")])
    suspects = list_suspects(table, duplicates, np.zeros(5, bool))
    assert suspects[["row", "reason", "other", "is_left_out"]].to_numpy().tolist() == [
        [0, "exact duplicate", 1, True], [1, "exact duplicate", 0, True], [2, "near duplicate", 1, True],
    ]  # fmt: skip


def test_duplicates_with_two_labels_are_all_left_out() -> None:
    table = make_table([("train", 0, None), ("train", 1, None), ("test", 1, None), ("train", 0, None)])
    suspects = list_suspects(table, make_duplicates(4, [(0, 1, "near"), (1, 2, "near")]), np.zeros(4, bool))
    assert suspects["reason"].unique().tolist() == ["two labels"]
    files = np.array(["a", "b", "c", "d"], dtype=object)
    assert build_manifest(table, suspects, files, ["cat", "dog"]).to_numpy().tolist() == [["d", "cat", "train"]]


def test_likely_label_errors_are_left_out_of_training_alone() -> None:
    table = make_table([("train", 0, None), ("val", 1, None), ("test", 1, None)])
    errors = pd.DataFrame({"row": [2, 0, 1], "suggested": [0, 1, 0], "score": [0.9, 0.8, 0.7]})
    suspects = list_suspects(table, make_duplicates(3, []), np.zeros(3, bool), errors)
    files = np.array(["a", "b", "c"], dtype=object)
    assert build_manifest(table, suspects, files, ["cat", "dog"])["image"].tolist() == ["b", "c"]
    listed = build_suspect_table(table, suspects, files, ["cat", "dog"])
    assert listed[["image", "label", "suggested", "score", "left_out"]].to_numpy().tolist() == [
        ["c", "dog", "cat", 0.9, False], ["a", "cat", "dog", 0.8, True], ["b", "dog", "cat", 0.7, False]
    ]  # fmt: skip


def test_a_group_in_two_splits_stays_in_the_test_split() -> None:
    table = make_table([("train", 0, "p1"), ("test", 0, "p1"), ("train", 0, "p2"), ("train", 1, None)])
    suspects = list_suspects(table, make_duplicates(4, []), np.zeros(4, bool))
    assert suspects[["row", "reason"]].to_numpy().tolist() == [[0, "shared group"]]


def test_equal_contents_are_paired_with_the_first() -> None:
    contents = pd.Series(["x", None, "y", "x", None, "x"])
    assert find_equal(contents)[["first", "second"]].to_numpy().tolist() == [[0, 3], [0, 5]]


def test_files_below_the_root_are_named_from_it_and_others_by_their_whole_path(tmp_path: Path) -> None:
    split = make_split([tmp_path / "root" / "cat" / "1.png", tmp_path / "2.png"], [0, 0])
    assert name_files({"train": split}, tmp_path / "root").tolist() == ["cat/1.png", str(tmp_path / "2.png")]


def test_thumbnails_of_grey_and_coloured_tensors_are_their_resized_pixels(tmp_path: Path) -> None:
    grey = noise(3, 32, 32, 1)
    split = Split(np.arange(3).astype(str), np.zeros(3, int), ImageRows(torch.from_numpy(grey)))
    thumbnails = scan_images({"train": split.select(np.array([0, 2]))}, tmp_path).thumbnails
    np.testing.assert_array_equal(thumbnails.numpy(), np.repeat(grey[[0, 2]], 3, axis=3))


def test_a_mirrored_image_has_the_signature_with_other_signs() -> None:
    scene = draw_scene(9, (32, 32))
    pixels = [torch.from_numpy(np.asarray(image).copy())[None] for image in (scene, ImageOps.mirror(scene))]
    one, two = (compute_signatures(image)[0].reshape(8, 8) for image in pixels)
    torch.testing.assert_close(two, one * torch.tensor([1.0, -1] * 4), atol=1e-4, rtol=0)
