"""Every option of every verb is given on a command line in some test."""

from pathlib import Path

from enhance.__main__ import app
from tests.command_words import given_nowhere, options_of, words_of_tests

HERE = Path(__file__).parent


def test_no_option_of_a_verb_is_without_a_test_that_gives_it():
    assert len(list(options_of(app))) > 100
    assert given_nowhere(app, HERE) == []


def test_words_are_found_in_helpers_and_tables_of_a_test(tmp_path):
    (tmp_path / "test_one.py").write_text(
        'WORDS = ["--deep"]\n\n\ndef called(word):\n    return f"verb {word}", WORDS\n\n\n'
        'def test_it():\n    called("--near")\n\n\ndef test_other():\n    assert "--far"\n'
    )
    found = words_of_tests(tmp_path)
    assert found == {"test_one.py::test_it": {"verb", "--near", "--deep"}, "test_one.py::test_other": {"--far"}}
