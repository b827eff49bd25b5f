"""Choose how ``bench run`` starts its runs: one after another, or as Ray tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..runner.ray_launcher import Cluster


def chosen_cluster(launcher: str | None, address: str | None, cpus: int | None, gpus: float | None) -> Cluster | None:
    """Return the cluster that the options ask for; None where runs are done in this process.

    Raises:
        ConfigError: there is no such launcher, an option needs it, or Ray is not installed.
    """
    options = {"--address": address, "--cpus-per-run": cpus, "--gpus-per-run": gpus}
    if launcher is None:
        for name, value in options.items():
            if value is not None:
                raise ConfigError(f"{name} is an option of --launcher ray; add that")
        return None
    if launcher != "ray":
        raise ConfigError(f"--launcher {launcher}: the one launcher is ray; leave it out to run in this process")
    from ..runner.ray_launcher import Cluster, require_ray

    require_ray()
    return Cluster(address or "", cpus or 1, gpus or 0.0)
