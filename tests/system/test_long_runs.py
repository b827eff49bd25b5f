"""A run of many iterations keeps no more memory than it had after a few."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import tiny_config

from benchmark.runner.runner import run
from benchmark.store.run_folder import RunFolder
from tasks.rendering import render

ITERATIONS, WARM = 200, 40


def resident(process):
    """Megabytes of memory that a process holds now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def children(process):
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def open_files(process):
    return len(os.listdir(f"/proc/{process}/fd"))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_does_not_grow_over_200_iterations(workers, demonstration_file, tiny_encoder, tmp_path, monkeypatch):
    """Of this process, of its workers, and of the files and OpenGL contexts that they hold."""
    seen, contexts = [], []
    original, opened = RunFolder.append_metrics, render.open_context

    def watched(folder, row):
        me = os.getpid()
        held = [resident(each) for each in (me, *children(me))]
        seen.append((sum(held), sum(map(open_files, (me, *children(me)))), len(contexts)))
        return original(folder, row)

    def counted(*arguments):
        contexts.append(1)
        return opened(*arguments)

    monkeypatch.setattr(RunFolder, "append_metrics", watched)
    monkeypatch.setattr(render, "open_context", counted)
    settings = (
        f"learner.iterations={ITERATIONS}",
        "evaluation.every=20",
        "evaluation.video=false",
        "rollout.horizon=3",
    )
    run(tiny_config(demonstration_file("pen"), *settings, encoder=tiny_encoder, workers=workers), tmp_path)
    memory, files, opened_contexts = np.transpose(seen[WARM:])
    assert len(memory) == ITERATIONS + 1 - WARM
    assert memory[-20:].mean() < 1.01 * memory[:20].mean()
    assert files[-1] == files[0]
    assert opened_contexts[-1] == opened_contexts[0]
