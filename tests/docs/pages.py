"""Fenced blocks and commands of README.md, CONTRIBUTING.md and docs/*.md."""

import re
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
BLOCK = re.compile(r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^# (?P<path>[\w/]+\.\w+)\n")


class Command(NamedTuple):
    """A line of a bash block, without its comment."""

    page: str
    line: str


def read_blocks(page: str, language: str) -> list[str]:
    """Return the text of a page's blocks of a language; of those without one for ''."""
    return [block["text"] for block in BLOCK.finditer(PAGES[page]) if block["language"] == language]


def read_files(page: str) -> dict[Path, str]:
    """Return the files that a page shows: blocks whose first line is a comment with a path."""
    texts = [block["text"] for block in BLOCK.finditer(PAGES[page])]
    return {Path(match["path"]): text for text in texts if (match := FILE.match(text))}


def list_commands(*starts: str) -> list[Command]:
    """Return all commands with one of some beginnings, each line once, with the first page that shows it."""
    lines = {
        line.split("  #")[0].strip(): page
        for page in reversed(PAGES)
        for block in reversed(read_blocks(page, "bash"))
        for line in reversed(block.splitlines())
    }
    return [Command(page, line) for line, page in reversed(lines.items()) if line.startswith(starts)]


def own_words(page: str) -> set[str]:
    """Return the words of a command line, such as model=tiny, that need a file that the page shows."""
    files = read_files(page)
    choices = {f"{path.parent.name}={path.stem}" for path in files if path.parts[0] == "conf"}
    classes = {
        f"loss._target_={path.stem}.{name}"
        for path, text in files.items() for name in re.findall(r"^class (\w+)", text, re.MULTILINE)
    }  # fmt: skip
    return choices | classes


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page shows below a folder, which has none of them."""
    for path, text in read_files(page).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("x", encoding="utf-8") as file:
            file.write(text)
