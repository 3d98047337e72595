"""Wording of docstrings and messages: sentences that need no second reading."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import viewfinder

PACKAGE = Path(viewfinder.__file__).parent
VAGUE_OPENINGS = {"what", "of", "that", "those", "where", "whether", "which", "how", "as", "it", "to"}
NOT_IMPERATIVE = {"the", "a", "an", "all", "every", "each", "one", "this", "these", "its", "their", "if", "when", "no"}
UNCLEAR_PHRASES = (
    "a person",
    "is no picture",
    "of one's own",
    "where one is",
    "whoever",
    "whichever",
    "file of torch.save",
    "List for each",
)
FILES = sorted(PACKAGE.rglob("*.py"))

pytestmark = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def _documented(path: Path) -> Iterator[tuple[ast.AST, str]]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node, docstring


def _first_word(docstring: str) -> str:
    return docstring.split()[0].strip("`*.,:;\"'")


def _place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 1)}"


def test_no_docstring_opens_with_a_word_that_points_elsewhere(path: Path) -> None:
    vague = [
        f"{_place(path, node)}: {docstring.splitlines()[0]}"
        for node, docstring in _documented(path)
        if _first_word(docstring).lower() in VAGUE_OPENINGS
    ]
    assert not vague, "\n".join(vague)


def test_the_docstring_of_a_public_function_opens_with_an_imperative(path: Path) -> None:
    other = []
    for node, docstring in _documented(path):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if any(isinstance(decorator, ast.Name) and "property" in decorator.id for decorator in node.decorator_list):
            continue  # a property is a value, described by a noun phrase
        word = _first_word(docstring)
        if not word[0].isupper() or (word.endswith("s") and not word.endswith("ss")) or word.lower() in NOT_IMPERATIVE:
            other.append(f"{_place(path, node)} {node.name}: {docstring.splitlines()[0]}")
    assert not other, "\n".join(other)


def test_no_message_needs_a_second_reading(path: Path) -> None:
    unclear = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            unclear += [f"{_place(path, node)}: {phrase}" for phrase in UNCLEAR_PHRASES if phrase in node.value]
    assert not unclear, "\n".join(unclear)
