"""``bench`` with the documented commands made small: the same command line, and options at its end that shorten it."""

import sys

from benchmark.cli.app import main

RUN = {
    "demonstrations.episodes": 1,
    "demonstrations.until": "success",
    "rollout.horizon": 4,
    "rollout.slots": 2,
    "rollout.group": 1,
    "learner.iterations": 1,
    "learner.trajectories_per_iteration": 2,
    "learner.policy_hidden": [8],
    "evaluation.episodes": 2,
    "evaluation.every": 1,
    "evaluation.untrained": False,
    "adaptation.size": 64,
    "adaptation.steps": 2,
    "adaptation.batch": 2,
    "adaptation.videos": 2,
    "adaptation.held_out": 1,
    "torch_threads": 2,
}
ADAPT = {"size": 64, "batch": 2, "steps": 2, "videos": 3, "held_out": 1}
PRETRAIN = {"size": 64, "batch": 4, "held_out": 8}


def overrides(settings):
    """Return ``--set KEY=VALUE`` for each setting."""
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


SMALLER = {
    "run": ["--workers", "0", *overrides(RUN)],
    "adapt": ["--workers", "0", *overrides(ADAPT)],
    "pretrain": ["--steps", "2", "--workers", "1", *overrides(PRETRAIN)],
    "probe": ["--episodes", "6", "--frames", "2"],
    "eval": ["--episodes", "1", "--workers", "0"],
    "encoders speed": ["--batch", "1"],
    "demos collect": ["--episodes", "1"],
}
SMALLER["ablate"] = SMALLER["run"]


def smaller(arguments):
    """Return the arguments followed by the options that make this command small; a later option wins."""
    for words in (2, 1):
        command = " ".join(arguments[:words])
        if command in SMALLER:
            return [*arguments, *SMALLER[command]]
    return list(arguments)


if __name__ == "__main__":
    sys.argv[1:] = smaller(sys.argv[1:])
    main()
