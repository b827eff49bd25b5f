"""The learner: behaviour cloning, then demonstration-augmented natural policy gradient (DAPG)."""

from __future__ import annotations

from .bc import clone_behaviour
from .guard import LearningDiverged, NonFiniteGuard
from .policy import GaussianPolicy
from .update import UpdateReport, dapg_update
from .value import ValueBaseline

__all__ = [
    "GaussianPolicy",
    "LearningDiverged",
    "NonFiniteGuard",
    "UpdateReport",
    "ValueBaseline",
    "clone_behaviour",
    "dapg_update",
]
