"""What all preparations share: balanced splits, what may be missing, lexicons in the case of the text."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from harness.errors import SchoolyardError
from kaldi_bridge.data_dir import DataDir
from recipes.lib.corpus import LeftOut, split_speakers, write_lexicon, write_sets

AGES = {f"child{number:03d}": str(6 + number % 9) for number in range(90)}  # ten of each age from 6 to 14


def data_of(texts: dict[str, str]) -> DataDir:
    return DataDir.build("x", utt2spk={name: name for name in texts}, text=texts, wav_scp=dict.fromkeys(texts, "x.wav"))


def test_every_set_has_the_ages_of_all_whatever_the_seed() -> None:
    tests = set()
    for seed in range(5):
        sets = split_speakers(AGES, test_every=5, dev_every=8, seed=seed)
        assert {name: len(speakers) for name, speakers in sets.items()} == {"train": 63, "dev": 9, "test": 18}
        assert sorted(speaker for speakers in sets.values() for speaker in speakers) == sorted(AGES)
        for speakers in sets.values():
            assert abs(statistics.mean(int(AGES[speaker]) for speaker in speakers) - 10) <= 0.6
        tests.add(tuple(sets["test"]))
    assert len(tests) == 5
    assert split_speakers(AGES, test_every=5, dev_every=8) == split_speakers(AGES, test_every=5, dev_every=8)


def test_too_few_speakers_for_three_sets_are_refused() -> None:
    with pytest.raises(SchoolyardError, match="2 speakers are too few: train would stay empty"):
        split_speakers({"a": "6", "b": "7"}, test_every=2, dev_every=4)


def test_foreseen_losses_may_be_many_and_others_only_a_tenth() -> None:
    left_out = LeftOut()
    for number in range(50):
        left_out.add(f"u{number:02d}", "not transcribed", foreseen=True)
    left_out.add("u98", "no recording")
    left_out.refuse_too_many(Path("corpus"), 9, "look")
    left_out.add("u97", "no recording")
    with pytest.raises(SchoolyardError, match=r"2 of 11 utterances cannot be used \(no recording: 2, first u97\)"):
        left_out.refuse_too_many(Path("corpus"), 9, "look")
    with pytest.raises(SchoolyardError, match=r"no utterance that can be used \(2 no recording; 50 not transcribed\)"):
        left_out.refuse_too_many(Path("corpus"), 0, "look")
    assert left_out.summary()["not transcribed"] == {"count": 50, "first": ["u00", "u01", "u02"]}


def test_the_words_of_a_lexicon_take_the_case_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text(";;; comment\ncat  K AE1 T\nCAT(2) K AH0 T\n\n[noise] +N+\n")
    sets = {"train": data_of({"u1": "the cat <unk>", "u2": "cat"})}
    assert write_lexicon(tmp_path / "raw", tmp_path / "lower", sets, skip=("[",)) == 1
    assert (tmp_path / "lower/local/lexicon.txt").read_text() == "cat K AE1 T\ncat(2) K AH0 T\n"
    assert (tmp_path / "lower/local/oov_words.txt").read_text() == "the 1\n"
    write_lexicon(tmp_path / "raw", tmp_path / "upper", {"train": data_of({"u1": "THE CAT"})}, skip=("[",))
    assert (tmp_path / "upper/local/lexicon.txt").read_text() == "CAT K AE1 T\nCAT(2) K AH0 T\n"


def test_a_set_without_utterances_is_refused(tmp_path: Path) -> None:
    sets = {"train": data_of({"u1": "a"}), "dev": data_of({})}
    with pytest.raises(SchoolyardError, match="dev: would have no utterance"):
        write_sets(tmp_path, sets, LeftOut(), corpus="test")
    assert not (tmp_path / "train").exists()
