"""Strict configs: every mistake is a sentence that names the key."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from speechllm import config as configs
from speechllm.config import component
from speechllm.connectors import qformer
from speechllm.errors import ConfigError
from speechllm.registry import available, component_module


@dataclass(frozen=True, kw_only=True)
class Inner:
    """An inner section."""

    rate: float = 0.5
    """A rate."""
    kind: Literal["a", "b"] = "a"
    """A choice."""


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A whole configuration."""

    steps: int
    """Steps."""
    inner: Inner = field(default_factory=Inner)
    """A section."""
    names: tuple[str, ...] = ()
    """Names."""
    maybe: Inner | None = None
    """A section or nothing."""
    connector: Any = component("connectors")
    """A component."""


def load(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return configs.load(Outer, path, overrides)


GOOD = "steps: 3\nconnector: {type: fc, stack: 7}\n"


def test_values_reach_their_fields(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD + "inner: {rate: 1e-4, kind: b}\nnames: [x, y]\nmaybe: {rate: 2}\n")
    assert (config.steps, config.inner.rate, config.inner.kind, config.names) == (3, 1e-4, "b", ("x", "y"))
    assert config.maybe == Inner(rate=2.0)
    assert config.connector.stack == 7
    assert configs.build(Outer, configs.to_dict(config)) == config


def test_overrides_win_and_the_last_most(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD, "inner.rate=3e-4", "inner.rate=0.25", "connector.stack=4", "maybe={kind: b}")
    assert (config.inner.rate, config.connector.stack, config.maybe) == (0.25, 4, Inner(kind="b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepps: 3", r"x\.yaml: stepps: unknown key; did you mean 'steps'\?"),
        ("{}", "steps: required, but not given"),
        (GOOD + "inner: {rat: 1}", r"inner\.rat: unknown key; did you mean 'rate'\?"),
        (GOOD + "inner: {kind: c}", r"inner\.kind: expected one of a, b, found 'c'"),
        (GOOD + "inner: {rate: fast}", r"inner\.rate: expected float, found 'fast'"),
        ("steps: true\nconnector: {type: fc}", "steps: expected int, found True"),
        (GOOD + "names: [1]", r"names\[0\]: expected str, found 1"),
        (
            "steps: 1\nconnector: {type: fcc}",
            r"connector\.type: unknown connector 'fcc', expected one of .*; did you mean 'fc'",
        ),
        ("steps: 1\nconnector: fc", "connector: expected a mapping with a 'type' key, found 'fc'"),
        ("steps: [", "not valid YAML"),
        ("steps: 1\nconnector: {type: my_lab.mine}", "connector 'my_lab.mine': no such module"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_no_file_and_wrong_override(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        configs.load(Outer, tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        load(tmp_path, GOOD, "steps")
    with pytest.raises(ConfigError, match="'steps' is a value, expected a section"):
        load(tmp_path, GOOD, "steps.more=1")
    with pytest.raises(ConfigError, match="is not YAML"):
        load(tmp_path, GOOD, "steps={more}: less")


def test_a_component_out_of_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_connector.py").write_text(
        "from dataclasses import dataclass\n@dataclass(frozen=True, kw_only=True)\nclass Config:\n    width: int = 2\n"
    )
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab_connector.py").rename(tmp_path / "lab/conn.py")
    monkeypatch.syspath_prepend(tmp_path)
    config = load(tmp_path, "steps: 1\nconnector: {type: lab.conn, width: 9}")
    assert config.connector.width == 9
    assert configs.to_dict(config)["connector"] == {"type": "lab.conn", "width": 9}


def test_explained(tmp_path: Path) -> None:
    assert "  rate: 0.5  # A rate." in configs.explain(load(tmp_path, GOOD)).splitlines()


@pytest.mark.parametrize("kind", ["frontends", "encoders", "connectors", "decoders", "corpora"])
def test_every_component_imports_and_documents_its_fields(kind: str) -> None:
    assert available(kind)
    for name in available(kind):
        module = component_module(kind, name)
        if kind != "corpora":
            assert set(configs.field_help(module.Config)) == {one.name for one in dataclasses.fields(module.Config)}, (
                name
            )


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_base_is_laid_under_what_differs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, low="steps: 1\nconnector: {type: fc, stack: 7, hidden: 9}\nmaybe: {rate: 2.0}\n")
    write(tmp_path, middle="base: low.yaml\nconnector: {stack: 8}\n")
    write(tmp_path / "sub", high="base: ../middle.yaml\nsteps: 2\nmaybe: null\n")
    write(tmp_path / "sub", other="base: high.yaml\nconnector: {type: qformer, num_queries: 3}\ninner: {rate: 1.0}\n")
    middle = configs.load(Outer, tmp_path / "middle.yaml")
    assert (middle.steps, middle.connector.stack, middle.connector.hidden, middle.maybe) == (1, 8, 9, Inner(rate=2.0))
    other = configs.load(Outer, tmp_path / "sub/other.yaml", ["steps=5"])
    assert (other.steps, other.inner.rate, other.maybe) == (5, 1.0, None)
    assert other.connector == qformer.Config(num_queries=3)


def test_a_base_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, a="base: nothing.yaml\n", b="base: c.yaml\n", c="base: b.yaml\n", d="base: [a]\n")
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such file"):
        configs.load(Outer, tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=r"b\.yaml: is its own base through .*c\.yaml"):
        configs.load(Outer, tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match=r"d\.yaml: base: expected the path of a YAML file, found \['a'\]"):
        configs.load(Outer, tmp_path / "d.yaml")


def test_another_type_begins_from_its_own_defaults(tmp_path: Path) -> None:
    """By an override and by a file; keys that overrides set are kept, in any order of the two."""
    overrides = ["connector.type=qformer", "connector.num_queries=3"]
    for order in (overrides, overrides[::-1]):
        assert load(tmp_path, GOOD, *order).connector == qformer.Config(num_queries=3)
    assert load(tmp_path, GOOD, "connector.type=fc", "connector.hidden=9").connector.stack == 7
    assert load(tmp_path, GOOD, "connector={type: fc, hidden: 9}").connector.stack == 5
    assert (
        load(tmp_path, GOOD, "connector={type: fc, stack: 3}", "connector.type=qformer").connector == qformer.Config()
    )
    write(tmp_path, child="base: x.yaml\nconnector: {type: qformer}\n")
    assert configs.load(Outer, tmp_path / "child.yaml", ["connector.num_queries=3"]).connector.num_queries == 3
    with pytest.raises(ConfigError, match=r"^--set connector\.stack=2: connector\.stack: unknown key"):
        load(tmp_path, GOOD, "connector.type=qformer", "connector.stack=2")


def test_an_error_names_the_file_or_the_override_that_sets_the_key(tmp_path: Path) -> None:
    write(tmp_path, low="steps: 1\ninner: {rat: 2}\nconnector: {type: fc}\n", high="base: low.yaml\nmaybe: {kind: c}\n")
    with pytest.raises(ConfigError, match=r"low\.yaml: inner\.rat: unknown key"):
        configs.load(Outer, tmp_path / "high.yaml", ["maybe=null"])
    with pytest.raises(ConfigError, match=r"high\.yaml: maybe\.kind: expected one of a, b, found 'c'"):
        configs.load(Outer, tmp_path / "high.yaml", ["inner={}"])
    with pytest.raises(ConfigError, match=r"^--set steps=x: steps: expected int, found 'x'"):
        configs.load(Outer, tmp_path / "high.yaml", ["steps=x", "inner={}", "maybe=null"])


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "nan", "1e999", "1" + "0" * 400])
def test_numbers_are_finite(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"inner\.rate: expected (a finite number|float), found"):
        load(tmp_path, GOOD, f"inner.rate={value}")


BOMB = "[" + ", ".join(["&a [x]"] + [f"&{b} [*{a}, *{a}]" for a, b in zip("abcd", "bcde", strict=True)]) + "]"


def test_aliases_and_deep_nesting_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not YAML.*aliases are not supported, found \*a"):
        load(tmp_path, GOOD, f"names={BOMB}")
    with pytest.raises(ConfigError, match=r"x\.yaml: not valid YAML: aliases are not supported"):
        load(tmp_path, f"names: {BOMB}\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path, f"names: {'[' * 5000}\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path, f"steps: {'1' * 5000}\n")


def test_a_list_is_no_configuration(tmp_path: Path) -> None:
    write(tmp_path, low="[1]\n", high="base: low.yaml\nsteps: 1\n")
    with pytest.raises(ConfigError, match=r"low\.yaml: config: expected a mapping, found \[1\]"):
        configs.load(Outer, tmp_path / "high.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"steps: 1 # \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml: not valid YAML"):
        configs.load(Outer, tmp_path / "latin.yaml")


def test_a_former_key_names_the_new_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"connector\.merge: unknown key; it was renamed to 'stack'"):
        load(tmp_path, GOOD, "connector.merge=2")
