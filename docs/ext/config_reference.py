"""Reference of the configuration in Markdown: groups, choices, keys, defaults and the comments beside them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

SKIPPED = ("_target_", "defaults", "hydra")


class Key(NamedTuple):
    """A dotted key, its default as it is written, and the comment on its line."""

    name: str
    default: str
    comment: str


class YamlFile(NamedTuple):
    """What the reference shows of one file of conf/."""

    comments: list[str]
    """lines above the first key"""
    target: str
    defaults: list[tuple[str, str]]
    """(group or "", choice) of the defaults list"""
    keys: list[Key]
    is_global: bool
    """whether the keys are those of the whole configuration, not of the file's group"""


def describe_configuration(conf: Path) -> str:
    """Return the reference of all files below a folder, in the order of its config.yaml's defaults."""
    main = read_yaml_file(conf / "config.yaml")
    chosen = {group: choice for group, choice in main.defaults if group}
    groups = [*(group for group in chosen if (conf / group).is_dir()), *_other_groups(conf, set(chosen))]
    parts = ["### Keys outside the groups", "", *_tabulate(main.keys)]
    for group in groups:
        parts += [f"### {group}", ""]
        if chosen.get(group, "null") != "null":
            parts += [f"Default: `{group}={chosen[group]}`.", ""]
        shown: dict[str, YamlFile] = {}
        for path in sorted((conf / group).glob("*.yaml")):
            file = read_yaml_file(path)
            parts += _describe_choice(group, path.stem, file, shown)
            shown[path.stem] = file
    return "\n".join(parts)


def _other_groups(conf: Path, known: set[str]) -> list[str]:
    folders = {path.parent.relative_to(conf).as_posix() for path in conf.rglob("*/*.yaml")}
    return sorted(folders - known)


def _describe_choice(group: str, name: str, file: YamlFile, shown: Mapping[str, YamlFile]) -> list[str]:
    sentences = [line for line in file.comments if not line.startswith(" ")]
    indented = [line.strip() for line in file.comments if line.startswith(" ")]
    parts = [f"#### {group}={name}", ""]
    if sentences:
        parts += [*map(_escape, sentences), ""]
    if indented:
        parts += ["```text", *indented, "```", ""]
    if file.target:
        parts += [f"`_target_: {file.target}`", ""]
    bases = [f"`{group}={choice}`" for base, choice in file.defaults if not base]
    choices = [f"`{base}={choice}`" for base, choice in file.defaults if base]
    if bases:
        parts += [f"Starts from {', '.join(bases)}.", ""]
    if choices:
        parts += [f"Chooses {', '.join(choices)}.", ""]
    prefix = "" if file.is_global else f"{group.replace('/', '.')}."
    keys = [key._replace(name=prefix + key.name) for key in file.keys]
    twin = next((other for other, seen in shown.items() if file.target and _is_alike(seen, file)), None)
    if twin is not None:
        parts += [f"Keys and defaults of `{group}={twin}`, except:", ""]
        keys = [key for key, own, other in zip(keys, file.keys, shown[twin].keys, strict=True) if own != other]
    return [*parts, *_tabulate(keys)]


def _is_alike(first: YamlFile, second: YamlFile) -> bool:
    """Return whether two files name the same class and the same keys of it."""
    names = [[key.name for key in file.keys] for file in (first, second)]
    return first.target == second.target and names[0] == names[1]


def _tabulate(keys: list[Key]) -> list[str]:
    if not keys:
        return []
    rows = [f"| `{key.name}` | {_show_default(key.default)} | {_escape(key.comment)} |" for key in keys]
    return ["| key | default | meaning |", "|---|---|---|", *rows, ""]


def _show_default(default: str) -> str:
    if default == "???":
        return "required"
    return f"`{default}`".replace("|", r"\|") if default else ""


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", text)


def read_yaml_file(path: Path) -> YamlFile:
    """Read a file of conf/ with its comments, which YAML loaders drop."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    above = [line[1:].removeprefix(" ") for line in _leading_comments(lines) if "@package" not in line]
    root = yaml.compose(text)
    is_global = "@package _global_" in text
    if not isinstance(root, yaml.MappingNode):
        return YamlFile(above, "", [], [], is_global)
    entries = {key.value: value for key, value in root.value}
    target = entries["_target_"].value if "_target_" in entries else ""
    defaults = yaml.safe_load(text).get("defaults", [])
    return YamlFile(above, target, [*_read_defaults(defaults)], [*_read_keys(root, text, lines)], is_global)


def _leading_comments(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def _read_defaults(defaults: list[str | dict[str, str | None]]) -> Iterator[tuple[str, str]]:
    for entry in defaults:
        if isinstance(entry, dict):
            ((group, choice),) = entry.items()
            yield group.removeprefix("override ").removeprefix("/"), choice or "null"
        elif entry != "_self_":
            yield "", entry


def _read_keys(node: yaml.MappingNode, text: str, lines: list[str], prefix: str = "") -> Iterator[Key]:
    for key, value in node.value:
        if not prefix and key.value in SKIPPED:
            continue
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            comment = _read_comment(lines, key.end_mark)
            if comment:
                yield Key(name, "", comment)
            yield from _read_keys(value, text, lines, f"{name}.")
        else:
            default = text[value.start_mark.index : value.end_mark.index]
            yield Key(name, default, _read_comment(lines, value.end_mark))


def _read_comment(lines: list[str], mark: yaml.Mark) -> str:
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    return rest.partition("#")[2].strip()
