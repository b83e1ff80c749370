"""Transition models and diagonal-covariance GMMs in Kaldi's files (final.mdl), as numpy arrays.

Format: kaldi's hmm/hmm-topology, hmm/transition-model, gmm/am-diag-gmm.  A transition id numbers (transition state, arc
of its HMM state) from 1; a transition state is (phone, HMM state, pdf).  In a chain model the self-loop of a state has
a pdf of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import ModelError
from kaldi_bridge.objects import MEND, ObjectReader, ObjectWriter, open_object
from kaldi_bridge.topologies import HmmState, HmmTopology, read_topology, read_topology_object, write_topology_object
from kaldi_bridge.trees import Leaf, Node, Split, Table, Tree, read_tree, tree_bytes, write_tree

__all__ = [
    "AmDiagGmm", "HmmState", "HmmTopology", "Leaf", "Node", "Split", "Table", "TransitionModel", "Tree", "read_am",
    "read_model", "read_topology", "read_transition_model", "read_tree", "tree_bytes", "write_model", "write_tree",
]  # fmt: skip

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
SMALLEST_LEAVING_PROBABILITY = 1.0e-10  # Kaldi's floor where a self-loop has probability 1


@dataclass(frozen=True, eq=False)
class TransitionModel:
    """HMM transitions as arrays. Arrays by transition id have one unused row 0, as have arrays by transition state.

    tuples: [states, 3] phone, HMM state, pdf of transition state 1, 2, ..., sorted.
    log_probs: [ids + 1] natural logarithms.  self_loop_pdfs: [states] pdf of each state's self-loop in a chain model.
    """

    topology: HmmTopology
    tuples: IntArray
    log_probs: FloatArray
    self_loop_pdfs: IntArray | None = None
    id2state: IntArray = field(init=False)  # [ids + 1] transition state, from 1
    id2pdf: IntArray = field(init=False)  # [ids + 1]
    id2phone: IntArray = field(init=False)  # [ids + 1]
    id2hmm_state: IntArray = field(init=False)  # [ids + 1] state within the phone's HMM, from 0
    id2index: IntArray = field(init=False)  # [ids + 1] which arc of the HMM state, from 0
    is_self_loop: NDArray[np.bool_] = field(init=False)  # [ids + 1]
    is_final: NDArray[np.bool_] = field(init=False)  # [ids + 1] the arc enters the phone's last, non-emitting state
    first_id: IntArray = field(init=False)  # [states + 2] first transition id of a state; the last entry is ids + 1
    self_loop_id: IntArray = field(init=False)  # [states + 1] 0 where the state has none
    non_self_loop_log_probs: FloatArray = field(init=False)  # [states + 1] log of the probability of leaving the state
    state_of: dict[tuple[int, int, int], int] = field(init=False)  # (phone, HMM state, pdf) -> transition state

    def __post_init__(self) -> None:
        rows: list[tuple[int, int, int, int, int, bool, bool]] = [(0, 0, 0, 0, 0, False, False)]
        first, loops = [0], [0]
        for number, (phone, state, pdf) in enumerate(self.tuples.tolist(), 1):
            hmm = self.topology.hmm(phone)
            first.append(len(rows))
            loops.append(0)
            for index, (target, _) in enumerate(hmm[state].transitions):
                if target == state:
                    loops[-1] = len(rows)
                own = target == state and self.self_loop_pdfs is not None
                emitted = int(self.self_loop_pdfs[number - 1]) if own else pdf  # type: ignore[index]
                rows.append((number, emitted, phone, state, index, target == state, target == len(hmm) - 1))
        columns = np.array(rows, np.int32).T
        for name, column in zip(("id2state", "id2pdf", "id2phone", "id2hmm_state", "id2index"), columns, strict=False):
            self._set(name, column.copy())
        self._set("is_self_loop", columns[5].astype(bool))
        self._set("is_final", columns[6].astype(bool))
        self._set("first_id", np.array([*first, len(rows)], np.int32))
        self._set("self_loop_id", np.array(loops, np.int32))
        self._set("state_of", {tuple(row): number for number, row in enumerate(self.tuples.tolist(), 1)})
        self._set_log_probs()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _set_log_probs(self) -> None:
        log_probs = np.asarray(self.log_probs, np.float32)
        if log_probs.shape != self.id2pdf.shape:
            problem = f"{len(log_probs) - 1} transition probabilities for {self.num_transition_ids} transition ids"
            raise ModelError("transition model", problem, mend=MEND)
        leaving = np.maximum(np.float32(1) - np.exp(log_probs[self.self_loop_id]), SMALLEST_LEAVING_PROBABILITY)
        self._set("log_probs", log_probs)
        self._set("non_self_loop_log_probs", np.where(self.self_loop_id > 0, np.log(leaving), 0).astype(np.float32))

    @classmethod
    def from_tree(cls, tree: Tree, topology: HmmTopology) -> TransitionModel:
        """The model that Kaldi's gmm-init-model makes: all (phone, state, pdf) of the tree, first probabilities."""
        topology.refuse_chain()
        found: set[tuple[int, int, int]] = set()
        for phone in topology.phones:
            for state, hmm_state in enumerate(topology.hmm(phone)):
                if hmm_state.pdf_class >= 0:
                    found |= {(phone, state, pdf) for pdf in tree.pdfs_of(phone, hmm_state.pdf_class)}
        tuples = sorted(found)
        probs = [1.0]
        for phone, state, _ in tuples:
            probs += [prob for _, prob in topology.hmm(phone)[state].transitions]
        return cls(topology, np.array(tuples, np.int32).reshape(-1, 3), np.log(np.array(probs, np.float32)))

    def with_log_probs(self, log_probs: NDArray[np.floating]) -> TransitionModel:
        """The same states with other transition log-probabilities, [ids + 1]."""
        return replace(self, log_probs=np.asarray(log_probs, np.float32))

    @property
    def num_transition_ids(self) -> int:
        return len(self.id2pdf) - 1

    @property
    def num_transition_states(self) -> int:
        return len(self.tuples)

    @property
    def num_pdfs(self) -> int:
        loops = self.tuples[:, 2] if self.self_loop_pdfs is None else self.self_loop_pdfs
        return int(max(self.tuples[:, 2].max(), loops.max())) + 1

    @property
    def phones(self) -> list[int]:
        return self.topology.phones

    def log_probs_without_self_loops(self) -> FloatArray:
        """[ids + 1] log of each arc's probability given that the state is left; 0 for self-loops."""
        given_left = self.log_probs - self.non_self_loop_log_probs[self.id2state]
        return np.where(self.is_self_loop, np.float32(0), given_left).astype(np.float32)

    def pdfs_of_phones(self, phones: Iterable[int]) -> IntArray:
        """The sorted pdfs that any of `phones` uses."""
        return np.unique(self.tuples[np.isin(self.tuples[:, 0], list(phones)), 2])


@dataclass(frozen=True, eq=False)
class AmDiagGmm:
    """One diagonal GMM per pdf in flat arrays: pdf p owns rows offsets[p] : offsets[p + 1].

    Kept in Kaldi's exponential form: log-likelihood of x = gconsts + means_invvars . x - 0.5 inv_vars . x^2.
    """

    offsets: NDArray[np.int64]  # [pdfs + 1]
    weights: FloatArray  # [gaussians]
    means_invvars: FloatArray  # [gaussians, dim] mean / variance
    inv_vars: FloatArray  # [gaussians, dim] 1 / variance
    gconsts: FloatArray  # [gaussians]

    def __post_init__(self) -> None:
        count = int(self.offsets[-1])
        if len(self.weights) != count or self.means_invvars.shape != self.inv_vars.shape or len(self.inv_vars) != count:
            raise ModelError("GMM", f"its arrays disagree about the number of Gaussians ({count})", mend=MEND)

    @classmethod
    def from_parameters(
        cls, offsets: NDArray[np.integer], weights: NDArray[np.floating], means: NDArray[np.floating],
        variances: NDArray[np.floating],
    ) -> AmDiagGmm:  # fmt: skip
        """GMMs from weights [gaussians], means and variances [gaussians, dim]; the constants are computed."""
        inv_vars = (1.0 / np.asarray(variances, np.float64)).astype(np.float32)
        means_invvars = (np.asarray(means, np.float64) * inv_vars).astype(np.float32)
        weights32 = np.asarray(weights, np.float32)
        gconsts = compute_gconsts(weights32, means_invvars, inv_vars)
        return cls(np.asarray(offsets, np.int64), weights32, means_invvars, inv_vars, gconsts)

    @property
    def dim(self) -> int:
        return int(self.inv_vars.shape[1])

    @property
    def num_pdfs(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_gauss(self) -> int:
        return int(self.offsets[-1])

    @property
    def means(self) -> FloatArray:
        """[gaussians, dim]"""
        return (self.means_invvars / self.inv_vars).astype(np.float32)

    @property
    def variances(self) -> FloatArray:
        """[gaussians, dim]"""
        return (np.float32(1) / self.inv_vars).astype(np.float32)


def compute_gconsts(weights: FloatArray, means_invvars: FloatArray, inv_vars: FloatArray) -> FloatArray:
    """[gaussians] the terms of the log-likelihood that do not depend on the frame: DiagGmm::ComputeGconsts.

    A Gaussian of weight 0 gives -inf.  Raises ModelError if one is not a number or +inf.
    """
    inverse = inv_vars.astype(np.float64)
    with np.errstate(divide="ignore"):
        constants = np.log(weights.astype(np.float64)) - 0.5 * np.log(2 * np.pi) * inv_vars.shape[1]
    constants += 0.5 * np.log(inverse).sum(1) - 0.5 * (means_invvars.astype(np.float64) ** 2 / inverse).sum(1)
    bad = np.flatnonzero(np.isnan(constants) | (constants == np.inf))
    if len(bad):
        mend = "look for features that are not finite, or for variances of 0"
        raise ModelError("GMM", f"{len(bad)} Gaussians have no finite constant (first: {bad[0]})", mend=mend)
    result: FloatArray = constants.astype(np.float32)
    return result


def read_model(path: str | Path) -> tuple[TransitionModel, AmDiagGmm]:
    """Both halves of a GMM model file of Kaldi (final.mdl, final.alimdl), binary or text."""
    reader = open_object(path)
    transitions = _read_transitions(reader, str(path))
    gmm = _read_gmms(reader, str(path))
    reader.finish()
    return transitions, gmm


def read_transition_model(path: str | Path) -> TransitionModel:
    """The transition model that starts a model file, whatever follows (GMM, nnet or nothing)."""
    return _read_transitions(open_object(path), str(path))


def read_am(path: str | Path) -> AmDiagGmm:
    """The GMMs of a model file."""
    return read_model(path)[1]


def write_model(path: str | Path, transitions: TransitionModel, gmm: AmDiagGmm) -> None:
    """Writes both as Kaldi's binary model file, whole or not at all."""
    with write_whole(path, "wb") as file:
        file.write(model_bytes(transitions, gmm))


def model_bytes(transitions: TransitionModel, gmm: AmDiagGmm) -> bytes:
    writer = ObjectWriter()
    writer.token("<TransitionModel>")
    write_topology_object(writer, transitions.topology)
    loops = transitions.self_loop_pdfs
    rows = transitions.tuples if loops is None else np.column_stack([transitions.tuples, loops])
    name = "Triples" if loops is None else "Tuples"
    writer.token(f"<{name}>").integer(transitions.num_transition_states)
    for row in rows.tolist():
        for value in row:
            writer.integer(value)
    writer.token(f"</{name}>").token("<LogProbs>").vector(transitions.log_probs).token("</LogProbs>")
    writer.token("</TransitionModel>")
    writer.token("<DIMENSION>").integer(gmm.dim).token("<NUMPDFS>").integer(gmm.num_pdfs)
    for start, end in zip(gmm.offsets[:-1], gmm.offsets[1:], strict=True):
        writer.token("<DiagGMM>").token("<GCONSTS>").vector(gmm.gconsts[start:end])
        writer.token("<WEIGHTS>").vector(gmm.weights[start:end])
        writer.token("<MEANS_INVVARS>").matrix(gmm.means_invvars[start:end])
        writer.token("<INV_VARS>").matrix(gmm.inv_vars[start:end]).token("</DiagGMM>")
    return writer.data()


def _read_transitions(reader: ObjectReader, where: str) -> TransitionModel:
    reader.token("<TransitionModel>")
    topology = read_topology_object(reader, where)
    name, width = ("Tuples", 4) if reader.peek() == "<Tuples>" else ("Triples", 3)
    reader.token(f"<{name}>")
    rows = [[reader.integer() for _ in range(width)] for _ in range(reader.integer())]
    reader.token(f"</{name}>")
    tuples = np.array(rows, np.int32).reshape(-1, width)
    _check_tuples(tuples.tolist(), topology, where)
    reader.token("<LogProbs>")
    log_probs = reader.vector()
    reader.token("</LogProbs>")
    reader.token("</TransitionModel>")
    try:
        return TransitionModel(topology, tuples[:, :3], log_probs, tuples[:, 3] if width == 4 else None)
    except ModelError as error:
        raise ModelError(where, str(error), mend=MEND) from None


def _check_tuples(tuples: list[list[int]], topology: HmmTopology, where: str) -> None:
    for phone, state, *pdfs in tuples:
        known = topology.hmm(phone) if phone in topology.phones else ()
        if state >= len(known) or state < 0 or min(pdfs) < 0 or known[state].pdf_class < 0:
            problem = f"transition state (phone {phone}, state {state}, pdf {pdfs[0]}) does not fit its own topology"
            raise ModelError(where, problem, mend=MEND)


def _read_gmms(reader: ObjectReader, where: str) -> AmDiagGmm:
    reader.token("<DIMENSION>")
    dim = reader.integer()
    reader.token("<NUMPDFS>")
    parts = [_read_gmm(reader) for _ in range(reader.integer())]
    if not parts or any(part[2].shape != (len(part[0]), dim) or part[3].shape != part[2].shape for part in parts):
        raise ModelError(where, f"a GMM has not the announced dimension {dim}, or there is none", mend=MEND)
    offsets = np.cumsum([0, *(len(part[0]) for part in parts)])
    weights, gconsts, means_invvars, inv_vars = (np.concatenate([part[k] for part in parts]) for k in range(4))
    return AmDiagGmm(offsets, weights, means_invvars, inv_vars, gconsts)


def _read_gmm(reader: ObjectReader) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Weights, constants, means_invvars and inv_vars of one <DiagGMM>; constants are computed where there are none."""
    reader.token("<DiagGMM>")
    gconsts = None
    if reader.peek() == "<GCONSTS>":
        reader.token()
        gconsts = reader.vector()
    reader.token("<WEIGHTS>")
    weights = reader.vector()
    reader.token("<MEANS_INVVARS>")
    means_invvars = reader.matrix()
    reader.token("<INV_VARS>")
    inv_vars = reader.matrix()
    reader.token("</DiagGMM>")
    if gconsts is None:
        gconsts = compute_gconsts(weights, means_invvars, inv_vars)
    return weights, gconsts, means_invvars, inv_vars
