"""The documentation builds without warnings, and what is generated for it says what conf/ and src/ say."""

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Page
from pages import PAGES, list_commands

sys.path.insert(0, str(ROOT / "docs" / "ext"))

from commands import list_commands as list_tutorial_commands
from config_reference import describe_configuration
from room_graph import ROOMS, count_imports, draw_rooms


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built by the command that README.md shows from a copy of what it is made of."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("docs", "conf", "src"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for file in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, copy)
    (command,) = re.findall(r"`(sphinx-build [^`]*)`", PAGES["README.md"])
    words = [sys.executable, "-m", "sphinx", *shlex.split(command)[1:]]
    ended = subprocess.run(words, cwd=copy, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return copy / "docs" / "_build" / "html"


@pytest.mark.slow
def test_every_page_is_in_the_site_with_text_and_drawings(site: Path) -> None:
    for page in PAGES:
        if page.startswith("docs/"):
            assert (site / f"{Path(page).stem}.html").is_file()
    built = {path.stem: Page(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}
    assert "svg" in built["architecture"].tags
    assert "optimizer.weight_decay" in built["configuration"].text
    assert "60.60 ±0.17" in built["getting-started"].text
    assert "val/accuracy" in built["notebook"].text  # printed by a cell
    assert "(32 - 3 + 2*1)/1 + 1 = 32" in "".join(built["tutorial-1-convolution"].text)  # printed by inspect
    for page, charts in (("tutorial-1-convolution", 8), ("tutorial-2-training", 11), ("tutorial-3-networks", 1)):
        assert sum("_images/" in source for source in built[page].fetched) == charts
    (explained,) = [source for source in built["tutorial-1-convolution"].fetched if source.startswith("pages/")]
    assert "The gradient of the kernel" in (site / explained).read_text(encoding="utf-8")
    for page in built.values():
        for source in page.fetched:
            if source and not source.startswith(("#", "http")):
                assert (site / source.partition("#")[0].partition("?")[0]).exists()


def test_every_command_of_the_tutorial_is_known_and_runs_in_a_folder_of_its_own() -> None:
    commands = list_tutorial_commands()
    assert len(commands) == len(set(commands)) > 15
    kinds = [command.partition(" data=")[0] for command in commands]
    assert any(kind.startswith("viewfinder explain convolution") for kind in kinds)
    for command in commands:
        assert command.startswith(("viewfinder ", "python train.py ", "python -c "))
        if command.startswith("python train.py "):
            assert "run_dir=outputs/" in command or "sweep.name=" in command


def test_the_command_that_builds_the_site_is_the_same_on_every_page() -> None:
    shown = {command for text in PAGES.values() for command in re.findall(r"sphinx-build [^`\n]*", text)}
    shown |= {command.line for command in list_commands("sphinx-build")}
    assert shown == {"sphinx-build -W docs docs/_build/html"}


def test_every_relative_link_leads_to_a_file() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", text):
            (link,) = filter(None, target)
            assert link.startswith("http") or ((ROOT / page).parent / link).is_file(), f"{page}: {link}"


def test_the_reference_holds_every_key_of_conf_with_its_default_and_comment() -> None:
    reference = describe_configuration(ROOT / "conf")
    for path in (ROOT / "conf").rglob("*.yaml"):
        group = path.parent.relative_to(ROOT / "conf").as_posix()
        assert group == "." or f"\n#### {group}={path.stem}\n" in reference
        text = path.read_text(encoding="utf-8")
        if group != "." and "Pretrained" not in text and "@package" not in text:
            for key, value in (yaml.safe_load(text) or {}).items():
                if not (isinstance(value, dict) or key in ("_target_", "defaults")):
                    assert f"| `{group.replace('/', '.')}.{key}` |" in reference


def test_the_reference_shows_defaults_comments_and_bases_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "config.yaml").write_text(
        "defaults:\n  - _self_\n  - net: small\n\nseed: 1   # of <everything>\n"
        "part:  # both\n  'rate': 1e-3\n  name: a#b  # no # more\nhydra:\n  run: x\n"
    )
    (tmp_path / "net" / "small.yaml").write_text(
        "# A net.\n#   python x\n_target_: a.Net\nsizes: [1, 2]  # a|b\nroot: ???\n"
    )
    (tmp_path / "net" / "wide.yaml").write_text("defaults: [small, _self_]\nsizes: [3]\n")
    assert describe_configuration(tmp_path).splitlines() == [
        "### Keys outside the groups", "",
        "| key | default | meaning |", "|---|---|---|",
        "| `seed` | `1` | of \\<everything\\> |",
        "| `part` |  | both |",
        "| `part.rate` | `1e-3` |  |",
        "| `part.name` | `a#b` | no \\# more |", "",
        "### net", "",
        "Default: `net=small`.", "",
        "#### net=small", "",
        "A net.", "",
        "```text", "python x", "```", "",
        "`_target_: a.Net`", "",
        "| key | default | meaning |", "|---|---|---|",
        "| `net.sizes` | `[1, 2]` | a\\|b |",
        "| `net.root` | required |  |", "",
        "#### net=wide", "",
        "Starts from `net=small`.", "",
        "| key | default | meaning |", "|---|---|---|",
        "| `net.sizes` | `[3]` |  |",
    ]  # fmt: skip


def test_a_choice_like_another_shows_only_what_differs() -> None:
    reference = describe_configuration(ROOT / "conf")
    section = reference.split("#### model=vgg16\n")[1].partition("####")[0]
    assert "Keys and defaults of `model=alexnet`, except:" in section
    assert [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")] == ["model.variant"]


def test_imports_are_counted_by_room(tmp_path: Path) -> None:
    files = {
        "__init__.py": "from house.config import moved\n",
        "errors.py": "import json\n",
        "cli/main.py": "def run():\n    from house.data import load\n    import house.errors\n",
        "cli/other.py": "from house import errors\nfrom house.data.load import read\n",
        "data/load.py": "from ..errors import Problem\nfrom . import split\n",
        "data/split.py": "import housekeeping.errors\n",
    }
    for name, text in files.items():
        (tmp_path / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "house" / name).write_text(text)
    assert count_imports(tmp_path / "house") == Counter({
        ("cli", "data"): 2, ("cli", "errors"): 2, ("data", "errors"): 1,
    })  # fmt: skip


def test_the_drawing_has_every_room_and_is_the_same_each_time() -> None:
    edges = count_imports(ROOT / "src" / "viewfinder")
    drawing = draw_rooms(edges)
    assert drawing == draw_rooms(Counter(dict(reversed(edges.items()))))
    rooms = {path.stem for path in (ROOT / "src" / "viewfinder").iterdir() if not path.name.startswith("__")}
    assert set(ROOMS) == rooms - {"conf", "py"}  # without py.typed
    for room in ROOMS:
        assert f">{room}</text>" in drawing
    assert 'class="up"' not in drawing
    assert 'class="up"' not in draw_rooms(Counter({("cli", "errors"): 1}))
    assert 'class="up"' in draw_rooms(Counter({("errors", "cli"): 1}))
