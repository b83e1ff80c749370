"""Make the golden files of this folder again: a small system that a real Kaldi builds on tone_speech.py's corpus.

    KALDI_ROOT=/path/to/kaldi python tests/golden/make.py [FOLDER]

Writes README.md, lm.arpa, data, mfcc, lang, exp and text into FOLDER (default: beside this file).  Needs the programs
and scripts of Kaldi, perl and awk; takes half a minute.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from harness.atomic import whole_dir  # noqa: E402
from hmm.arpa import write_arpa  # noqa: E402
from hmm.lm import train_lm  # noqa: E402
from kaldi_bridge.programs import kaldi_workspace, run_kaldi  # noqa: E402
from kaldi_bridge.text_tables import read_text_table, write_text_table  # noqa: E402
from tests.golden.tone_speech import LEXICON, RATE, write_corpus  # noqa: E402

MFCC_CONF = f"--use-energy=false\n--sample-frequency={RATE}\n--dither=0\n"
FSTCONVERT = "#!/bin/sh\nfstprint | fstcompile --fst_type=const\n"  # mkgraph.sh needs it, not every Kaldi has it
JOB, CMD = "--nj 1 --cmd run.pl", "--cmd run.pl --num-iters 8 --max-iter-inc 6"
TRAIN = "data/train lang"

# The system: (what of it is kept, command), in order.  Paths are relative to the folder.
SYSTEM = (
    ("data/*/{feats.scp,utt2num_frames,utt2dur}, mfcc/raw_mfcc_*.ark (compressed)",
     f"for x in train test; do steps/make_mfcc.sh {JOB} --write-utt2num-frames true data/$x log mfcc; done"),
    ("data/*/cmvn.scp, mfcc/cmvn_*.ark",
     "for x in train test; do steps/compute_cmvn_stats.sh data/$x log mfcc; done"),
    ("lang", "utils/prepare_lang.sh dict '<unk>' local lang"),
    ("lang_test/G.fst, of our lm.arpa",
     "gzip -c lm.arpa > lm.gz && utils/format_lm.sh lang lm.gz dict/lexicon.txt lang_test"),
    ("", f"steps/train_mono.sh {JOB} --totgauss 60 --num-iters 12 --max-iter-inc 8 {TRAIN} exp/mono"),
    ("exp/mono_ali", f"steps/align_si.sh {JOB} {TRAIN} exp/mono exp/mono_ali"),
    ("", f"steps/train_deltas.sh {CMD} 40 80 {TRAIN} exp/mono_ali exp/tri1"),
    ("", f"steps/align_si.sh {JOB} {TRAIN} exp/tri1 exp/tri1_ali"),
    ("", f"steps/train_lda_mllt.sh {CMD} --dim 16 --mllt-iters '2 4' 40 80 {TRAIN} exp/tri1_ali exp/tri2b"),
    ("", f"steps/align_si.sh {JOB} --use-graphs true {TRAIN} exp/tri2b exp/tri2b_ali"),
    ("exp/tri3b", f"steps/train_sat.sh {CMD} --fmllr-iters '2 4' 40 80 {TRAIN} exp/tri2b_ali exp/tri3b"),
    ("exp/tri3b_ali", f"steps/align_fmllr.sh {JOB} {TRAIN} exp/tri3b exp/tri3b_ali"),
    ("exp/tri3b/graph", "utils/mkgraph.sh lang_test exp/tri3b exp/tri3b/graph"),
    ("exp/tri3b/decode_test",
     f"steps/decode_fmllr.sh {JOB} --skip-scoring true exp/tri3b/graph data/test exp/tri3b/decode_test"),
)  # fmt: skip

ALI, DECODED = "exp/tri3b_ali", "exp/tri3b/decode_test"
# What Kaldi itself says is in the binary files: (file in text/, command that prints it).
SAID = (
    ("feats.txt", "head -n 2 data/test/feats.scp | copy-feats scp:- ark,t:-"),
    *((f"feats_method_{n}.txt", f"copy-feats ark:mfcc/method_{n}.ark ark,t:-") for n in range(1, 8)),
    ("cmvn.txt", "copy-matrix scp:data/test/cmvn.scp ark,t:-"),
    ("ali.txt", f"copy-int-vector 'ark:gunzip -c {ALI}/ali.1.gz |' ark,t:-"),
    ("ali_pdfs.txt", f"ali-to-pdf {ALI}/final.mdl 'ark:gunzip -c {ALI}/ali.1.gz |' ark,t:-"),
    ("ali_phones.txt", f"ali-to-phones --per-frame {ALI}/final.mdl 'ark:gunzip -c {ALI}/ali.1.gz |' ark,t:-"),
    ("trans.txt", f"copy-matrix ark:{ALI}/trans.1 ark,t:-"),
    ("final_mat.txt", f"copy-matrix --binary=false {ALI}/final.mat -"),
    ("final_mdl.txt", f"gmm-copy --binary=false {ALI}/final.mdl -"),
    ("tree.txt", f"copy-tree --binary=false {ALI}/tree -"),
    ("HCLG.txt", "fstprint exp/tri3b/graph/HCLG.fst"),
    ("G.txt", "fstprint lang_test/G.fst"),
    ("lattices.txt", f"lattice-copy 'ark:gunzip -c {DECODED}/lat.1.gz |' ark,t:-"),
    ("best_paths.txt", f"lattice-best-path --lm-scale=12 'ark:gunzip -c {DECODED}/lat.1.gz |' ark,t:-"),
    ("loglikes.txt", "copy-feats ark:exp/loglikes.ark ark,t:-"),
)
# Kaldi's seven ways to compress a matrix, the lattices before they are made compact, and likelihoods of the model.
MORE = (
    *((f"mfcc/method_{n}.ark", "head -n 1 data/test/feats.scp | copy-feats --compress=true "
       f"--compression-method={n} scp:- ark:mfcc/method_{n}.ark") for n in range(1, 8)),
    ("exp/lattices_not_compact.gz",
     f"lattice-copy --write-compact=false 'ark:gunzip -c {DECODED}/lat.1.gz |' ark:- | gzip -n "
     "> exp/lattices_not_compact.gz"),
    ("exp/loglikes.ark",
     "head -n 1 data/test/feats.scp | apply-cmvn --utt2spk=ark:data/test/utt2spk scp:data/test/cmvn.scp scp:- ark:- | "
     "splice-feats ark:- ark:- | transform-feats exp/tri3b/final.mat ark:- ark:- | "
     "gmm-compute-likes exp/tri3b/final.mdl ark:- ark:exp/loglikes.ark"),
)  # fmt: skip

KEPT = (
    "lm.arpa", "data/train", "data/test", "mfcc", "lang", "lang_test/G.fst", "exp/mono_ali", "exp/tri3b_ali",
    "exp/tri3b", "exp/loglikes.ark", "exp/lattices_not_compact.gz", "text",
)  # fmt: skip
LEFT_OUT = shutil.ignore_patterns(
    "log", "q", "split*", "*.acc", "[0-9]*.*", "decode_test.si", "raw_mfcc_*.scp", "cmvn_*.scp", "conf", "fsts.1.gz",
    "phones.html", "questions.*", "full.mat",
)  # fmt: skip


def lay_out(work: Path) -> None:
    """The corpus, the configuration and Kaldi's scripts in a folder of their own, where the commands of SYSTEM run."""
    place = kaldi_workspace(work)
    write_corpus(work / "corpus")
    shutil.move(work / "corpus/wav", work / "wav")
    shutil.move(work / "corpus/dict", work / "dict")
    shutil.move(work / "corpus", work / "data")
    for name in ("train", "test"):
        wavs = {utterance: f"wav/{utterance}.wav" for utterance in read_text_table(work / "data" / name / "wav.scp")}
        write_text_table(work / "data" / name / "wav.scp", wavs)
    for name, text in (("conf/mfcc.conf", MFCC_CONF), ("bin/fstconvert", FSTCONVERT)):
        (work / name).parent.mkdir()
        (work / name).write_text(text, encoding="utf-8")
    (work / "bin/fstconvert").chmod(0o755)
    with open(place / "path.sh", "a", encoding="utf-8") as stream:
        stream.write('export PATH="$PATH:$PWD/bin"\n')
    said = [words.split() for words in read_text_table(work / "data/train/text").values()]
    write_arpa(work / "lm.arpa", train_lm(said, sorted(LEXICON), 2, "witten_bell"))
    (work / "text").mkdir()


def build(work: Path) -> None:
    """The whole system in a folder of its own."""
    lay_out(work)
    commands = [*(command for _, command in (*SYSTEM, *MORE)), *(f"{how} > text/{name}" for name, how in SAID)]
    for command in commands:
        run_kaldi(f". ./path.sh; {{ {command}; }}", cwd=work)


def keep(work: Path, out: Path) -> None:
    """Copy what belongs to the golden files."""
    for name in KEPT:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if (work / name).is_dir():
            shutil.copytree(work / name, out / name, ignore=LEFT_OUT, symlinks=False)
        else:
            shutil.copyfile(work / name, out / name)
    for table in (*out.glob("data/*/feats.scp"), *out.glob("data/*/cmvn.scp")):
        table.write_text(table.read_text(encoding="utf-8").replace(f"{work}/", ""), encoding="utf-8")


def readme(version: str) -> str:
    """Each kept file with the program, version and command that made it."""
    rows = [(kept or "(not kept)", f"`{command}`") for kept, command in (*SYSTEM, *MORE)]
    rows += [(f"text/{name}", f"`{command}`") for name, command in SAID]
    table = "\n".join(f"| {kept} | {command.replace('|', chr(92) + '|')} |" for kept, command in rows)
    return f"""# Golden files of our own

Written by `KALDI_ROOT=... python tests/golden/make.py` with {version}; each line below is a program or script of that
Kaldi, run in this order in one folder.  Speech, transcripts, lexicon and lm.arpa are ours (tone_speech.py: resonances
and noise, 4 speakers to train and 2 to test, 8 utterances each); wav files are not kept.  Paths in tables are relative
to this folder.  `text/` holds the same objects as Kaldi prints them: what our readers must find.  Not for tuning.
`conf/mfcc.conf` is `{" ".join(MFCC_CONF.split())}`.

| files | command |
|---|---|
{table}

Kaldi is Apache-2.0; these are outputs of its programs on our data.
"""


def main() -> None:
    """Build aside, then put the new files in the place of the old ones."""
    out = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else HERE
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve() / "work"
        build(work)
        logs = (work / "log").rglob("*.log")
        versions = {found for log in logs for found in re.findall(r"\[(\d+\.\d[^\]]*)\]:", log.read_text("utf-8"))}
        with whole_dir(Path(folder) / "kept") as aside:
            keep(work, aside)
            (aside / "README.md").write_text(readme(f"Kaldi {', '.join(sorted(versions))}"), encoding="utf-8")
        for name in sorted({Path(kept).parts[0] for kept in KEPT}):
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            (out / name).unlink(missing_ok=True)
        shutil.copytree(Path(folder) / "kept", out, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
