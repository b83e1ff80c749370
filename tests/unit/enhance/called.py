"""A verb of enhance called as from a shell, in this process."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner


def ran(*words: Any, stdin: bytes = b"") -> Any:
    """The result of a call that ends well."""
    result = _called(words, stdin)
    if result.exit_code and result.exception is not None:
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def refused(*words: Any, stdin: bytes = b"") -> str:
    """What a call that fails says."""
    result = _called(words, stdin)
    assert result.exit_code != 0, result.output
    return f"{result.exception} {result.output}"


def _called(words: tuple[Any, ...], stdin: bytes) -> Any:
    from enhance.__main__ import app

    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)
