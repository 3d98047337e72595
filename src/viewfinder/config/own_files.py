"""Configuration files: the shipped conf/, and the user's own folders, which Hydra searches first."""

from collections.abc import Iterator
from pathlib import Path

from viewfinder.config.hydra_internals import PRIMARY, search_first
from viewfinder.errors import Problem, UserError, join_first

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


def _list_replacing_files(folder: Path) -> Iterator[str]:
    """Yield the names of a folder's files that differ from the shipped files of the same names."""
    for shipped in sorted(find_conf().rglob("*.yaml")):
        name = shipped.relative_to(find_conf())
        if (folder / name).is_file() and (folder / name).read_bytes() != shipped.read_bytes():
            yield name.as_posix()


search_first(list_own_folders)
