"""Errors of the encoders: one line each, saying what was wrong, where, what was expected and what mends it."""


class EncoderError(ValueError):
    """Base of all errors of this package."""

    def __init__(self, message: object) -> None:
        """Keep the message, or that of the error which another process raised, as a single line."""
        super().__init__(" ".join(str(message).split()))


class UnknownEncoder(EncoderError):
    """A name, path or class that leads to no encoder."""


class WeightsMissing(EncoderError):
    """Weights that were asked for and are not on this machine."""


class WeightsInvalid(EncoderError):
    """A weights file that is damaged, holds something else, or must not be opened."""


class EncoderContract(EncoderError):
    """An encoder that breaks the contract of `encoders.Encoder`."""


class PrecisionRefused(EncoderError):
    """A format to compute in that this machine, or this encoder's features, do not bear."""


class BackendRefused(EncoderError):
    """A backend that this machine, or this encoder's network, does not bear."""


class LicenceNotAccepted(EncoderError):
    """Official weights whose licence restricts their use, and nobody here has said that they keep to it."""


def in_words(error: BaseException) -> str:
    """Return what kind of error it is and what it says, even if it cannot say it."""
    try:
        return f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a stranger's error may fail at its own words
        return type(error).__name__
