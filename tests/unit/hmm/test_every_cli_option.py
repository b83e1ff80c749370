"""Every option of every verb is given on a command line in some test."""

from pathlib import Path

from hmm.__main__ import app
from tests.command_words import given_nowhere, options_of


def test_no_option_of_a_verb_is_without_a_test_that_gives_it():
    assert len(list(options_of(app))) > 60
    assert given_nowhere(app, Path(__file__).parent) == []
