"""Errors a user can cause or mend: one line each, printed by the command line without a traceback."""


class BenchError(Exception):
    """Base of the benchmark's own errors.

    The message is one line: what was wrong, what was expected, and the command that mends it.
    """


class ConfigError(BenchError):
    """A configuration, preset or override that cannot be used."""


class OutputError(BenchError):
    """An output folder that cannot be written, is in use, or holds another run."""


class FolderError(OutputError):
    """One folder of results that cannot be used as it is: damaged, altered, in use, or of another run.

    Other folders are not concerned, so a sweep goes on with its other runs.
    """


class FolderInUse(FolderError):
    """A folder that another process is writing."""


class PackError(OutputError):
    """A pack of results that is damaged, altered, or none."""


class IntruderError(BenchError):
    """One of our top-level packages was imported from somewhere else."""


class GraphicsError(BenchError):
    """This machine cannot render headlessly."""


class SimulationError(BenchError):
    """A simulation worker died or failed."""


class OutOfMemory(BenchError):
    """The memory of this machine or its GPU is exhausted."""
