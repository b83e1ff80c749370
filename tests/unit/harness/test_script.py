import errno

import pytest

from harness.errors import ConfigError
from harness.script import run_script


def test_a_script_exits_with_what_its_main_returns_for_the_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["script", "one", "two"])
    with pytest.raises(SystemExit) as end:
        run_script(len)
    assert end.value.code == 2


def test_errors_of_ours_and_of_the_disk_are_said_in_words_and_exit_with_1(capsys):
    full = OSError(errno.ENOSPC, "No space left on device", "exp/log")
    for error, text in (
        (ConfigError("a.yaml:3", "no such key", mend="remove it"), "a.yaml:3: no such key"),
        (full, "exp/log"),
    ):

        def fail(_, error=error):
            raise error

        with pytest.raises(SystemExit) as end:
            run_script(fail)
        said = capsys.readouterr().err
        assert end.value.code == 1
        assert said.startswith("ERROR ") and text in said and "mend:" in said
