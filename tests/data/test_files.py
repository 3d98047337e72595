"""Files are found through links and under odd names, and changing files are refused."""

import os
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import raises_user_error
from image_data import names_by_split, open_data, rules_by_path
from image_files import write_folder

from viewfinder.data.listing import find_images, list_images
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.errors import UserError


def test_a_link_that_leads_back_up_lists_no_image_twice_and_none_of_another_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "cat/deeper": 5, "dog": 10})
    expected = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    for link, target in {
        "cat/up": "..", "cat/deeper/up": "..", "cat/deeper/top": "../..", "cat/self": ".", "cat/absolute": tmp_path,
        "cat/above": tmp_path.parent, "cat/a-second-way": "deeper", "loop": ".", "dog/x.png.d": "x.png.d",
    }.items():  # fmt: skip
        (tmp_path / link).symlink_to(target)
    data = open_data(ImageFolder(root=str(tmp_path)), 8)
    assert data.class_names == ["cat", "dog"]
    assert sorted(name for names in names_by_split(data).values() for name in names) == expected
    assert [str(path.relative_to(tmp_path)) for path in find_images([tmp_path]).images] == expected


def test_images_and_folders_behind_links_belong_to_the_class_that_links_to_them(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"one": 4, "two": 4})
    write_folder(tmp_path / "root", {"dog": 6, "cat": 1})
    (tmp_path / "root" / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "one")
    for number in range(4):
        (tmp_path / "root" / "cat" / f"l{number}.png").symlink_to(tmp_path / "elsewhere" / "two" / f"0{number}.png")
    data = open_data(ImageFolder(root=str(tmp_path / "root")), 8)
    actual = sorted(name for names in names_by_split(data).values() for name in names if name.startswith("cat"))
    assert actual == ["cat/00.png", *(f"cat/l{n}.png" for n in range(4)), *(f"cat/more/0{n}.png" for n in range(4))]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_broken_links_pipes_and_sockets_are_named_at_once_and_a_folder_with_an_images_name_is_a_folder(
    tmp_path: Path, on_error: Literal["raise", "skip"]
) -> None:
    write_folder(tmp_path, {"cat": 9, "dog": 8, "dog/folder.png": 2})
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cat" / "self.png").symlink_to("self.png")
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    (tmp_path / "dog" / "device.png").symlink_to("/dev/zero")
    data = ImageFolder(root=str(tmp_path), on_error=on_error)
    if on_error == "raise":
        with pytest.raises(UserError) as caught:
            open_data(data, 8)
        message = {Path(key).name: rule for key, rule in rules_by_path(caught).items() if key.endswith(".png")}
    else:
        message = {Path(name).name: reason for name, reason in open_data(data, 8).skipped}
        assert sum(map(len, data.splits.values())) == 19
    assert set(message) == {"gone.png", "self.png", "pipe.png", "device.png"}
    assert "nowhere.png, which does not exist" in message["gone.png"]
    assert "pipe" in message["pipe.png"]


def test_a_class_that_is_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "bird").symlink_to("nowhere")
    with raises_user_error(r"bird is a link to nowhere, which does not exist"):
        open_data(ImageFolder(root=str(tmp_path)))


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "~no-such-person/pictures"])
def test_a_path_that_no_system_can_open_is_named(tmp_path: Path, name: str) -> None:
    root = name if name.startswith("~") else f"{tmp_path}/{name}"
    with pytest.raises(UserError) as caught:
        open_data(ImageFolder(root=root))
    assert [problem.key for problem in caught.value.problems] == ["data.root"]
    with raises_user_error(r"cannot be opened|does not exist"):
        find_images([Path(root)])


def test_images_below_a_folder_that_cannot_be_listed_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {"cat": 2, "locked": 2})
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with raises_user_error(r"locked cannot be listed: Permission denied"):
        list_images(tmp_path)
