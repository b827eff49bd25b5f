"""Simulation workers that die; a module of its own, since worker processes import them by name."""

import os
import signal

FLAG = "HINDEX_BENCH_TEST_DIED"


def serve_and_die(pipe, settings, first, stop, memory):
    """Start, and die at the first command."""
    pipe.send(None)
    pipe.recv()
    os._exit(3)


def die_at_once(pipe, *arguments):
    """Die before the first answer."""
    os._exit(3)


def die_the_first_time(pipe, *arguments):
    """Be killed before the first answer in the one process that makes the file FLAG names; serve in all others."""
    from benchmark.rollout.simulators import _serve

    try:
        os.close(os.open(os.environ[FLAG], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        _serve(pipe, *arguments)
    else:
        os.kill(os.getpid(), signal.SIGKILL)
