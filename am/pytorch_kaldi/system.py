"""What a pytorch-kaldi .cfg says: feature streams, nets, and the computation that joins them.

The format: an INI file with [exp], [dataset1] ..., [data_use], [batches], [architecture1] ..., [model] and [forward].
The features of a data set are a list of `key=value` lines in one value, the computation is lines `out=operation(a,b)`
(Ravanelli, Parcollet, Bengio 2019, arXiv:1811.07453).
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigError

LINE = re.compile(r"(\w+)\s*=\s*(\w+)\s*\((.*)\)")


@dataclass(frozen=True)
class Stream:
    """One kind of features."""

    name: str
    options: str  # the Kaldi programs that the features are piped through
    left: int  # frames of context
    right: int


@dataclass(frozen=True)
class Step:
    """One line of the computation."""

    operation: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """Values of one section, read by kind.  Raises ConfigError, with file and section, for what is missing or wrong."""

    path: Path
    name: str
    values: Mapping[str, str]

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.path} [{self.name}]"

    def text(self, key: str, default: str | None = None) -> str:
        """The value as it stands."""
        value = self.values.get(key.lower(), default)
        if value is None:
            raise ConfigError(self.where, f"lacks {key}", mend="give the .cfg that pytorch-kaldi ran with")
        return value.strip()

    def words(self, key: str) -> list[str]:
        """Comma-separated words."""
        return [word.strip() for word in self.text(key).split(",")]

    def integers(self, key: str) -> list[int]:
        """Comma-separated whole numbers."""
        return [int(self._number(key, word, int)) for word in self.words(key)]

    def floats(self, key: str) -> list[float]:
        """Comma-separated numbers; of a schedule by epochs, such as 0.2*10|0.1*14, its first."""
        return [self._number(key, word.split("|")[0].split("*")[0], float) for word in self.words(key)]

    def flags(self, key: str) -> list[bool]:
        """Comma-separated truths."""
        return [self._flag(key, word) for word in self.words(key)]

    def integer(self, key: str) -> int:
        """One whole number; of a schedule its first."""
        return int(self._number(key, self.text(key).split("|")[0].split("*")[0], int))

    def flag(self, key: str, default: str | None = None) -> bool:
        """One truth."""
        return self._flag(key, self.text(key, default))

    def scheduled(self, key: str) -> bool:
        """Whether a value changes with the epochs."""
        return "|" in self.text(key, "")

    def _number(self, key: str, word: str, kind: type[int] | type[float]) -> float:
        try:
            return kind(word)
        except ValueError:
            problem = f"{key}: {word!r} is not a {'whole ' if kind is int else ''}number"
            raise ConfigError(self.where, problem, mend="correct the value") from None

    def _flag(self, key: str, word: str) -> bool:
        lower = word.lower()
        if lower in ("true", "yes", "on", "1", "t", "y"):
            return True
        if lower in ("false", "no", "off", "0", "f", "n"):
            return False
        raise ConfigError(self.where, f"{key}: {word!r} is neither True nor False", mend="correct the value")


@dataclass(frozen=True)
class Net:
    """One [architectureN]."""

    name: str
    kind: str  # its class in pytorch-kaldi, such as liGRU
    options: Section

    @property
    def file(self) -> str:
        """What its trained weights are called."""
        return f"final_{self.options.name}.pkl"


@dataclass(frozen=True)
class System:
    """A whole .cfg."""

    path: Path
    streams: Mapping[str, Stream]
    nets: Mapping[str, Net]
    steps: Mapping[str, Step]
    exp: Section
    batches: Section
    outputs: tuple[str, ...]  # what the forward pass writes

    @property
    def forward_out(self) -> str:
        """The output that is decoded: the first."""
        return self.outputs[0]

    def chain(self, output: str) -> tuple[tuple[str, ...], list[Net]]:
        """The streams and then the nets, in order, that make an output of the computation.

        Raises ConfigError where it is not one net after the other.
        """
        nets: list[Net] = []
        seen: set[str] = set()
        while output in self.steps and output not in seen:
            seen.add(output)
            step = self.steps[output]
            if step.operation == "concatenate" and all(name in self.streams for name in step.arguments):
                return step.arguments, nets
            if step.operation != "compute" or len(step.arguments) != 2:
                raise self.refused(f"{output}={step.operation}({','.join(step.arguments)})")
            nets.insert(0, self.net(step.arguments[0]))
            output = step.arguments[1]
        if output not in self.streams:
            problem = f"{output!r} is neither a feature nor computed from one"
            raise ConfigError(f"{self.path} [model]", problem, mend="correct the model")
        return (output,), nets

    def net(self, name: str) -> Net:
        """A net by its arch_name."""
        if name not in self.nets:
            problem = f"no architecture is called {name!r}"
            raise ConfigError(f"{self.path} [model]", problem, mend=f"there are {', '.join(self.nets)}")
        return self.nets[name]

    def loss(self) -> dict[tuple[str, str], float]:
        """(output, label) -> weight of its cross entropy in loss_final.

        Raises ConfigError for a loss that is no weighted sum of cross entropies.
        """
        return self._loss_of("loss_final", 0)

    def _loss_of(self, name: str, depth: int) -> dict[tuple[str, str], float]:
        step = self.steps.get(name)
        match step:
            case Step("cost_nll", (output, label)):
                return {(output, label): 1.0}
            case Step("mult_constant", (inner, factor)) if depth < len(self.steps) and _is_number(factor):
                return {key: weight * float(factor) for key, weight in self._loss_of(inner, depth + 1).items()}
            case Step("sum", (first, second)) if depth < len(self.steps):
                total = self._loss_of(first, depth + 1)
                for key, weight in self._loss_of(second, depth + 1).items():
                    total[key] = total.get(key, 0.0) + weight
                return total
            case None:
                raise self.refused(f"{name} is not computed")
            case _:
                raise self.refused(f"{name}={step.operation}({','.join(step.arguments)})")

    def refused(self, what: str) -> ConfigError:
        """The error for something that has no counterpart."""
        return ConfigError(f"{self.path} [model]", f"cannot express {what}", mend="simplify the model, or retrain")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_system(path: str | os.PathLike[str]) -> System:
    """Read a .cfg.  Raises ConfigError: missing, no INI file, or without a section that is needed."""
    place = Path(path)
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(place.read_text(encoding="utf-8"), source=str(place))
    except FileNotFoundError:
        raise ConfigError(place, "no such file", mend="give the .cfg of a pytorch-kaldi system") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(place, f"is not a .cfg ({reason})", mend="give the .cfg of a pytorch-kaldi system") from error

    def section(name: str) -> Section:
        if not parser.has_section(name):
            raise ConfigError(place, f"has no section [{name}]", mend="give the .cfg of a pytorch-kaldi system")
        return Section(place, name, dict(parser.items(name)))

    sections = [section(name) for name in parser.sections()]
    nets = [_net(one) for one in sections if one.name.startswith("architecture")]
    return System(
        path=place,
        streams=_streams(_training_set(sections, section("data_use"))),
        nets={net.name: net for net in nets},
        steps=_steps(section("model")),
        exp=section("exp"),
        batches=section("batches"),
        outputs=tuple(section("forward").words("forward_out")),
    )


def _net(section: Section) -> Net:
    return Net(section.text("arch_name"), section.text("arch_class"), section)


def _training_set(sections: list[Section], use: Section) -> Section:
    wanted = use.words("train_with")[0]
    for section in sections:
        if section.name.startswith("dataset") and section.text("data_name") == wanted:
            return section
    raise ConfigError(use.where, f"no data set is called {wanted!r}", mend="correct train_with")


def _streams(section: Section) -> dict[str, Stream]:
    """The features of a data set: blocks of key=value lines, each begun by fea_name."""
    blocks: list[dict[str, str]] = []
    for line in filter(None, (line.strip() for line in section.text("fea").splitlines())):
        key, equals, value = line.partition("=")
        if not equals or (key != "fea_name" and not blocks):
            raise ConfigError(section.where, f"fea: expected fea_name=..., got {line!r}", mend="correct the line")
        if key == "fea_name":
            blocks.append({})
        blocks[-1][key] = value.strip()
    found = {}
    for block in blocks:
        values = Section(section.path, f"{section.name}] fea [{block['fea_name']}", block)
        left, right = values.integer("cw_left"), values.integer("cw_right")
        found[block["fea_name"]] = Stream(block["fea_name"], values.text("fea_opts", ""), left, right)
    return found


def _steps(section: Section) -> dict[str, Step]:
    found = {}
    for line in filter(None, (line.strip() for line in section.text("model").splitlines())):
        parts = LINE.fullmatch(line)
        if parts is None:
            raise ConfigError(section.where, f"expected out=operation(...), got {line!r}", mend="correct the line")
        found[parts[1]] = Step(parts[2], tuple(argument.strip() for argument in parts[3].split(",")))
    return found
