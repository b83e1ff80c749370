"""Transcripts of children: each kind of event, each thing that may become of it, numbers, punctuation."""

from __future__ import annotations

import pytest

from recipes.lib.transcripts import PLAIN, Conventions, TranscriptConfig, number_words, transcribe

MARKS = Conventions(
    marks=(
        ("discard", r"<discard>"),
        ("noise", r"<[^>]*>"),
        ("unclear", r"\(\(([^)]*)\)\)"),
        ("mispronounced", r"\*([\w']+)\*"),
        ("nothing", r"\[sil\]"),
        *PLAIN.marks,
    ),
    fillers=PLAIN.fillers,
)
RAW = "Um, the <breath> mag- magnets ((at tract)) [sil] *nort* poles dog<cough> -tic."


def said(raw: str, **options: object) -> str:
    return transcribe(raw, MARKS, TranscriptConfig(**options)).text  # type: ignore[arg-type]


def test_the_defaults_keep_fillers_and_mark_partial_and_unclear_words_unknown() -> None:
    transcript = transcribe(RAW.replace("-tic.", "-tic"), MARKS, TranscriptConfig())
    assert transcript.text == "UM THE <unk> MAGNETS <unk> NORT POLES DOG <unk>"
    assert transcript.counts == {"filler": 1, "noise": 2, "partial": 2, "unclear": 1, "mispronounced": 1}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"filler": "drop"}, "THE <unk> END"),
        ({"filler": "unknown"}, "<unk> THE <unk> END"),
        ({"partial": "drop"}, "UM THE END"),
        ({"partial": "keep"}, "UM THE EN END"),
        ({"case": "lower"}, "um the <unk> end"),
        ({"unknown_word": "<UNK>"}, "UM THE <UNK> END"),
    ],
)
def test_fillers_and_false_starts_become_what_is_asked_for(options: dict[str, str], expected: str) -> None:
    assert said("um the en- end.", **options) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"noise": "unknown"}, "<unk> A <unk> NORT"),
        ({"unclear": "drop"}, "A NORT"),
        ({"unclear": "keep"}, "A BEE NORT"),
        ({"mispronounced": "drop"}, "A <unk>"),
        ({"mispronounced": "unknown"}, "A <unk> <unk>"),
    ],
)
def test_noises_unclear_and_mispronounced_words_become_what_is_asked_for(
    options: dict[str, str], expected: str
) -> None:
    assert said("<laugh> a ((bee)) *nort*", **options) == expected


def test_a_discarded_recording_and_one_without_words_are_left_out_with_the_reason() -> None:
    assert transcribe("yes <discard>", MARKS, TranscriptConfig()).reason == "discard in the transcript"
    for raw in ("", "<breath>", "en- (())", "- ."):
        transcript = transcribe(raw, MARKS, TranscriptConfig())
        assert transcript.words is None
        assert transcript.reason == "no words"
    assert transcribe("en- end", MARKS, TranscriptConfig(partial="leave_out")).reason == "partial in the transcript"
    assert said("yes <discard>", discard="drop") == "YES"


def test_an_unclear_passage_without_a_guess_stays_unknown_when_guesses_are_kept() -> None:
    assert said("a (()) b", unclear="keep") == "A <unk> B"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("It’s O.K.; isn't it?", "IT'S OK ISN'T IT"),
        ("well-known and/or “good”", "WELL KNOWN AND OR GOOD"),
        ("H2O is 100% water", "H TWO O IS ONE HUNDRED PERCENT WATER"),
        ("1,250 grams, 0.5 or 12", "ONE THOUSAND TWO HUNDRED FIFTY GRAMS ZERO POINT FIVE OR TWELVE"),
        ("'cause the dogs' food", "'CAUSE THE DOGS' FOOD"),
    ],
)
def test_punctuation_goes_and_numbers_are_spelled_out(raw: str, expected: str) -> None:
    assert said(raw) == expected


def test_numbers_stay_where_asked_for() -> None:
    assert said("H2O 12", numbers="keep") == "H2O 12"


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("0", "zero"), ("13", "thirteen"), ("40", "forty"), ("99", "ninety nine"), ("100", "one hundred"),
        ("305", "three hundred five"), ("1000", "one thousand"), ("12345", "twelve thousand three hundred forty five"),
        ("999999", "nine hundred ninety nine thousand nine hundred ninety nine"), ("007", "zero zero seven"),
        ("1234567", "one two three four five six seven"),
    ],
)  # fmt: skip
def test_numbers_are_spelled_as_they_are_spoken(digits: str, words: str) -> None:
    assert " ".join(number_words(digits)) == words


def test_a_noise_has_no_word_to_keep() -> None:
    with pytest.raises(ValueError, match="noise has no word to keep"):
        TranscriptConfig(noise="keep")
    with pytest.raises(ValueError, match="unknown_word must be one word"):
        TranscriptConfig(unknown_word="un known")
