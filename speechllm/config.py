"""One YAML file per experiment, mapped strictly onto frozen dataclasses.

Unknown keys, missing keys and wrong types are errors with the full path of the key. A file may begin with ``base:
other.yaml`` and then contains only the differences; the path is relative to its own folder. Overrides are
``section.key=value`` strings with a YAML value. If a file or an override changes the type of a component, the keys of
the former type are dropped. The docstring under a dataclass field is its help text. A dataclass may list former keys in
``RENAMED``, for the error.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import json
import math
import textwrap
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from speechllm.errors import ConfigError
from speechllm.interfaces import ComponentConfig
from speechllm.registry import config_class

T = TypeVar("T")


def component(kind: str) -> Any:
    """Declare a field for a component, such as an encoder; its key ``type`` selects the class."""
    return dataclasses.field(metadata={"kind": kind})


class _KeyError(ConfigError):
    """An error in the value of one key."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key}: {text}")
        self.key = key


class _Whole(dict[str, Any]):
    """A mapping in an override, which replaces a complete section."""


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects aliases, because a few nested aliases expand to more values than memory can store."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            name = self.peek_event().anchor  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"aliases are not supported, found *{name}; repeat the value, or use base:")
        return super().compose_node(parent, index)  # type: ignore[no-untyped-call]


def load(cls: type[T], path: str | Path, overrides: typing.Iterable[str] = ()) -> T:
    """Read ``path``, apply ``overrides`` in order, and build a ``cls``.

    Raises:
        ConfigError: if the file or its base does not exist, is not a YAML mapping, or does not fit ``cls``.
    """
    return _from_layers(cls, _read(Path(path)), list(overrides), path)


def from_tree(cls: type[T], tree: Any, overrides: typing.Iterable[str] = (), *, where: str | Path) -> T:
    """Apply ``overrides`` to the mapping ``tree``, which was read at ``where``, and build a ``cls``.

    Raises:
        ConfigError: if the mapping does not fit ``cls``.
    """
    return _from_layers(cls, [(Path(where), tree)], list(overrides), where)


def _from_layers(cls: type[T], layers: list[tuple[Path, Any]], overrides: list[str], where: str | Path) -> T:
    """Build a ``cls`` from the files ``layers``, base first, and ``overrides``; errors name the source of the key."""
    tree = functools.reduce(_laid_over, (layer for _, layer in layers))
    given: dict[str, Any] = {}
    for override in overrides:
        _apply(given, tree, override)
    try:
        return build(cls, _laid_over(tree, given))
    except _KeyError as error:
        raise ConfigError(f"{_source(error.key, layers, overrides) or where}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _source(key: str, layers: list[tuple[Path, Any]], overrides: list[str]) -> str | Path | None:
    """Return the override or file that sets ``key``; None for a default value."""
    for override in reversed(overrides):
        if key == (name := override.partition("=")[0]) or key.startswith(f"{name}."):
            return f"--set {override}"
    for path, tree in reversed(layers):
        for part in key.split("."):
            tree = tree.get(part.partition("[")[0], layers) if isinstance(tree, dict) else layers
        if tree is not layers:
            return path
    return None


def _read(path: Path, readers: tuple[Path, ...] = ()) -> list[tuple[Path, Any]]:
    """Return the mappings in ``path`` and its bases, lowest base first; ``readers`` are the files based on ``path``."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, expected an experiment YAML; see egs/*/conf for examples")
    if path.resolve() in readers:
        raise ConfigError(f"{path}: is its own base through {readers[-1]}; remove one of the two base: lines")
    try:
        tree = _parse(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: config: expected a mapping, found {_short(tree)}")
    if "base" not in tree:
        return [(path, tree)]
    base = tree.pop("base")
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: expected the path of a YAML file, found {base!r}")
    return [*_read(path.parent / base, (*readers, path.resolve())), (path, tree)]


def _parse(text: str) -> Any:
    """Return the value of a YAML document."""
    return yaml.load(text, _Loader)


def _short(value: Any) -> str:
    """Return the representation of a value for an error, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _laid_over(base: Any, tree: Any) -> Any:
    """Return ``base`` updated recursively by ``tree``; a component of another type replaces that of ``base``."""
    if (
        isinstance(tree, _Whole)
        or not isinstance(base, dict)
        or not isinstance(tree, dict)
        or tree.get("type", base.get("type")) != base.get("type")
    ):
        return tree
    return base | {key: _laid_over(base[key], value) if key in base else value for key, value in tree.items()}


def build(cls: type[T], tree: Any, where: str = "") -> T:
    """Build a ``cls`` from a plain mapping, and check every key and type."""
    if not isinstance(tree, dict):
        raise _KeyError(where or "config", f"expected a mapping, found {_short(tree)}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields:
            renamed = getattr(cls, "RENAMED", {}).get(key)
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(fields)}"
            hint = f"it was renamed to {renamed!r}" if renamed else hint
            raise _KeyError(_join(where, key), f"unknown key; {hint}")
    values = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = _convert(field, hints[name], tree[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _KeyError(_join(where, name), "required, but not given")
    try:
        return cls(**values)
    except ConfigError as error:  # raised by a dataclass' own __post_init__, after the name of a field
        name, _, text = str(error).partition(": ")
        raise _KeyError(_join(where, name), text) from None


def to_dict(config: Any) -> dict[str, Any]:
    """Return ``config`` as a plain mapping, the inverse of ``build``."""
    tree: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if "kind" in field.metadata:
            value = component_to_dict(field.metadata["kind"], value)
        elif dataclasses.is_dataclass(value):
            value = to_dict(value)
        tree[field.name] = list(value) if isinstance(value, tuple) else value
    return tree


def component_to_dict(kind: str, config: ComponentConfig) -> dict[str, Any]:
    """Return the configuration of a component as a plain mapping, with the key ``type``."""
    return {"type": type(config).__module__.removeprefix(f"speechllm.{kind}."), **to_dict(config)}


def explain(config: Any, indent: str = "") -> str:
    """Return ``config`` as YAML, with the help text of each field as a comment."""
    lines, helps = [], field_help(type(config))
    for field in dataclasses.fields(config):
        value, comment = getattr(config, field.name), f"  # {helps[field.name]}" if field.name in helps else ""
        part: ComponentConfig | None = value if "kind" in field.metadata else None
        if dataclasses.is_dataclass(value):
            lines.append(f"{indent}{field.name}:{comment}")
            if part is not None:
                lines.append(f"{indent}  type: {component_to_dict(field.metadata['kind'], part)['type']}")
            lines.append(explain(value, indent + "  "))
        else:
            lines.append(f"{indent}{field.name}: {_one_line(value)}{comment}")
    return "\n".join(lines)


def _one_line(value: Any) -> str:
    """Return a plain value as YAML on one line."""
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value, ensure_ascii=False)
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump([plain], default_flow_style=True, width=10**6, allow_unicode=True).strip()[1:-1]


def field_help(cls: type) -> dict[str, str]:
    """Return the docstrings of the fields of the dataclass ``cls``, inherited fields included, each as one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {
        name: line
        for base in cls.__bases__
        if dataclasses.is_dataclass(base)
        for name, line in field_help(base).items()
    }
    for field, text in zip(body.body, body.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(line))):
                found[name] = " ".join(line.split())
    return found


def _convert(field: dataclasses.Field[Any], hint: Any, value: Any, where: str) -> Any:
    if "kind" in field.metadata:
        kind = field.metadata["kind"]
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            raise _KeyError(where, f"expected a mapping with a 'type' key, found {_short(value)}")
        rest = {k: v for k, v in value.items() if k != "type"}
        try:
            cls = config_class(kind, value["type"])
        except ConfigError as error:
            raise _KeyError(f"{where}.type", str(error)) from None
        return build(cls, rest, where)
    return _check(hint, value, where)


def _check(hint: Any, value: Any, where: str) -> Any:
    """Return a value after a check against its annotation; an int is accepted as a float."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if hint is float and isinstance(value, (float, int, str)) and not isinstance(value, bool):
        try:
            number = float(value)  # PyYAML reads 1e-4, without a dot, as a string
        except (ValueError, OverflowError):
            raise _KeyError(where, f"expected float, found {_short(value)}") from None
        if not math.isfinite(number):
            raise _KeyError(where, f"expected a finite number, found {value}")
        return number
    if origin is typing.Literal:
        if value in args:
            return value
        raise _KeyError(where, f"expected one of {', '.join(map(str, args))}, found {_short(value)}")
    if origin is dict and isinstance(value, dict):
        return {_check(args[0], k, where): _check(args[1], v, _join(where, k)) for k, v in value.items()}
    if origin in (list, tuple) and isinstance(value, list):
        return origin(_check(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        return _check_union(args, value, where)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _KeyError(where, f"expected {getattr(hint, '__name__', hint)}, found {_short(value)}")


def _check_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    error: ConfigError = _KeyError(where, f"found {_short(value)}")
    if value is None and type(None) in options:
        return None
    for option in options:
        if option is not type(None):
            try:
                return _check(option, value, where)
            except ConfigError as failure:
                error = failure
    raise error


def _apply(given: dict[str, Any], base: Any, override: str) -> None:
    """Add an override to the overrides ``given`` so far; ``base`` is the mapping without overrides."""
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r}: expected section.key=value")
    *parents, leaf = key.split(".")
    for parent in parents:
        base = base.get(parent) if isinstance(base, dict) and not isinstance(given, _Whole) else None
        known = given.setdefault(parent, {}) if base is None or isinstance(base, dict) else base
        if not isinstance(known, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, expected a section")
        given = known
    try:
        new = _parse(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"override {override!r}: is not YAML, expected a value such as 1 or 'text: in quotes': {error}"
        ) from error
    if isinstance(given, _Whole) and leaf == "type" and given.get("type") != new:
        given.clear()  # its keys are those of the former type
    given[leaf] = _Whole(new) if isinstance(new, dict) else new


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
