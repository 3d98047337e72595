"""Digits are those of scikit-learn."""

import numpy as np
from image_data import open_data
from image_files import assert_equal
from sklearn.datasets import load_digits

from viewfinder.data.sources.digits import Digits, _load, _read_file, read_digits


def test_digits_are_scikit_learns_levels_on_0_to_255() -> None:
    digits = load_digits()
    data = open_data(Digits(), 32)
    assert data.class_names == [str(n) for n in range(10)]
    assert sum(len(split) for split in data.splits.values()) == 1797
    for name, pictures in data.images.items():
        places = [int(item.split("/")[1]) for item in data.splits[name].names]
        assert_equal(pictures.pixels, np.round(digits.images[places, None] * 255 / 16))
        assert pictures.labels.tolist() == digits.target[places].tolist()


def test_scikit_learn_1_9_has_its_file_where_it_is_read() -> None:
    found = _read_file()
    assert found is not None
    for read, loaded in zip(found, _load(), strict=True):
        assert np.array_equal(read, loaded)


def test_three_channels_of_grey_images_are_the_grey_thrice() -> None:
    grey, colour = open_data(Digits(), 8), open_data(Digits(channels=3), 8)
    assert (colour.in_channels, colour.image_shape) == (3, (3, 8, 8))
    for name in grey.images:
        assert_equal(colour.images[name].pixels, np.repeat(grey.images[name].pixels.numpy(), 3, axis=1))


def test_the_source_alone_lists_all_digits_for_training() -> None:
    class_names, splits = read_digits()
    assert class_names == [str(number) for number in range(10)]
    assert list(splits) == ["train"]
    assert len(splits["train"]) == len(splits["train"].content) == 1797
