"""What the tests name, found in their own text: options on a command line, fields of configs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer


def options_of(app: typer.Typer) -> Iterator[tuple[str, str]]:
    """(verb, option as it is typed) of every option that a Typer app has; positional arguments are left out."""
    for verb, command in typer.main.get_command(app).commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                yield verb, parameter.opts[0]


def words_of_tests(folder: Path) -> dict[str, set[str]]:
    """{file::test: the words of all its strings}, with those of what it uses of its own module: helpers, tables,
    fixtures."""
    found = {}
    for path in sorted(folder.rglob("test_*.py")):
        parts = _parts(path)
        for name in parts:
            if name.startswith("test_"):
                found[f"{path.name}::{name}"] = _words(name, parts)
    return found


def named_in(path: Path, test: str) -> set[str]:
    """Every word of a test and of what it uses of its own module: names, arguments, strings.

    --an-option counts as an_option.  Empty: no such test.
    """
    parts = _parts(path)
    if test not in parts:
        return set()
    words = re.findall(r"[\w-]+", " ".join(ast.unparse(parts[part]) for part in _used(test, parts)))
    return {word.strip("-").replace("-", "_") for word in words}


def given_nowhere(app: typer.Typer, folder: Path) -> list[str]:
    """Options that no test names beside their verb."""
    tests = words_of_tests(folder).values()
    return [
        f"{verb} {option}" for verb, option in options_of(app) if not any({verb, option} <= words for words in tests)
    ]


@cache
def _parts(path: Path) -> dict[str, ast.AST]:
    """What stands at the top of a module, by name."""
    parts: dict[str, ast.AST] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                parts[name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                parts[name] = node
    return parts


def _words(name: str, parts: dict[str, ast.AST]) -> set[str]:
    return {word for part in _used(name, parts) for node in ast.walk(parts[part]) for word in _strings(node)}


def _used(name: str, parts: dict[str, ast.AST]) -> set[str]:
    """The part itself and those that it uses, also through others."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        part = waiting.pop()
        if part in seen:
            continue
        seen.add(part)
        for node in ast.walk(parts[part]):
            used = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else None
            if used in parts:
                waiting.append(str(used))
    return seen


def _strings(node: Any) -> set[str]:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return set(node.value.split()) if is_text else set()
