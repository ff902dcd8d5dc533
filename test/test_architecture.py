"""The rules of the architecture: import directions, sizes of files and functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "speechllm"
# A package may import itself, the LOWEST, and the packages in its row; no other package of this library.
MAY_IMPORT = {
    "errors": [],
    "registry": ["interfaces"],
    "atomic": [],
    "collector": [],
    "lock": [],
    "ranges": [],
    "failures": [],
    "provenance": [],
    "config": ["registry", "interfaces"],
    "interfaces": [],
    "base_models": [],
    "byte_level": [],
    "lengths": [],
    "layers": [],
    "lora": ["layers"],
    "transfer": [],
    "ctc": ["interfaces", "transfer"],
    "frontends": ["interfaces"],
    "encoders": ["interfaces", "lengths", "base_models", "lora"],
    "connectors": ["interfaces", "byte_level", "lengths", "ctc", "transfer", "base_models", "lora"],
    "decoders": ["interfaces", "byte_level", "lengths", "layers", "lora", "transfer", "base_models"],
    "models": ["interfaces", "lengths", "ctc", "transfer", "config"],
    "data": ["interfaces", "transfer", "config", "score.transcripts"],
    "corpora": ["data", "interfaces", "score"],  # the references of a corpus may be those of its score
    "score": [],
    "report": ["score", "data"],
    "experiment": ["config", "interfaces", "models", "data", "train.config", "inference.config"],
    "build": ["experiment", "config", "interfaces", "models", "data"],
    "pretrained": ["experiment", "interfaces", "registry", "config", "models", "score", "report"],
    "train": ["pretrained", "build", "experiment", "config", "interfaces", "layers", "models", "data"],
    "inference": ["build", "experiment", "config", "interfaces", "models", "data", "score"],
    "api": ["pretrained", "build", "experiment", "config", "interfaces", "models", "data", "train", "inference"],
    "demo": ["api", "experiment", "interfaces", "data", "inference"],
    "bin": ["*"],
    "__main__": ["bin"],
}
LOWEST = {"errors", "atomic", "collector", "lock", "ranges", "provenance"}  # which any package may import
SIBLINGS_APART = {"frontends", "encoders", "connectors", "decoders", "corpora"}
FORMATS = "speechllm.data.importers."
FILES = sorted(ROOT.rglob("*.py"))
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}


def imports(path: Path) -> set[str]:
    """Return the modules of this library that ``path`` imports, including deferred imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: use an absolute import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("speechllm.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imports(path):
        other = name.split(".")[1]
        allowed = {own, *LOWEST, *MAY_IMPORT[own]}
        in_package = ".".join(name.split(".")[1:3])
        assert {other, in_package, "*"} & allowed, f"{own} may not import {name}"
        if path.parent.name == "importers" and name.startswith(FORMATS):
            assert name.removeprefix(FORMATS).startswith(("_", "Options")), f"{path.name} imports its sibling {name}"
        if other == own and own in SIBLINGS_APART:
            assert name.split(".")[2].startswith("_"), f"{path.name} imports its sibling {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes_and_names(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, "split the file"
    assert path.stem not in NAMES_THAT_SAY_NOTHING
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "bin"], ids=lambda p: p.name)
def test_a_verb_is_short(path: Path) -> None:
    assert path.read_text().count("\n") <= 80, "a verb parses, loads the config and calls one library function"


def test_score_imports_no_torch() -> None:
    for path in (ROOT / "score").rglob("*.py"):
        assert "import torch" not in path.read_text()
