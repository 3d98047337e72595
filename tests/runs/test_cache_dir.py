"""The cache folder of a user without a home belongs to that user alone."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from conftest import raises_user_error

from viewfinder.runs.cache_dir import cache_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this user, if there is no home folder; it does not exist yet."""

    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"viewfinder-{os.getuid()}"


def test_without_a_home_a_folder_of_this_user_alone_is_created_and_used_again(temporary: Path) -> None:
    umask = os.umask(0)
    try:
        assert cache_folder() == temporary
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
        assert cache_folder() == temporary
    finally:
        os.umask(umask)


def test_a_link_to_a_folder_of_this_user_is_refused(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    for target in ("other", "missing"):
        temporary.symlink_to(tmp_path / target)
        with raises_user_error("is a link or a file"):
            cache_folder()
        temporary.unlink()
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o1702])
def test_a_folder_that_others_may_write_to_is_refused(temporary: Path, mode: int) -> None:
    temporary.mkdir()
    temporary.chmod(mode)
    with raises_user_error("may be written by other users"):
        cache_folder()
    temporary.chmod(0o755)
    assert cache_folder() == temporary


def test_a_folder_of_another_user_is_refused(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary.mkdir(mode=0o700)
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    temporary.rename(temporary.with_name(f"viewfinder-{other}"))
    with raises_user_error("belongs to another user"):
        cache_folder()
