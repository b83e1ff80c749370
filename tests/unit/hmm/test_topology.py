"""Topologies against Kaldi's gen_topo.pl."""

from __future__ import annotations

import subprocess

import pytest

from hmm.topology import make_topology


def test_the_default_topology_is_that_of_a_real_lang_directory(golden_dir):
    assert make_topology(range(11, 87), range(1, 11)).text() == (golden_dir / "data/lang/topo").read_text()


@pytest.mark.kaldi
@pytest.mark.parametrize(("nonsilence", "silence"), [(3, 5), (1, 1), (3, 1), (2, 4), (5, 3)])
def test_every_size_is_what_gen_topo_writes(kaldi_root, nonsilence, silence):
    script = kaldi_root / "egs/wsj/s5/utils/gen_topo.pl"
    command = ["perl", str(script), str(nonsilence), str(silence), "3:4:5", "1:2"]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert make_topology([3, 4, 5], [1, 2], nonsilence, silence).text().split() == theirs.split()


def test_two_silence_states_are_refused():
    with pytest.raises(ValueError, match="silence_states 1 or >= 3"):
        make_topology([2], [1], 3, 2)
