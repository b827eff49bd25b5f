"""A simulation worker that dies; a module of its own, since worker processes import it by name."""

import os


def serve_and_die(pipe, settings, first, stop, memory):
    """Start, and die at the first command."""
    pipe.send(None)
    pipe.recv()
    os._exit(3)
