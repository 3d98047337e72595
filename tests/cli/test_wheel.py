"""The wheel contains conf/ and the page templates."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from conftest import ROOT


def test_the_wheel_contains_conf_and_the_page_template(tmp_path: Path) -> None:
    source = tmp_path / "source"
    names = ("src", "conf", "pyproject.toml", "README.md", "LICENSE", "train.py")
    source.mkdir()
    for name in names:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    # Without hatchling here, pip fetches it as it does for anyone who installs from source.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    build = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--quiet", *isolation]
    process = subprocess.run([*build, "-w", str(tmp_path)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (wheel,) = tmp_path.glob("viewfinder-*.whl")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    carried = {path.relative_to(unpacked / "viewfinder").as_posix() for path in unpacked.rglob("*.yaml")}
    assert carried == shipped
    assert (unpacked / "viewfinder" / "reporting" / "pages" / "run.html.j2").is_file()
    modules = {path.relative_to(ROOT / "src") for path in (ROOT / "src" / "viewfinder").rglob("*.py")}
    assert {path.relative_to(unpacked) for path in (unpacked / "viewfinder").rglob("*.py")} == modules
    code = "import viewfinder.config.overrides as o; print(o.find_conf());"
    code += " print(o.compose_config(['model=mlp']).model.widths)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={"PYTHONPATH": str(unpacked)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.stdout.splitlines() == [str(unpacked / "viewfinder" / "conf"), "[512, 256]"], answer.stderr
