"""Docstrings: their names exist, their language is plain, and the API reference has a page of each module."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_tree import ROOT

FILES = sorted((ROOT / "speechllm").rglob("*.py"))
DOTTED = re.compile(r"``([A-Za-z_]\w*(?:\.\w+)+)(?:\(\))?``")
ELSEWHERE = {"torch", "sys", "my_lab"}
FILE_NAMES = re.compile(r"\.(jsonl?|yaml|md|html|txt|trn|stm|ctm|glm|safetensors|py|\d+)$")


LANGUAGE = {
    "free relative": r"\b(?:what|that which) (?:is|are|was|were|has|have|had|does|do|can|it|they|the|an?|no)\b",
    "whatever": r"\bwhatever\b",
    "of which": r"\b(?:of|in|from|by|on|at|to|with) (?:which|whose|whom)\b",
    "personification": r"\b(?:hears?|heard|listens?|knows|wants|says|tells|asks|thinks|sees|forgives?|mends?)\b",
    "archaic": r"\b(?:thereof|wherein|lest|amiss|but for|of (?:our|their)s|as (?:it|they) stands?|another one's)\b",
}
"""Expressions that plain technical English does without."""


@functools.cache
def parsed() -> dict[Path, ast.Module]:
    """Return the syntax trees of the package's files."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Return line and text of the lines of docstrings, comments and help texts of a file."""
    for node in ast.walk(parsed()[path]):
        if isinstance(node, ast.keyword) and node.arg == "help" and isinstance(node.value, ast.Constant):
            yield node.value.lineno, str(node.value.value)
    for first, text in docstrings(parsed()[path]):
        yield from enumerate(text.splitlines(), first)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if comment := re.search(r"(?:^|\s)# .*", line):
            yield number, comment[0]


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Return line and text of all docstrings, those of fields included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def names_of(body: list[ast.stmt]) -> set[str]:
    """Return the names that statements define or import."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_dotted_names_in_docstrings_exist() -> None:
    """A name is a module's, a class', or, behind a section of the YAML or an argument, a field of some class."""
    trees = parsed()
    members: defaultdict[str, set[str]] = defaultdict(set)  # of modules and classes by name
    fields: set[str] = set()
    for path, tree in trees.items():
        module = path.parent.name if path.stem == "__init__" else path.stem
        members[module] |= names_of(tree.body)
        members[path.parent.name] |= {path.stem}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                members[node.name] |= names_of(node.body)
                fields |= names_of(node.body)
                members[node.name] |= {
                    target.attr
                    for target in ast.walk(node)
                    if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
                }
    for package in {path.parent for path in FILES}:
        members[package.parent.name].add(package.name)
    wrong = []
    for path, tree in trees.items():
        for line, text in docstrings(tree):
            for name in DOTTED.findall(text):
                *_, owner, last = name.split(".")
                if name.split(".")[0] in ELSEWHERE or FILE_NAMES.search(name):
                    continue
                if last not in members[owner] and not (owner[0].islower() and last in fields):
                    wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert not wrong


def test_the_language_is_plain() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {kind}: {text.strip()}"
        for path in FILES
        for line, text in prose(path)
        for kind, pattern in LANGUAGE.items()
        if re.search(pattern, text, re.IGNORECASE)
    ]
    assert not found, "\n".join(["expressions, expected none:", *found])


@pytest.mark.slow
def test_the_api_reference_has_a_page_of_each_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import api_reference

    assert api_reference.write_reference(tmp_path) == []
    modules = [path.relative_to(ROOT).with_suffix("") for path in FILES if path.stem != "__main__"]
    pages = [module.parent if module.name == "__init__" else module for module in modules]
    assert not [page for page in pages[1:] if not (tmp_path / f"{page}.html").exists()]
    assert "feats_BTF" in (tmp_path / "speechllm/interfaces.html").read_text(encoding="utf-8")
