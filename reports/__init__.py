"""Figures, tables and the page, as pure functions of run folders."""
