"""Sphinx extension: commands that are run when the documentation is built, with what they print and draw.

`{command}` shows a command and its output; `{drawn}` shows images of a page, or a file, that a command has written.
The commands of all pages tutorial-*.md run once, in the order of the pages, in the folder _build/tutorial.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).resolve().parents[1]
WORK, RESULTS = DOCS / "_build" / "tutorial", DOCS / "_build" / "tutorial.json"
FIGURES, PAGES = DOCS / "_build" / "generated" / "figures", DOCS / "_build" / "generated" / "extra" / "pages"
COMMAND = re.compile(r"^```\{command\} (.+)$", re.MULTILINE)


def list_commands() -> list[str]:
    """Return the commands of the tutorial in their order."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("tutorial-*.md")))
    return [line for text in texts for line in COMMAND.findall(text)]


def run_commands(app: Sphinx) -> None:
    """Run all commands, and keep what each prints in RESULTS.

    Raises:
        ExtensionError: if one fails.
    """
    for folder in (WORK, FIGURES, PAGES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    lines = list_commands()
    script = [sys.executable, str(Path(__file__).with_name("run_commands.py")), str(RESULTS)]
    ended = subprocess.run(script, input=json.dumps(lines), cwd=WORK, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ExtensionError(f"a command of the tutorial failed:\n{ended.stderr}")
    outputs = json.loads(RESULTS.read_text(encoding="utf-8"))
    RESULTS.write_text(json.dumps(dict(zip(lines, outputs, strict=True))), encoding="utf-8")


class Command(SphinxDirective):
    """A command and its output; `lines` chooses some of the lines, and `page` links a page that it writes."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"lines": directives.unchanged_required, "page": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        (line,) = self.arguments
        shown = [nodes.literal_block(line, line, language="bash")]
        output = json.loads(RESULTS.read_text(encoding="utf-8"))[line].strip("\n").splitlines()
        first, _, last = self.options.get("lines", f"1-{len(output)}").partition("-")
        text = "\n".join(row.rstrip() for row in output[int(first) - 1 : int(last)])
        if text:
            shown.append(nodes.literal_block(text, text, language="text"))
        if "page" in self.options:
            name = self.options["page"].replace("/", "-")
            shutil.copy(WORK / self.options["page"], PAGES / name)
            link = f'<p><a href="pages/{name}">The whole page that this command writes</a></p>'
            shown.append(nodes.raw("", link, format="html"))
        return shown


class Drawn(SphinxDirective):
    """Images side by side, with the content as caption.

    The argument is an image file, or a page, whose images `alt` chooses by the beginnings of their texts, parted by |.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"alt": directives.unchanged_required, "width": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        path, alt = WORK / self.arguments[0], self.options.get("alt", "")
        if path.suffix == ".html":
            images = find_images(path, [text.strip() for text in alt.split("|")])
        else:
            images = [(alt, path.suffix, path.read_bytes())]
        row = nodes.container(classes=["drawn"])
        for text, suffix, content in images:
            name = f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
            (FIGURES / name).write_bytes(content)
            image = nodes.image(uri=f"/{(FIGURES / name).relative_to(DOCS).as_posix()}", alt=text)
            image["classes"] = ["chart"] if suffix == ".svg" else ["pixels"]
            if "width" in self.options:
                image["width"] = self.options["width"]
            row += image
        inline, messages = self.parse_inline(" ".join(self.content))
        return [row, nodes.paragraph("", "", *inline, classes=["caption"]), *messages]


def find_images(path: Path, texts: list[str]) -> list[tuple[str, str, bytes]]:
    """Return alternative text, suffix and content of images in a page: for each text the first one that starts so.

    Raises:
        ExtensionError: if there is none.
    """
    page = _Images()
    page.feed(path.read_text(encoding="utf-8"))
    found = []
    for text in texts:
        matches = [(alt, source) for alt, source in page.images if alt.startswith(text)]
        if not matches:
            raise ExtensionError(f"{path} has no image '{text}', but {[alt for alt, _ in page.images]}")
        alt, source = matches[0]
        kind, _, content = source.partition(";base64,")
        suffix = {"data:image/svg+xml": ".svg", "data:image/png": ".png", "data:image/jpeg": ".jpg"}[kind]
        found.append((alt, suffix, base64.b64decode(content)))
    return found


class _Images(HTMLParser):
    """Alternative texts and addresses of the images of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "img":
            self.images.append((facts.get("alt") or "", facts.get("src") or ""))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives with Sphinx."""
    PAGES.mkdir(parents=True, exist_ok=True)  # html_extra_path names the folder above it
    app.add_directive("command", Command)
    app.add_directive("drawn", Drawn)
    app.connect("builder-inited", run_commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
