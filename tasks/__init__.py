"""The dexterous tasks: scenes, resets, observations, rewards and success rules.

``tasks.make("door", slots=16)`` builds a vectorised task; importing this package imports neither MuJoCo nor torch.
"""

from .registry import card, expert, get, has_expert, is_importable, make, names, plugin_sha256

__all__ = ["card", "expert", "get", "has_expert", "is_importable", "make", "names", "plugin_sha256"]
