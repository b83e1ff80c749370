"""A verb of hmm called as from a shell, in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from hmm.__main__ import app


def ran(*words: object) -> str:
    """What a call that ends well prints.  Raises what the call raises."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
