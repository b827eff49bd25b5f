"""Figures, and the specification of each: its caption, or the command that makes the runs it needs."""
