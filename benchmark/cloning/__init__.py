"""Cloning by epochs, for the protocols of imitation: the head with BatchNorm, and the training."""

from __future__ import annotations

from .head import BatchNormPolicy, FramesPolicy, Policy
from .training import Cloning

__all__ = ["BatchNormPolicy", "Cloning", "FramesPolicy", "Policy"]
