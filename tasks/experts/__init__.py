"""State-based experts, evaluated in numpy: small networks as plain arrays, or rules."""

from .actor import Actor, ScriptedExpert
from .policy import Expert, card_path, read_card, shipped, shipped_card, shipped_names

__all__ = [
    "Actor",
    "Expert",
    "ScriptedExpert",
    "card_path",
    "read_card",
    "shipped",
    "shipped_card",
    "shipped_names",
]
