"""The command line of a preparation, under the name by which its user called it."""

from __future__ import annotations

import os

import typer

from harness.cli import run


def run_preparation(app: typer.Typer) -> None:
    """Run recipes/NAME/prepare.py; PREPARE_COMMAND is set by prepare_data.sh, where that called it."""
    run(app, prog=os.environ.get("PREPARE_COMMAND") or f"python {app.info.name}")
