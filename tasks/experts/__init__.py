"""State-based experts: small networks as plain arrays, evaluated in numpy."""

from .policy import Expert, card_path, read_card, shipped, shipped_card, shipped_names

__all__ = ["Expert", "card_path", "read_card", "shipped", "shipped_card", "shipped_names"]
