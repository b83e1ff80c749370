"""FFmpeg's audio filters and codecs through PyAV, whose wheel brings the libraries."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np

from harness.errors import ConfigError

LEAD = 0.05  # seconds of silence before the samples: some filters start from memory that nobody has cleared


def filtered(
    samples: np.ndarray, sample_rate: int, name: str, arguments: str, *, delay: float | None = None
) -> np.ndarray:
    """[samples] in [-1, 1] through one FFmpeg filter, as float32 of the same length.

    delay: of the filter in samples, taken out again.  Raises ConfigError without PyAV.
    """
    av = pyav()
    lead, late = round(LEAD * sample_rate), round(delay or 0)
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=sample_rate, format="fltp", layout="mono", time_base=Fraction(1, sample_rate)
    )
    even = graph.add("aformat", f"sample_fmts=fltp:sample_rates={sample_rate}:channel_layouts=mono")
    sink = graph.add("abuffersink")
    graph.link_nodes(source, graph.add(name, arguments), even, sink).configure()
    source.push(frame_of(np.pad(samples, (lead, late)), sample_rate))
    source.push(None)
    pieces = []
    while True:
        try:
            pieces.append(sink.pull().to_ndarray()[0])
        except av.error.EOFError:
            break
    return np.concatenate(pieces)[lead + late :][: len(samples)].astype(np.float32, copy=False)


def coded(samples: np.ndarray, sample_rate: int, codec: str, container: str, bit_rate: int) -> tuple[np.ndarray, int]:
    """([samples], rate) of a round trip in memory; the container says what encoder delay the decoder has to drop.

    bit_rate: bits a second.  Raises ConfigError without PyAV.
    """
    av = pyav()
    packed = io.BytesIO()
    with av.open(packed, "w", format=container) as out:
        stream = out.add_stream(codec, rate=sample_rate)
        stream.bit_rate, stream.layout = bit_rate, "mono"
        convert = av.AudioResampler(format=stream.format, layout="mono", rate=sample_rate)
        for piece in (*convert.resample(frame_of(samples, sample_rate)), *convert.resample(None)):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    packed.seek(0)
    with av.open(packed) as back:
        rate = back.streams.audio[0].rate
        decoded = np.concatenate([piece.to_ndarray()[0] for piece in back.decode(audio=0)])
    return decoded.astype(np.float32, copy=False), int(rate)


def frame_of(samples: np.ndarray, sample_rate: int) -> Any:
    """[samples] as a mono frame of PyAV."""
    frame = pyav().AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
    return frame


def pyav() -> Any:
    """The package av.  Raises ConfigError where it is missing."""
    try:
        import av
        import av.error
        import av.filter
    except ImportError as error:
        problem = "codecs and FFmpeg's filters need the package av"
        raise ConfigError("pairs.augment", problem, mend="pip install av, or switch them off") from error
    return av
