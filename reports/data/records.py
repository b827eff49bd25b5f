"""What a report takes from the files of a run folder: which fields, of which types, within which bounds.

Files may be damaged, foreign or hostile. Every value passes one of these models once; what does not fit makes the
whole folder a named problem, and the rest of the report can rely on types. Fields that no report uses are dropped.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

LARGEST = 1e12
"""Numbers beyond this are damage: no return, time or memory comes near it, and figures cannot be drawn of them."""

LONGEST = 2_000
"""Letters kept of a text; what is longer ends in an ellipsis."""

MOST_ENTRIES = 200
"""Entries of a list or a dict."""


def clean(text: str, most: int = LONGEST) -> str:
    r"""Return text that is safe to show: one line, printable; control and invisible characters become escapes.

    >>> clean("a\nb\x1b[31m")
    'a\\nb\\x1b[31m'
    """
    shown = text if len(text) <= most else f"{text[:most]}…"
    if shown.isprintable():
        return shown
    return "".join(letter if letter.isprintable() else _visible(letter) for letter in shown)


def _visible(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _one_or_nothing(value: Any) -> Any:
    return {} if value is None else value


Text = Annotated[str, Field(strict=True), AfterValidator(clean)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=LARGEST)]
Count = Annotated[int, Field(strict=True, ge=0, le=int(LARGEST))]
Whole = Annotated[int, Field(strict=True, ge=-int(LARGEST), le=int(LARGEST))]
Flag = Annotated[bool, Field(strict=True)]
Setting = Whole | Number | Flag | Text | None
"""A number, a flag or a word, as settings are."""


class Record(BaseModel):
    """Return an object in a file; fields it does not name are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class EMA(Record):
    """Settings of Stage 3."""

    momentum: Annotated[Amount, Field(le=1)] | None = None
    scope: Text | None = None
    reset: Text | None = None
    streams: Count | None = None


class Learner(Record):
    """Settings of the learner that the page shows."""

    algorithm: Setting = None
    bc_epochs: Setting = None
    iterations: Setting = None
    trajectories_per_iteration: Setting = None


class Policy(Record):
    """Settings of the policy that the page shows."""

    head: Setting = None


class Observation(Record):
    """Settings of the observation that the page shows."""

    history: Setting = None
    fusion: Setting = None


class Demonstrations(Record):
    """Settings of the demonstrations that the page shows."""

    episodes: Setting = None
    source: Setting = None
    scene: Setting = None
    until: Setting = None


class Rollout(Record):
    """Settings of the rollouts that the page shows."""

    horizon: Setting = None
    quality: Setting = None


class Evaluation(Record):
    """Settings of the evaluations that the page shows."""

    episodes: Setting = None
    seeds: Setting = None
    held_out_episodes: Setting = None


class Config(Record):
    """``config.json``."""

    adapt: Text | None = None
    ema: EMA | None = None
    normalise: Text | None = None
    precision: Text | None = None
    objects: Setting = None
    physics: Setting = None
    learner: Learner | None = None
    policy: Policy | None = None
    observation: Observation | None = None
    demonstrations: Demonstrations | None = None
    rollout: Rollout | None = None
    evaluation: Evaluation | None = None
    synthetic: Flag | None = None


class IdentityEncoder(Record):
    """What an identity says of the encoder."""

    weights: Text | None = None
    weights_sha256: Text | None = None
    adaptation_sha256: Text | None = None
    uses_images: Flag = True
    precision: Text | None = None
    backend: Text | None = None


class Identity(Record):
    """``identity.json``."""

    config: Config | None = None
    encoder: Annotated[IdentityEncoder, BeforeValidator(_one_or_nothing)] = IdentityEncoder()
    device: Text | None = None
    task_results_version: Count = 1
    frames_results_version: Count = 1


class Weights(Record):
    """Where an encoder's weights come from."""

    kind: Text | None = None
    sha256: Text | None = None
    label: Text | None = None


class Adaptation(Record):
    """The Stage 2 result that a run used."""

    mode: Text | None = None
    source: Text | None = None
    sha256: Text | None = None


class Source(Record):
    """A file of official weights."""

    task: Text | None = None
    url: Text | None = None


class Card(Record):
    """An encoder's card."""

    architecture: Text | None = None
    parameters: Count | None = None
    feature_dim: Count | None = None
    feature: Text | None = None
    licence: Text | None = None
    commercial_use: Flag | None = None
    citation: Text | None = None
    trained_on: Text | None = None
    saw_benchmark: Flag | None = None
    deviations: Annotated[list[Text], Field(max_length=MOST_ENTRIES)] | None = None
    sources: Annotated[list[Source], Field(max_length=MOST_ENTRIES)] | None = None


class Parts(Record):
    """What a title is built from, see `benchmark.store.titles`."""

    encoder: Text
    variant: Text = ""


class Encoder(Record):
    """``encoder.json``; `parts` of the title are missing in folders from before they were kept."""

    parts: Parts | None = None
    weights: Weights | None = None
    adaptation: Adaptation | None = None
    card: Card | None = None
    ema: EMA | None = None
    synthetic: Flag | None = None


class Machine(Record):
    """``machine.json``."""

    cpu: Text | None = None
    cpu_count: Count | None = None
    platform: Text | None = None
    version: Text | None = None
    commit: Text | None = None
    python: Text | None = None
    packages: Annotated[dict[Text, Text], Field(max_length=MOST_ENTRIES)] | None = None


class Metrics(Record):
    """A line of ``metrics.jsonl``."""

    iteration: Annotated[Whole, Field(ge=-1)]
    steps: Count
    seconds: Annotated[dict[Text, Amount], Field(max_length=MOST_ENTRIES)] | None = None
    steps_per_second: Amount | None = None
    memory_mb: Amount | None = None
    gpu_memory_mb: Amount | None = None
    unstable: Count | None = None
    evaluation_unstable: Count | None = None
    skipped: Flag | None = None


class ProbeRow(Record):
    """A quantity in a probe's file; the R² are null where the quantity is constant."""

    quantity: Text
    dimensions: Annotated[list[Text], Field(max_length=MOST_ENTRIES)] | None = None
    r2: Annotated[Number, Field(le=1)] | None = None
    low: Annotated[Number, Field(le=1)] | None = None
    high: Annotated[Number, Field(le=1)] | None = None
    clock_r2: Annotated[Number, Field(le=1)] | None = None
    constant: Flag | None = None


class Probe(Record):
    """``probe/<title>/<task>.json``."""

    task: Text
    title: Text
    synthetic: Flag | None = None
    rows: Annotated[list[ProbeRow], Field(max_length=MOST_ENTRIES)]


class Mean(Record):
    """Return a mean with its interval."""

    mean: Number
    low: Number
    high: Number


class HeldOut(Record):
    """How well Stage 2 draws held-out episodes."""

    psnr: Annotated[dict[Text, Mean], Field(max_length=MOST_ENTRIES)] = {}
    psnr_of_episodes: Annotated[list[Number], Field(max_length=10_000)] = []
    keypoints_on_hand_or_object: Annotated[dict[Text, Mean], Field(max_length=MOST_ENTRIES)] = {}


class HeldOutOfTasks(HeldOut):
    """The same, and of each task where several were trained together."""

    by_task: Annotated[dict[Text, HeldOut], Field(max_length=MOST_ENTRIES)] | None = None


class AdaptedEncoder(Record):
    """The encoder that was adapted."""

    title: Text
    weights_sha256: Text | None = None


class Trained(Record):
    """What of the encoder was trained."""

    mode: Text


class Data(Record):
    """The frames that it was trained on."""

    sha256: Text | None = None


class AdaptationCard(Record):
    """``adapt/<task>/<title>/card.json``; with numbers of held-out episodes it says what they are of."""

    task: Text | None = None
    encoder: AdaptedEncoder | None = None
    trained: Trained | None = None
    training: Annotated[dict[Text, Setting], Field(max_length=MOST_ENTRIES)] | None = None
    data: Data | None = None
    heads: Text | None = None
    perceptual_network: Text | None = None
    held_out: HeldOutOfTasks | None = None
    synthetic: Flag | None = None

    @model_validator(mode="after")
    def _numbers_are_of_something(self) -> AdaptationCard:
        needed = ("task", "encoder", "trained", "training", "data", "heads", "perceptual_network")
        missing = [name for name in needed if getattr(self, name) is None]
        if self.held_out is not None and missing:
            raise ValueError(f"no {', '.join(missing)} beside the numbers of held-out episodes")
        if self.held_out is not None and not isinstance((self.training or {}).get("steps"), int):
            raise ValueError("training.steps is no whole number")
        return self


def first_fault(error: ValidationError) -> str:
    """Return what a validation found first, on one line: ``learner.iterations: input should be a valid integer``."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join(str(part) for part in faults[0]["loc"])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    message = str(faults[0]["msg"])
    return clean(f"{where}: {message[:1].lower()}{message[1:]}{more}", 300)
