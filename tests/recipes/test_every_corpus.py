"""What the header of every preparation and docs/corpora.md must say of a corpus."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORPORA = sorted(path.parent.name for path in ROOT.glob("recipes/*/prepare.py"))
OF_THE_USER = {"folder", "kaldi", "lhotse"}  # whoever speaks there, under whatever licence
SOUNDS = {"demand", "esc50", "musan", "rirs_noises"}  # noise and rooms: no text
CHILDREN = {"toy", "speechocean762", "cmu_kids", "myst", "cslu_kids", "pfstar"}
ASKED_FOR = {
    "speechocean762", "valentini", "myst", "cmu_kids", "cslu_kids", "pfstar", "librispeech", "musan", "demand",
    "rirs_noises", "esc50", "kaldi", "folder", "lhotse", "toy",
}  # fmt: skip
LICENCE = r"CC BY|Licence:|LDC\d+S\d+|by agreement"
SPLIT, LEFT_OUT, USAGE = (
    r"^Split|\bSplit:",
    r"\bLeft out\b|\bDropped\b",
    r"^usage: python recipes/{}/prepare.py .*--out",
)


def header_of(corpus: str) -> str:
    text = ast.get_docstring(ast.parse((ROOT / f"recipes/{corpus}/prepare.py").read_text()))
    assert text is not None
    return text


def test_every_corpus_of_the_list_has_a_preparation() -> None:
    assert set(CORPORA) == ASKED_FOR


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_header_says_who_speaks_what_is_left_out_how_it_is_split_and_how_it_is_run(corpus: str) -> None:
    header = header_of(corpus)
    who = r"^What:" if corpus in SOUNDS else r"^Who:"
    for needed in (who, SPLIT, LEFT_OUT, USAGE.format(corpus)):
        assert re.search(needed, header, re.MULTILINE), f"{corpus}: nothing like {needed}"


@pytest.mark.parametrize("corpus", sorted(set(CORPORA) - OF_THE_USER))
def test_a_header_names_licence_or_publisher_and_the_age_of_who_speaks(corpus: str) -> None:
    header = " ".join(header_of(corpus).split())
    assert re.search(LICENCE, header), corpus
    if corpus in CHILDREN:
        assert re.search(r"\b\d+ to \d+\b", header), corpus
    elif corpus in {"valentini", "librispeech", "musan", "demand"}:
        assert re.search(r"\badults?\b", header, re.IGNORECASE), corpus


@pytest.mark.parametrize("corpus", sorted(set(CORPORA) - SOUNDS))
def test_a_header_says_what_becomes_of_the_text(corpus: str) -> None:
    """kaldi takes it as it is, and toy makes it."""
    assert corpus in {"kaldi", "toy"} or re.search(r"\bText:", header_of(corpus)), corpus


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_page_of_the_corpora_has_a_row_for_each(corpus: str) -> None:
    page = (ROOT / "docs/corpora.md").read_text()
    assert re.search(rf"^\| `{corpus}` \|", page, re.MULTILINE)


@pytest.mark.parametrize("corpus", ["cmu_kids", "cslu_kids", "folder", "lhotse", "myst", "pfstar", "valentini"])
def test_where_transcripts_are_cleaned_the_treatment_can_be_switched(corpus: str) -> None:
    tree = ast.parse((ROOT / f"recipes/{corpus}/prepare.py").read_text())
    prepare = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "prepare")
    options = {argument.arg: ast.unparse(argument.annotation) for argument in prepare.args.args if argument.annotation}
    assert options.get("overrides") == "Overrides"
