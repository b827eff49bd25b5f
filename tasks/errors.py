"""What goes wrong with tasks: each message is one line that says what, where and what to do."""


class TaskError(ValueError):
    """A task, or something that belongs to one, cannot be used as asked."""

    def __init__(self, message: object) -> None:
        """Keep the message, or that of the error which another process raised, as a single line."""
        super().__init__(" ".join(str(message).split()))


class UnknownTask(TaskError):
    """There is no task of this name."""


class TaskContract(TaskError):
    """A task that breaks the contract of `tasks.base.Task`."""


class AssetError(TaskError):
    """A file of a scene is missing or not the expected one."""


class RenderError(TaskError):
    """Rendering is not possible here."""


class ExpertError(TaskError):
    """A file or a set of arrays does not hold an expert policy."""


class DemonstrationError(TaskError):
    """Demonstrations could not be read, imported or collected."""


def in_words(error: BaseException) -> str:
    """Return what kind of error it is and what it says, even if it cannot say it."""
    try:
        return f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's error may fail at its own words
        return type(error).__name__
