"""One frozen record an encoder: what it is, what it sees, where its weights come from and what they permit.

Source: H-InDex (NeurIPS 2023, arXiv 2310.01404) and its released code; torchvision; FrankMocap.
"""

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
        md5: where that is published.
        sha256_prefix: the first digits of the hash, where only they are published.
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
        sources: the official weights files; empty where there are none by definition.
        licence: of the weights.
        commercial_use: whether the licence permits it; None where unclear.
        citation: the work to cite.
        deviations: where this encoder differs from what its authors trained, in words.
        results_version: raised when the numbers that this encoder gives change.
        unused: what an official file holds beside the encoder and loading leaves out, in words or starts of names.
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

    @property
    def uses_images(self) -> bool:
        """Whether the encoder sees images at all."""
        return self.feature_dim > 0


_RESNET50 = "torchvision ResNet-50 trunk"
_POOLED = "mean over the 7 x 7 positions after layer4"
_RESNET50_PARAMETERS = 23_508_032

_ADAPTED_ARCHIVE = "https://drive.google.com/file/d/1TPCAnZMOcgErMruZ45R8MAg7b4iWu5DT"
_ADAPTED_FILES = {
    "hammer": "hammer-v0.pth",
    "door": "door-v0.pth",
    "pen": "pen-v0.pth",
    "pour": "pour.pth",
    "place_inside": "place_inside.pth",
    "relocate-mug": "relocate-mug.pth",
    "relocate-foam_brick": "relocate-foam_brick.pth",
    "relocate-large_clamp": "relocate-large_clamp.pth",
    "relocate-mustard_bottle": "relocate-mustard_bottle.pth",
    "relocate-potted_meat_can": "relocate-potted_meat_can.pth",
    "relocate-sugar_box": "relocate-sugar_box.pth",
    "relocate-tomato_soup_can": "relocate-tomato_soup_can.pth",
}

_CARDS = (
    Card(
        name="hindex",
        architecture=_RESNET50,
        feature_dim=2048,
        feature=_POOLED,
        normalisation=UNIT,
        parameters=_RESNET50_PARAMETERS,
        sources=tuple(
            Source(filename, _ADAPTED_ARCHIVE, task=task, direct=False) for task, filename in _ADAPTED_FILES.items()
        ),
        licence="not stated; repository MIT, derived from FrankMocap (CC BY-NC 4.0)",
        commercial_use=False,
        citation="Ze et al., H-InDex, NeurIPS 2023, arXiv 2310.01404",
        deviations=("the moving-average BatchNorm of Stage 3 is a setting of the run, not of this encoder",),
    ),
    Card(
        name="frankmocap_hand",
        architecture=_RESNET50,
        feature_dim=2048,
        feature=_POOLED,
        normalisation=IMAGENET,
        native=Normalisation("native", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), bgr=True),
        parameters=_RESNET50_PARAMETERS,
        sources=(
            Source(
                "frankmocap_hand.pth",
                "https://dl.fbaipublicfiles.com/eft/fairmocap_data/hand_module/checkpoints_best/pose_shape_best.pth",
            ),
        ),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        citation="Rong et al., FrankMocap, ICCV Workshops 2021, arXiv 2008.08324",
        deviations=("trained on BGR in [-1, 1]; H-InDex feeds ImageNet-normalised RGB",),
    ),
    Card(
        name="rrl",
        architecture=_RESNET50,
        feature_dim=2048,
        feature=_POOLED,
        normalisation=IMAGENET,
        parameters=_RESNET50_PARAMETERS,
        sources=(
            Source(
                "resnet50-0676ba61.pth",
                "https://download.pytorch.org/models/resnet50-0676ba61.pth",
                sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
            ),
        ),
        licence="BSD-3-Clause",
        commercial_use=True,
        citation="Shah and Kumar, RRL: ResNet as representation for RL, ICML 2021, arXiv 2107.03380",
        deviations=("IMAGENET1K_V1 weights of a ResNet-50, as in H-InDex; RRL itself used a ResNet-34",),
    ),
    Card(
        name="random",
        architecture=_RESNET50,
        feature_dim=2048,
        feature=_POOLED,
        normalisation=IMAGENET,
        parameters=_RESNET50_PARAMETERS,
        licence="none needed",
        commercial_use=True,
        citation="control of this benchmark",
        deviations=("never trained: seeded random weights",),
    ),
    Card(
        name="state",
        architecture="none",
        feature_dim=0,
        feature="no image; the policy sees the task's privileged state",
        normalisation=UNIT,
        parameters=0,
        licence="none needed",
        commercial_use=True,
        citation="control of this benchmark",
    ),
)

CARDS: dict[str, Card] = {card.name: card for card in _CARDS}
