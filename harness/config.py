"""Configuration: a frozen dataclass holds the defaults, YAML holds what differs, both are read strictly.

Every problem is named as ``file.yaml:line``; an unknown key is answered with the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from harness.atomic import write_whole
from harness.errors import ConfigError

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class _Value:
    """A YAML node together with where it stands."""

    node: yaml.Node
    source: str

    @property
    def where(self) -> str:
        return f"{self.source}:{self.node.start_mark.line + 1}"


def load_config(cls: type[Config], path: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Config:
    """Build ``cls`` from its defaults, the YAML file and dotted overrides such as ``train.rate=3.0e-4``.

    Raises ConfigError with file, line and mend for a missing file, bad YAML, an unknown key, a wrong type, or values
    that the dataclass itself refuses.
    """
    root: dict[str, Any] = {}
    source = "defaults"
    if path is not None:
        source = os.fspath(path)
        root = _mapping(_Value(_compose(Path(path)), source))
    for text in overrides:
        _override(root, text)
    return typing.cast(Config, _build(cls, root, source))


def dump_config(config: Any, path: str | os.PathLike[str]) -> None:
    """Write every value of a config (defaults included) as YAML that ``load_config`` reads."""
    with write_whole(path) as stream:
        yaml.safe_dump(to_plain(config), stream, sort_keys=False)


def to_plain(config: Any) -> Any:
    """A config as dicts, lists and numbers (for YAML, JSON and checkpoints)."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, (list, tuple)):
        return [to_plain(item) for item in config]
    if isinstance(config, dict):
        return {key: to_plain(item) for key, item in config.items()}
    return os.fspath(config) if isinstance(config, os.PathLike) else config


def from_plain(cls: type[Config], values: dict[str, Any], source: str) -> Config:
    """Build ``cls`` from what ``to_plain`` gave (a checkpoint's config); ``source`` is named in errors."""
    node = yaml.compose(yaml.safe_dump(values, sort_keys=False))
    assert node is not None  # safe_dump of a dict is a mapping
    return typing.cast(Config, _build(cls, _mapping(_Value(node, source)), source))


def _compose(path: Path) -> yaml.Node:
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(path, "no such configuration file", mend="check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, "is not UTF-8 text", mend="save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}", f"is not YAML ({error.problem})", mend="fix the syntax") from error
    except yaml.reader.ReaderError as error:
        problem = f"holds the character number {error.character}, which YAML does not allow"
        raise ConfigError(path, problem, mend="remove it") from error
    return node if node is not None else yaml.MappingNode("tag:yaml.org,2002:map", [])


def _mapping(value: _Value) -> dict[str, Any]:
    """A YAML mapping as key -> _Value (nested mappings become dicts)."""
    if not isinstance(value.node, yaml.MappingNode):
        raise ConfigError(value.where, "expected 'key: value' lines", mend="write one 'key: value' a line")
    result: dict[str, Any] = {}
    for key, item in value.node.value:
        name = str(key.value)
        if name in result:
            where = f"{value.source}:{key.start_mark.line + 1}"
            raise ConfigError(where, f"key {name!r} is given twice", mend="keep one of the two")
        entry = _Value(item, value.source)
        result[name] = _mapping(entry) if isinstance(item, yaml.MappingNode) else entry
        if isinstance(result[name], dict):
            result[name][_WHERE] = f"{value.source}:{key.start_mark.line + 1}"
        else:
            result[name] = _Value(item, value.source)
    return result


_WHERE = "\0where"  # position of a nested mapping, kept beside its keys


def _override(root: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {text}", "expected KEY=VALUE", mend="for example --set train.epochs=3")
    keys = name.split(".")
    for key in keys[:-1]:
        root = root.setdefault(key, {_WHERE: f"--set {text}"})
        if not isinstance(root, dict):
            raise ConfigError(f"--set {text}", f"{key!r} holds no keys", mend="check the dotted name")
    try:
        node = yaml.compose(value) or yaml.ScalarNode("tag:yaml.org,2002:null", "")
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}", "the value is not YAML", mend="quote it") from error
    entry = _Value(node, f"--set {text}")
    root[keys[-1]] = _mapping(entry) if isinstance(node, yaml.MappingNode) else entry


def _build(cls: type[Any], values: dict[str, Any], source: str) -> Any:
    hints = get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name == _WHERE:
            continue
        if name not in known:
            raise _unknown_key(name, value, known, source)
        arguments[name] = _convert(value, hints[name], name)
    where = values.get(_WHERE, source)
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(where, f"{cls.__name__}: {error}", mend="give the missing key") from error
    except ValueError as error:
        raise ConfigError(_where_named(values, str(error), where), str(error), mend="change the value") from error


def _where_named(values: dict[str, Any], text: str, where: str) -> str:
    """The line of the key that the dataclass's own refusal names, if it names one."""
    for name, value in values.items():
        if isinstance(value, _Value) and name in text:
            return value.where if not value.source.startswith("--set") else value.source
    return where


def _unknown_key(name: str, value: Any, known: list[str], source: str) -> ConfigError:
    where = value.get(_WHERE, source) if isinstance(value, dict) else value.where
    where = where if not where.startswith("--set") else where.split(":")[0]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(where, f"unknown key {name!r}{hint}", mend=f"known keys: {', '.join(known)}")


def _convert(value: Any, kind: Any, name: str) -> Any:
    """A YAML value as the annotated type, or ConfigError."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(value, kind, name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(value.where, f"{name} holds keys of its own", mend="indent its keys below it")
        return _build(kind, value, value.get(_WHERE, name))
    if isinstance(value, dict):
        if origin is dict:
            inner = get_args(kind)[1]
            return {key: _convert(item, inner, key) for key, item in value.items() if key != _WHERE}
        raise ConfigError(value.get(_WHERE, name), f"{name} takes one value, not keys", mend="give one value")
    if origin in (list, tuple):
        return _convert_sequence(value, kind, name)
    if origin is Literal:
        return _convert_choice(value, get_args(kind), name)
    return _convert_scalar(value, kind, name)


def _convert_union(value: Any, kind: Any, name: str) -> Any:
    options = get_args(kind)
    if isinstance(value, _Value) and value.node.tag == "tag:yaml.org,2002:null" and type(None) in options:
        return None
    problem: ConfigError | None = None
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(value, option, name)
        except ConfigError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _convert_sequence(value: _Value, kind: Any, name: str) -> Any:
    if not isinstance(value.node, yaml.SequenceNode):
        raise ConfigError(value.where, f"{name} must be a list, such as [1, 2]", mend="write it in brackets")
    items = [_Value(node, value.source) for node in value.node.value]
    inner = get_args(kind)
    if get_origin(kind) is list or inner[-1:] == (Ellipsis,):
        converted = [_convert(item, inner[0], name) for item in items]
        return converted if get_origin(kind) is list else tuple(converted)
    if len(items) != len(inner):
        raise ConfigError(value.where, f"{name} takes {len(inner)} values, got {len(items)}", mend="fix the list")
    return tuple(_convert(item, one, name) for item, one in zip(items, inner, strict=True))


def _convert_choice(value: _Value, choices: tuple[Any, ...], name: str) -> Any:
    plain = _plain(value)
    if plain in choices and type(plain) in {type(choice) for choice in choices}:
        return plain
    near = difflib.get_close_matches(str(plain), [str(choice) for choice in choices], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(str, choices))
    raise ConfigError(value.where, f"{name} is {plain!r}{hint}", mend=f"choose one of: {listed}")


def _convert_scalar(value: _Value, kind: Any, name: str) -> Any:
    plain = _plain(value)
    if kind is Any:
        return plain
    if kind is Path and isinstance(plain, str):
        return Path(plain)
    if kind is float and isinstance(plain, (int, float)) and not isinstance(plain, bool):
        return float(plain)
    if kind in (int, bool, str) and type(plain) is kind:
        return plain
    if kind is float and isinstance(plain, str) and _is_number(plain):
        readable = yaml.safe_dump(float(plain)).splitlines()[0]
        raise ConfigError(value.where, f"{name}: YAML reads {plain} as text", mend=f"write {readable}")
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    raise ConfigError(value.where, f"{name} must be {wanted.get(kind, kind)}, got {plain!r}", mend="fix the value")


def _plain(value: _Value) -> Any:
    try:
        return yaml.safe_load(yaml.serialize(value.node))
    except yaml.YAMLError as error:
        raise ConfigError(value.where, f"{value.node.value!r} is not plain YAML", mend="quote the value") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
