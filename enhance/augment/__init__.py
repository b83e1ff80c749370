"""Augmentations of training pairs: one a file, each with its config; all are off unless a YAML asks for them.

Every draw comes from (seed, augmentation, step, slot, utterance), so that neither workers nor processes change a byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from enhance.augment.bandmask import BandMaskConfig
from enhance.augment.child import ChildConfig
from enhance.augment.codec import CodecConfig
from enhance.augment.crusher import CrusherConfig
from enhance.augment.crystalizer import CrystalizerConfig
from enhance.augment.flanger import FlangerConfig
from enhance.augment.low_pass import LowPassConfig
from enhance.augment.microphone import MicrophoneConfig
from enhance.augment.remix import RemixConfig
from enhance.augment.reverb_echo import ReverbEchoConfig
from enhance.augment.room import RoomConfig
from enhance.augment.shift import ShiftConfig
from enhance.augment.vibrato import VibratoConfig

ON_INPUT = ("room", "reverb_echo", "low_pass", "microphone", "crusher", "crystalizer", "vibrato", "flanger", "codec")
BY_SAMPLE = ("child", "crusher", "crystalizer", "vibrato", "flanger", "codec")  # on a CPU, a pair after the other


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """In the order in which they come."""

    shift: ShiftConfig = field(default_factory=ShiftConfig)
    child: ChildConfig = field(default_factory=ChildConfig)
    remix: RemixConfig = field(default_factory=RemixConfig)
    reverb_echo: ReverbEchoConfig = field(default_factory=ReverbEchoConfig)
    room: RoomConfig = field(default_factory=RoomConfig)
    bandmask: BandMaskConfig = field(default_factory=BandMaskConfig)
    low_pass: LowPassConfig = field(default_factory=LowPassConfig)  # also the input of pairs.task bandwidth
    microphone: MicrophoneConfig = field(default_factory=MicrophoneConfig)
    crusher: CrusherConfig = field(default_factory=CrusherConfig)
    crystalizer: CrystalizerConfig = field(default_factory=CrystalizerConfig)
    vibrato: VibratoConfig = field(default_factory=VibratoConfig)
    flanger: FlangerConfig = field(default_factory=FlangerConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)

    def any_of(self, names: tuple[str, ...]) -> str | None:
        """The first of these augmentations that is on."""
        return next((name for name in names if getattr(self, name).probability > 0), None)
