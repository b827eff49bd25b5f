"""Types of settings with bounds; see `benchmark.limits`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .limits import LARGEST_BATCH, LARGEST_SEED, MOST_EPISODES, MOST_PROCESSES, MOST_REPEATS

Episodes = Annotated[int, Field(ge=1, le=MOST_EPISODES)]
Horizon = Annotated[int, Field(ge=1, le=100_000)]
Slots = Annotated[int, Field(ge=1, le=4096)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Hidden = Annotated[tuple[Width, ...], Field(max_length=32)]
Batch = Annotated[int, Field(ge=1, le=LARGEST_BATCH)]
Iterations = Annotated[int, Field(ge=0, le=MOST_REPEATS)]
Repeats = Annotated[int, Field(ge=1, le=MOST_REPEATS)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
Videos = Annotated[int, Field(ge=2, le=10_000)]
Processes = Annotated[int, Field(ge=0, le=MOST_PROCESSES)]
Workers = Annotated[int, Field(ge=1, le=MOST_PROCESSES)]
Threads = Annotated[int, Field(ge=1, le=MOST_PROCESSES)]
DeviceNumber = Annotated[int, Field(ge=0, le=MOST_PROCESSES)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
