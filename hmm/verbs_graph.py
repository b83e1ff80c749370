"""The verbs from a lexicon and text to a decoding graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import LexiconError

if TYPE_CHECKING:
    from hmm.arpa import Arpa

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML with what differs from the defaults")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config")]
ForceOption = Annotated[bool, typer.Option("--force", help="replace what the output holds")]
PlainOption = Annotated[bool, typer.Option("--plain", help="lines are sentences, without utterance ids")]


def register(app: typer.Typer) -> None:
    """Adds the verbs to the room's app."""
    for verb in (prepare_dict, g2p, prepare_lang, train_lm, perplexity, format_lm, make_graph):
        app.command()(verb)


def prepare_dict(
    lexicon: Annotated[Path, typer.Argument(help="lines 'WORD phone phone ...', as CMUdict or a corpus has them")],
    dict_dir: Annotated[Path, typer.Argument(help="the dict dir to write")],
    config: ConfigOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
) -> None:
    """A dict dir from a raw lexicon; stress marks are stripped (--set strip_stress=false keeps them)."""
    from harness.config import load_config
    from hmm.make_dict import MakeDictConfig, make_dict

    make_dict(lexicon, dict_dir, load_config(MakeDictConfig, config, overrides=set_ or []), force=force)


def g2p(
    dict_dir: Annotated[Path, typer.Argument(help="the dict dir whose words are learnt from")],
    out_dir: Annotated[Path, typer.Argument(help="the dict dir with the guesses to write")],
    text: Annotated[Path, typer.Option("--text", help="text of a data dir: its words shall be in the lexicon")],
    plain: PlainOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Guess pronunciations for the words of a text that the lexicon lacks; oov_pronunciations.txt lists the guesses."""
    from harness.config import load_config
    from hmm.g2p import GUESSED, G2PConfig, add_pronunciations

    sentences = read_sentences(text, plain=plain)
    settings = load_config(G2PConfig, config, overrides=set_ or [])
    guesses = add_pronunciations(dict_dir, sentences, out_dir, settings, force=force)
    print(f"{out_dir / GUESSED}: {len(guesses)} words")


def prepare_lang(
    dict_dir: Annotated[Path, typer.Argument(help="lexicon.txt or lexiconp.txt and the phone lists")],
    lang_dir: Annotated[Path, typer.Argument(help="the lang dir to write")],
    config: ConfigOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
    text: Annotated[Path | None, typer.Option("--text", help="report the words of this text that it lacks")] = None,
) -> None:
    """A lang dir from a dict dir, as Kaldi's utils/prepare_lang.sh."""
    from harness.config import load_config
    from hmm.lang import LangConfig, count_unknown, describe_unknown
    from hmm.lang import prepare_lang as prepare
    from hmm.lexicon import DictDir

    if text is not None:
        sentences = read_sentences(text, plain=False)
        total = sum(len(words) for words in sentences)
        missing = count_unknown(sentences, DictDir.read(dict_dir).words)
        report = describe_unknown(missing, total)
        if missing.total() == total:
            mend = "give the lexicon of this language, in the letter case of the text"
            raise LexiconError(text, f"no word of it is in {dict_dir}: {report}", mend=mend)
        print(f"{text}: {report}")
    prepare(dict_dir, lang_dir, load_config(LangConfig, config, overrides=set_ or []), force=force)


def train_lm(
    text: Annotated[
        Path, typer.Argument(help="text of a data dir ('utterance word word ...'); with --plain, sentences")
    ],
    arpa: Annotated[Path, typer.Argument(help="the model to write; gzipped if it ends in .gz")],
    lang: Annotated[
        Path, typer.Option("--lang", help="lang dir whose words (but the unknown word) are the vocabulary")
    ],
    order: Annotated[int, typer.Option("--order", min=1, max=5)] = 3,
    method: Annotated[str, typer.Option("--method", help="witten_bell or kneser_ney")] = "witten_bell",
    plain: PlainOption = False,
) -> None:
    """An n-gram model over exactly the words of the lexicon."""
    from hmm.arpa import write_arpa
    from hmm.lang import Lang
    from hmm.lm import train_lm as train

    if method not in ("witten_bell", "kneser_ney"):
        raise LexiconError("--method", f"unknown method {method!r}", mend="choose witten_bell or kneser_ney")
    read = Lang.read(lang)
    vocabulary = set(read.words) - {"<eps>", "#0", "<s>", "</s>", read.unknown_word}
    sentences = read_sentences(text, plain=plain)
    model = train(sentences, vocabulary, order, method)  # type: ignore[arg-type]
    write_arpa(arpa, model)
    _report(f"{arpa} on its own text", model, sentences)


def perplexity(
    arpa: Annotated[Path, typer.Argument(help="a language model, gzipped or not")],
    text: Annotated[Path, typer.Argument(help="text of a data dir; with --plain, sentences")],
    plain: PlainOption = False,
) -> None:
    """How well a model predicts a text."""
    from hmm.arpa import read_arpa

    _report(str(text), read_arpa(arpa), read_sentences(text, plain=plain))


def format_lm(
    lang_dir: Annotated[Path, typer.Argument(help="lang dir without G.fst")],
    arpa: Annotated[Path, typer.Argument(help="a language model, gzipped or not")],
    out_dir: Annotated[Path, typer.Argument(help="the lang dir with G.fst to write")],
    force: ForceOption = False,
) -> None:
    """The lang dir with a model as G.fst, as Kaldi's utils/format_lm.sh."""
    from hmm.grammar import format_lm as format_model

    format_model(lang_dir, arpa, out_dir, force=force)


def make_graph(
    lang_dir: Annotated[Path, typer.Argument(help="lang dir with G.fst")],
    model_dir: Annotated[Path, typer.Argument(help="directory with final.mdl and tree")],
    graph_dir: Annotated[Path, typer.Argument(help="the graph dir to write")],
    config: ConfigOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
) -> None:
    """HCLG.fst of a model and a language model, as Kaldi's utils/mkgraph.sh."""
    from harness.config import load_config
    from hmm.graph import GraphConfig
    from hmm.graph import make_graph as make

    make(lang_dir, model_dir, graph_dir, load_config(GraphConfig, config, overrides=set_ or []), force=force)


def read_sentences(path: Path, *, plain: bool) -> list[list[str]]:
    """The words of each line; without its first field, the utterance, unless `plain`."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise LexiconError(path, f"cannot be read: {error.strerror}", mend="check the path of the text") from None
    except UnicodeDecodeError:
        raise LexiconError(path, "is not UTF-8", mend="convert it: iconv -t utf-8") from None
    rows = [line.split() for line in lines if line.strip()]
    if not rows:
        raise LexiconError(path, "is empty", mend="give a text with words")
    return rows if plain else [row[1:] for row in rows]


def _report(name: str, model: Arpa, sentences: list[list[str]]) -> None:
    from hmm.arpa import perplexity as measure

    found = measure(model, sentences)
    unknown = sum(found.unknown.values())
    print(
        f"{name}: perplexity {found.value:.2f}, {found.tokens} tokens in {found.sentences} sentences, "
        f"{unknown} unknown tokens of {len(found.unknown)} words"
    )
