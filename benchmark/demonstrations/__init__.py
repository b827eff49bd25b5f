"""Demonstrations of a run: where they come from, and the policy inputs computed from them."""
