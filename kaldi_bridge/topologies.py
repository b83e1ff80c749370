"""HMM topologies (Kaldi's HmmTopology): the states of each phone and the transitions between them.

Read from the text of a lang directory's `topo` and from both modes of a model file; written to both.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import ModelError
from kaldi_bridge.objects import MEND, ObjectReader, ObjectWriter, TextReader

CHAIN = -1  # in place of the number of entries: states have two pdf classes


@dataclass(frozen=True)
class HmmState:
    """A state: its pdf class (-1 if non-emitting) and its arcs as (target state, probability)."""

    pdf_class: int
    transitions: tuple[tuple[int, float], ...]
    self_loop_pdf_class: int | None = None  # of a chain model, whose self-loops have a class of their own


@dataclass(frozen=True)
class HmmTopology:
    """entries: the distinct HMMs, whose last state is the non-emitting end; phone_entry: phone -> index of its HMM."""

    phone_entry: dict[int, int]
    entries: tuple[tuple[HmmState, ...], ...]
    phones: list[int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "phones", sorted(self.phone_entry))
        for hmm in self.entries:
            _check_hmm(hmm)

    def hmm(self, phone: int) -> tuple[HmmState, ...]:
        """The states of `phone`; raises ModelError for a phone without topology."""
        if phone not in self.phone_entry:
            mend = "use the topo, tree and model of one lang directory"
            raise ModelError("topology", f"has no entry for phone {phone}", mend=mend)
        return self.entries[self.phone_entry[phone]]

    def num_pdf_classes(self, phone: int) -> int:
        return 1 + max(max(_classes(state)) for state in self.hmm(phone))

    @property
    def is_chain(self) -> bool:
        """Whether a self-loop has a pdf class of its own."""
        return any(state.self_loop_pdf_class is not None for hmm in self.entries for state in hmm)

    def refuse_chain(self) -> None:
        """Raises ModelError for a chain topology: graphs and alignments of such models are Kaldi's to make."""
        if self.is_chain:
            mend = "use a GMM-HMM model, for example exp/tri3b/final.mdl, or let Kaldi do this step"
            raise ModelError("topology", "is one of a chain (non-HMM) model", mend=mend)

    def text(self) -> str:
        """As Kaldi's `topo` files: phones of an entry on one line, a state a line."""
        lines = ["<Topology>"]
        for index, hmm in enumerate(self.entries):
            phones = " ".join(str(phone) for phone in self.phones if self.phone_entry[phone] == index)
            lines += ["<TopologyEntry>", "<ForPhones>", phones, "</ForPhones>"]
            lines += [_state_line(number, state) for number, state in enumerate(hmm)]
            lines.append("</TopologyEntry>")
        return "\n".join([*lines, "</Topology>"]) + "\n"


def _state_line(number: int, state: HmmState) -> str:
    words = [f"<State> {number}"]
    if state.self_loop_pdf_class is not None:
        words.append(f"<ForwardPdfClass> {state.pdf_class} <SelfLoopPdfClass> {state.self_loop_pdf_class}")
    elif state.pdf_class >= 0:
        words.append(f"<PdfClass> {state.pdf_class}")
    words += [f"<Transition> {target} {shortest(prob)}" for target, prob in state.transitions]
    return " ".join([*words, "</State>"])


def _classes(state: HmmState) -> tuple[int, int]:
    """The pdf classes of the arcs that leave a state and of its self-loop."""
    loop = state.self_loop_pdf_class
    return state.pdf_class, state.pdf_class if loop is None else loop


def shortest(value: float) -> str:
    """The shortest decimal that is the same single-precision number; 15 digits of one that has more precision."""
    single = struct.unpack("<f", struct.pack("<f", value))[0]
    if single != value:
        return f"{value:.15g}"
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if struct.unpack("<f", struct.pack("<f", float(text)))[0] == single:
            return text
    return repr(value)


def _check_hmm(hmm: tuple[HmmState, ...]) -> None:
    """Kaldi's HmmTopology::Check for the HMMs handled here: only the last state is non-emitting, and it has no arcs."""
    mend = "give every state but the last a <PdfClass>, and the last no transitions"
    if len(hmm) < 2 or hmm[-1].pdf_class != -1 or hmm[-1].transitions:
        raise ModelError("topology", "the last state must be non-emitting and without transitions", mend=mend)
    for number, state in enumerate(hmm[:-1]):
        if state.pdf_class < 0:
            raise ModelError("topology", f"state {number} is non-emitting: only the last one may be", mend=mend)
        if not state.transitions or any(not 0 <= target < len(hmm) for target, _ in state.transitions):
            raise ModelError(
                "topology", f"state {number} has no transition, or one to a state that is not there", mend=mend
            )
        total = sum(prob for _, prob in state.transitions)
        if abs(total - 1) > 0.01:
            mend_sum = "let the probabilities of each state add up to 1"
            raise ModelError("topology", f"the transitions of state {number} add up to {total:g}, not 1", mend=mend_sum)


def read_topology(path: str | Path) -> HmmTopology:
    """The `topo` of a lang directory."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(path, f"cannot be read: {error.strerror}", mend="prepare the lang directory again") from None
    except UnicodeDecodeError:
        raise ModelError(path, "is no text", mend="prepare the lang directory again") from None
    reader = TextReader(text, str(path))
    topology = read_topology_object(reader, str(path))
    reader.finish()
    return topology


def read_topology_object(reader: ObjectReader, where: str) -> HmmTopology:
    """A topology inside a file of Kaldi, in the reader's mode."""
    reader.token("<Topology>")
    topology = _read_binary(reader, where) if reader.binary else _read_text(reader, where)
    reader.token("</Topology>")
    return topology


def write_topology_object(writer: ObjectWriter, topology: HmmTopology) -> None:
    """The binary form inside a model file."""
    entry_of = [topology.phone_entry.get(phone, -1) for phone in range(max(topology.phones) + 1)]
    writer.token("<Topology>").integers(topology.phones).integers(entry_of)
    if topology.is_chain:
        writer.integer(CHAIN)
    writer.integer(len(topology.entries))
    for hmm in topology.entries:
        writer.integer(len(hmm))
        for state in hmm:
            for pdf_class in _classes(state)[: 1 + topology.is_chain]:
                writer.integer(pdf_class)
            writer.integer(len(state.transitions))
            for target, prob in state.transitions:
                writer.integer(target).real(prob)
    writer.token("</Topology>")


def _read_binary(reader: ObjectReader, where: str) -> HmmTopology:
    phones, entry_of, count = reader.integers(), reader.integers(), reader.integer()
    chain = count == CHAIN
    count = reader.integer() if chain else count
    entries = tuple(tuple(_read_state(reader, chain) for _ in range(reader.integer())) for _ in range(count))
    if any(not (0 <= phone < len(entry_of) and 0 <= entry_of[phone] < count) for phone in phones):
        raise ModelError(where, "the topology names phones without an entry", mend=MEND)
    return HmmTopology({phone: entry_of[phone] for phone in phones}, entries)


def _read_state(reader: ObjectReader, chain: bool) -> HmmState:
    pdf_class = reader.integer()
    loop = reader.integer() if chain else pdf_class
    transitions = tuple((reader.integer(), reader.real()) for _ in range(reader.integer()))
    return HmmState(pdf_class, transitions, None if loop == pdf_class else loop)


def _read_text(reader: ObjectReader, where: str) -> HmmTopology:
    phone_entry: dict[int, int] = {}
    entries: list[tuple[HmmState, ...]] = []
    while reader.peek() == "<TopologyEntry>":
        reader.token()
        reader.token("<ForPhones>")
        while reader.peek() != "</ForPhones>":
            phone = reader.integer()
            if phone in phone_entry:
                raise ModelError(where, f"phone {phone} has two entries", mend="name each phone once")
            phone_entry[phone] = len(entries)
        reader.token()
        hmm: list[HmmState] = []
        while reader.peek() == "<State>":
            hmm.append(_read_text_state(reader, where, len(hmm)))
        reader.token("</TopologyEntry>")
        entries.append(tuple(hmm))
    if not entries:
        raise ModelError(where, "the topology has no entry", mend=MEND)
    return HmmTopology(phone_entry, tuple(entries))


def _read_text_state(reader: ObjectReader, where: str, expected: int) -> HmmState:
    reader.token("<State>")
    if (number := reader.integer()) != expected:
        raise ModelError(where, f"expected state {expected}, found state {number}", mend="number the states from 0")
    pdf_class, loop, transitions = -1, None, []
    while (word := reader.token()) != "</State>":
        match word:
            case "<PdfClass>" | "<ForwardPdfClass>":
                pdf_class = reader.integer()
            case "<SelfLoopPdfClass>":
                loop = reader.integer()
            case "<Transition>":
                transitions.append((reader.integer(), reader.real()))
            case _:
                raise ModelError(where, f"unknown word {word!r} in a state", mend=MEND)
    return HmmState(pdf_class, tuple(transitions), None if loop == pdf_class else loop)
