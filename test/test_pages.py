"""The documentation against the code: links, verbs, options of run.sh, recipes and shape letters exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from page_blocks import read_page
from toy_tree import ROOT

import speechllm
from speechllm import interfaces
from speechllm.bin import verbs
from speechllm.report.record import read_record
from speechllm.report.result_tables import TABLE, fill_page, records_of

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", ".github/*.md", "egs/*.md", "egs/*/*.md", "egs/*/*/*.md", "speechllm/*.md")
    for path in ROOT.glob(pattern)
    if not {"exp", "mini"} & set(path.parts)
)

WITH_RESULTS = [page for page in PAGES if TABLE.search(read_page(page))]

LIMITS = {"egs/librispeech/RESULTS.md": 150} | {page: 120 for page in PAGES if page == "README.md" or "/notes/" in page}


def anchor(heading: str) -> str:
    """Return the fragment of GitHub's link to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", read_page(page)):
        path, _, fragment = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if fragment:
            assert fragment in map(anchor, re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)), (
                target
            )


@pytest.mark.parametrize("page", PAGES)
def test_verbs_exist(page: str) -> None:
    named = set(re.findall(r"(?:^|`|&& |; do )speechllm ([a-z_]+)(?= |`|$)", read_page(page), re.MULTILINE))
    assert named <= set(verbs())


@pytest.mark.parametrize("page", LIMITS)
def test_a_page_is_short(page: str) -> None:
    assert len(read_page(page).splitlines()) <= LIMITS[page]


@pytest.mark.parametrize("page", WITH_RESULTS)
def test_tables_equal_the_records(page: str, tmp_path: Path) -> None:
    for folder in {path.parent for path in records_of(ROOT / page)}:
        shutil.copytree(folder, tmp_path / folder.relative_to(ROOT))
    copy = tmp_path / page
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(read_page(page), encoding="utf-8")
    fill_page(copy)
    assert copy.read_text(encoding="utf-8") == read_page(page), "run speechllm fill_tables"


def test_every_record_has_a_command_and_is_in_a_table() -> None:
    shown = {path.resolve() for page in WITH_RESULTS for path in records_of(ROOT / page)}
    assert set(ROOT.glob("egs/*/results/*.json")) == shown
    assert all(read_record(path).command for path in shown)


def test_options_of_run_sh_are_those_of_the_page() -> None:
    (section,) = re.findall(r"^## Options of run.sh\n\n(.*?)\n\n", read_page("egs/README.md"), re.DOTALL | re.MULTILINE)
    header = re.findall(r"^#.*$", read_page("utils/recipe.sh"), re.MULTILINE)
    options = {name for line in header for name in re.findall(r"^#   --(\w+)", line)}
    assert set(re.findall(r"`--(\w+)`", section)) == options - {"typed"}


def test_every_recipe_is_listed() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \| ", read_page("egs/README.md").split("## Stages")[0], re.MULTILINE))
    assert listed == {path.parent.name for path in (ROOT / "egs").glob("*/run.sh")}


def test_shape_letters_are_those_of_the_interfaces() -> None:
    assert interfaces.__doc__ is not None
    table = read_page("speechllm/README.md").split("## Shape letters")[1].split("##")[0]
    letters = re.findall(r"\| ([A-Z]) (?=\|)", table)
    assert sorted(letters) == sorted(re.findall(r"(?:^ {4}|  )([A-Z])  (?=\w)", interfaces.__doc__, re.MULTILINE))


def test_packages_and_modules_of_the_tree_exist() -> None:
    tree = re.findall(r"^  (\w+(?:/|\.py)) ", read_page("speechllm/README.md"), re.MULTILINE)
    assert all((ROOT / "speechllm" / name).exists() for name in tree)
    packages = {f"{path.parent.name}/" for path in Path(ROOT / "speechllm").glob("*/__init__.py")}
    assert packages <= set(tree)


def test_the_version_has_one_place_and_an_entry() -> None:
    setup = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert setup.stdout.split()[-1] == speechllm.__version__
    assert re.findall(r"^## (.*)$", read_page(".github/CHANGELOG.md"), re.MULTILINE)[0] == speechllm.__version__
