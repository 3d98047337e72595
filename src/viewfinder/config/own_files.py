"""Configuration files: the shipped conf/, and the user's own folders, which Hydra searches first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from viewfinder.config.hydra_internals import PRIMARY, search_first
from viewfinder.errors import Problem, UserError, did_you_mean, join_first, join_names

MAX_NAMED = 3
"""Files named in a message; the others are counted."""
config_dirs: list[Path] = []
"""folders of --config-dir, which holds for the whole command"""


def find_conf() -> Path:
    """Return the shipped conf/, in the installed package or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


def list_own_folders() -> list[Path]:
    """Return the user's folders of configuration files: those of --config-dir, and conf/ in the working folder."""
    folders = [*config_dirs, Path.cwd() / "conf"]
    return [folder for folder in folders if folder.is_dir() and folder.resolve() != find_conf().resolve()]


def use_config_dir(folder: Path) -> None:
    """Search a folder before all others from now on.

    Raises:
        UserError: if it is not a folder.
    """
    if not folder.is_dir():
        rule = "is not a folder" if folder.exists() else "does not exist"
        remedy = "Pass a folder like conf/, with a subfolder for each group, such as optimizer/."
        raise UserError("the command line", [Problem("--config-dir", rule, str(folder), remedy)])
    config_dirs[:] = [folder.absolute()]


def describe_own_files() -> list[str]:
    """Return lines about files that replace shipped ones of the same name, and about those that are never read."""
    lines = []
    names = [name for folder in list_own_folders() for name in _list_replacing_files(folder)]
    if replacing := [name for name in dict.fromkeys(names) if name != f"{PRIMARY}.yaml"]:
        lines.append(f"conf     your own instead of the shipped {join_first(replacing, MAX_NAMED)}")
    if f"{PRIMARY}.yaml" in names:
        remedy = "put its keys into conf/experiment/NAME.yaml and add experiment=NAME"
        lines.append(f"conf     your {PRIMARY}.yaml is not read; {remedy}")
    return lines


def read_choice(group: str, name: str) -> dict[str, Any] | None:
    """Read a choice of a group without composing the whole configuration; None for an empty file.

    Args:
        group: the group.
        name: name of a file in its folder, whose only defaults are other files of the group.

    Raises:
        UserError: if there is no such file.
    """
    folders = [folder / group for folder in (*list_own_folders(), find_conf())]
    path = next((file for folder in folders if (file := folder / f"{name}.yaml").is_file()), None)
    if path is None:
        names = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
        rule = did_you_mean(name, names) or "unknown choice"
        raise UserError("the command line", [Problem(f"--{group}", rule, name, f"Choices: {join_names(names)}.")])
    content: Any = OmegaConf.to_container(OmegaConf.load(path)) or {}
    for default in reversed([other for other in content.pop("defaults", []) if other != "_self_"]):
        content = (read_choice(group, default) or {}) | content
    return content or None


def _list_replacing_files(folder: Path) -> Iterator[str]:
    """Yield the names of a folder's files that differ from the shipped files of the same names."""
    for shipped in sorted(find_conf().rglob("*.yaml")):
        name = shipped.relative_to(find_conf())
        if (folder / name).is_file() and (folder / name).read_bytes() != shipped.read_bytes():
            yield name.as_posix()


search_first(list_own_folders)
