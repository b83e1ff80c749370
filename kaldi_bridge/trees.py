"""Phonetic decision trees (Kaldi's ContextDependency): which pdf a phone in its context and HMM state uses.

A tree maps an event (the phones of the window by position, and the pdf class under key -1) to a pdf. Its three kinds of
node are Kaldi's event maps: CE (constant), TE (table) and SE (split).  Format: kaldi's tree/event-map, context-dep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import ModelError
from kaldi_bridge.objects import MEND, ObjectReader, ObjectWriter, open_object

IntArray = NDArray[np.int32]
PDF_CLASS = -1  # the key under which an event holds the pdf class; keys >= 0 are positions in the window


@dataclass(frozen=True)
class Leaf:
    """CE: always this pdf."""

    pdf: int


@dataclass(frozen=True)
class Table:
    """TE: the child at the value of `key`; None where no value of that kind can occur."""

    key: int
    children: tuple[Node | None, ...]


@dataclass(frozen=True)
class Split:
    """SE: `if_yes` where the value of `key` is in `values`, else `if_no`."""

    key: int
    values: frozenset[int]
    if_yes: Node
    if_no: Node


Node = Leaf | Table | Split


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A decision tree over windows of `context_width` phones, the modelled one at `central_position` (from 0)."""

    context_width: int  # 1 for monophones, 3 for triphones
    central_position: int  # 0 for monophones, 1 for triphones
    root: Node

    def __post_init__(self) -> None:
        if not 0 <= self.central_position < self.context_width:
            raise ValueError(
                f"central position {self.central_position} lies outside the window of {self.context_width}"
            )

    @property
    def num_pdfs(self) -> int:
        """The largest pdf of any leaf, plus one."""
        return 1 + max(leaf.pdf for leaf in self.leaves())

    def leaves(self) -> list[Leaf]:
        found: list[Leaf] = []
        pending: list[Node | None] = [self.root]
        while pending:
            node = pending.pop()
            if isinstance(node, Leaf):
                found.append(node)
            elif node is not None:
                pending += node.children if isinstance(node, Table) else (node.if_yes, node.if_no)
        return found

    def pdf(self, window: Sequence[int], pdf_class: int) -> int:
        """The pdf of the window's central phone in state `pdf_class`; phone 0 in the window means the utterance's edge.

        Raises ModelError if the tree has no leaf for this event.
        """
        node: Node | None = self.root
        while node is not None and not isinstance(node, Leaf):
            value = pdf_class if node.key == PDF_CLASS else window[node.key]
            if isinstance(node, Table):
                node = node.children[value] if 0 <= value < len(node.children) else None
            else:
                node = node.if_yes if value in node.values else node.if_no
        if node is None:
            problem = f"has no leaf for the phones {list(window)} with pdf class {pdf_class}"
            raise ModelError("tree", problem, mend="use the tree and the lang directory of one training")
        return node.pdf

    def pdfs(self, windows: IntArray, pdf_classes: IntArray) -> IntArray:
        """`pdf` of many events at once: windows [events, context_width], pdf_classes [events]. Returns [events]."""
        result = np.full(len(windows), -1, np.int32)
        pending: list[tuple[Node | None, NDArray[np.int64]]] = [(self.root, np.arange(len(windows)))]
        while pending:
            node, events = pending.pop()
            if not len(events):
                continue
            if isinstance(node, Leaf):
                result[events] = node.pdf
                continue
            if node is None:
                self.pdf(windows[events[0]].tolist(), int(pdf_classes[events[0]]))  # raises, naming the event
                continue
            values = pdf_classes[events] if node.key == PDF_CLASS else windows[events, node.key]
            if isinstance(node, Split):
                yes = np.isin(values, list(node.values))
                pending += [(node.if_yes, events[yes]), (node.if_no, events[~yes])]
                continue
            for value in np.unique(values).tolist():
                child = node.children[value] if 0 <= value < len(node.children) else None
                pending.append((child, events[values == value]))
        return result

    def pdfs_of(self, phone: int, pdf_class: int) -> set[int]:
        """Every pdf that `phone` in state `pdf_class` reaches, whatever its neighbours."""
        known = {PDF_CLASS: pdf_class, self.central_position: phone}
        found: set[int] = set()
        pending: list[Node | None] = [self.root]
        while pending:
            node = pending.pop()
            if isinstance(node, Leaf):
                found.add(node.pdf)
            elif isinstance(node, Table):
                value = known.get(node.key)
                pending += node.children if value is None else node.children[value : value + 1]
            elif isinstance(node, Split):
                value = known.get(node.key)
                if value is None:
                    pending += (node.if_yes, node.if_no)
                else:
                    pending.append(node.if_yes if value in node.values else node.if_no)
        return found


def read_tree(path: str | Path) -> Tree:
    """The tree in a file of Kaldi, binary or text."""
    reader = open_object(path)
    reader.token("ContextDependency")
    width, position = reader.integer(), reader.integer()
    reader.token("ToPdf")
    root = _read_node(reader, str(path), width)
    reader.token("EndContextDependency")
    reader.finish()
    if root is None or not 0 <= position < width:
        raise ModelError(path, f"it is empty, or position {position} lies outside its window of {width}", mend=MEND)
    return Tree(context_width=width, central_position=position, root=root)


def write_tree(path: str | Path, tree: Tree) -> None:
    """Writes `tree` as Kaldi's binary file, whole or not at all."""
    with write_whole(path, "wb") as file:
        file.write(tree_bytes(tree))


def tree_bytes(tree: Tree) -> bytes:
    writer = ObjectWriter()
    writer.token("ContextDependency").integer(tree.context_width).integer(tree.central_position).token("ToPdf")
    _write_node(writer, tree.root)
    return writer.token("EndContextDependency").data()


def _read_key(reader: ObjectReader, where: str, width: int) -> int:
    key = reader.integer()
    if key != PDF_CLASS and not 0 <= key < width:
        raise ModelError(where, f"asks for position {key} of a window of {width} phones", mend=MEND)
    return key


def _read_node(reader: ObjectReader, where: str, width: int) -> Node | None:
    match reader.token():
        case "NULL":
            return None
        case "CE":
            return Leaf(reader.integer())
        case "TE":
            key, size = _read_key(reader, where, width), reader.integer()
            reader.token("(")
            children = tuple(_read_node(reader, where, width) for _ in range(size))
            reader.token(")")
            return Table(key, children)
        case "SE":
            key, values = _read_key(reader, where, width), frozenset(reader.integers())
            reader.token("{")
            if_yes, if_no = _read_node(reader, where, width), _read_node(reader, where, width)
            reader.token("}")
            if if_yes is None or if_no is None:
                raise ModelError(where, "a question of the tree has an empty branch", mend=MEND)
            return Split(key, values, if_yes, if_no)
        case other:
            raise ModelError(where, f"unknown kind of tree node {other[:40]!r}", mend=MEND)


def _write_node(writer: ObjectWriter, node: Node | None) -> None:
    match node:
        case None:
            writer.token("NULL")
        case Leaf():
            writer.token("CE").integer(node.pdf)
        case Table():
            writer.token("TE").integer(node.key).integer(len(node.children), unsigned=True).token("(")
            for child in node.children:
                _write_node(writer, child)
            writer.token(")")
        case Split():
            writer.token("SE").integer(node.key).integers(sorted(node.values)).token("{")
            _write_node(writer, node.if_yes)
            _write_node(writer, node.if_no)
            writer.token("}")
