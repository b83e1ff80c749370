"""Augmentations of training pairs: one a file, each with its config; all are off unless a YAML asks for them.

Every draw comes from (seed, augmentation, step, slot, utterance), so that neither workers nor ranks change a byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from enhance.augment.low_pass import LowPassConfig


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    low_pass: LowPassConfig = field(default_factory=LowPassConfig)  # also the input of pairs.task bandwidth
