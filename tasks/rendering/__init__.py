"""Headless rendering through EGL."""
