"""A tiny corpus that any machine makes in a second: eight words of vowels, a hum and a hiss, said by drawn voices.

Not speech, but Kaldi's whole ladder learns it: each phone is noise or pulses through two resonances, a voice scales
pitch and resonances.  The same arguments give the same utterances; samples may differ in the last bit between machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from harness.seed import rng_for
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import write_wav

RATE = 16000  # Hz
SEED = 6
HISS = 0.05  # of the background; enough that the recogniser errs and lattices branch
RESONANCES = {"A": (750, 1250), "I": (300, 2300), "U": (350, 800), "M": (250, 1000), "S": (4500, 6000)}  # Hz
LEXICON = {
    "AMMA": "A M A", "AMU": "A M U", "IMA": "I M A", "ISSU": "I S U", "SIM": "S I M", "SIMU": "S I M U", "SUM": "S U M",
    "UMA": "U M A",
}  # fmt: skip
TRAIN, TEST = ("ann", "bob", "cid", "dot"), ("eva", "fay")
Samples = NDArray[np.float32]


def write_corpus(folder: Path, *, utterances: int = 8) -> None:
    """folder/{train,test}: data directories with absolute paths to folder/wav; folder/dict: a dict directory."""
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    for name, speakers in (("train", TRAIN), ("test", TEST)):
        wavs, text, spoken_by = {}, {}, {}
        for speaker in speakers:
            for utterance, words in sentences(speaker, utterances):
                path = (folder / "wav" / f"{utterance}.wav").absolute()
                write_wav(path, say(speaker, utterance, words), RATE)
                wavs[utterance], text[utterance], spoken_by[utterance] = str(path), " ".join(words), speaker
        gender = {speaker: "f" if speaker in ("ann", "dot", "eva", "fay") else "m" for speaker in speakers}
        DataDir.build(folder / name, wav_scp=wavs, text=text, utt2spk=spoken_by, spk2gender=gender).write()
    write_dict(folder / "dict")


def write_dict(folder: Path) -> None:
    """A dict directory for utils/prepare_lang.sh."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["<unk> SPN", *(f"{word} {phones}" for word, phones in LEXICON.items())]
    phones = sorted(RESONANCES)
    files = {
        "lexicon.txt": rows, "silence_phones.txt": ["SIL", "SPN"], "optional_silence.txt": ["SIL"],
        "nonsilence_phones.txt": phones, "extra_questions.txt": ["SIL SPN", " ".join(phones)],
    }  # fmt: skip
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def sentences(speaker: str, count: int) -> Iterator[tuple[str, list[str]]]:
    """(id, words) of a speaker's utterances; every word comes about as often as every other."""
    rng = rng_for(SEED, "words", speaker)
    for number in range(count):
        yield f"{speaker}-{number}", [str(word) for word in rng.choice(sorted(LEXICON), 2 + number % 3, replace=False)]


def say(speaker: str, utterance: str, words: list[str]) -> Samples:
    """The utterance with 0.15 s of background around it, and sometimes some between the words."""
    voice, rng = rng_for(SEED, "voice", speaker), rng_for(SEED, "sound", utterance)
    pitch, scale = voice.uniform(110, 260), voice.uniform(0.9, 1.15)
    pieces = [np.zeros(int(0.15 * RATE))]
    for word in words:
        for phone in LEXICON[word].split():
            pieces.append(_phone(phone, pitch * rng.uniform(0.9, 1.1), scale, rng))
        pieces.append(np.zeros(int(rng.choice([0.0, 0.12]) * RATE)))
    pieces.append(np.zeros(int(0.15 * RATE)))
    samples = np.concatenate(pieces)
    return (samples + rng.normal(0, HISS, len(samples))).astype(np.float32)


def _phone(phone: str, pitch: float, scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Pulses (of S: noise) through the phone's two resonances, with soft ends; peak about 0.3."""
    length = int(rng.uniform(0.07, 0.13) * RATE)
    if phone == "S":
        source = rng.normal(0, 1, length)
    else:
        source = np.diff(np.floor(np.arange(length + 1) * pitch / RATE)) + rng.normal(0, 0.01, length)
    for frequency in RESONANCES[phone]:
        radius, angle = np.exp(-np.pi * 120 / RATE), 2 * np.pi * min(scale * frequency, 7500) / RATE
        source = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source)
    loud = 0.1 if phone in "MS" else 0.3
    ends = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 160)
    return loud * ends * source / np.abs(source).max()
