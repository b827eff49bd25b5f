"""``bench results`` as a user runs it, on synthetic run folders."""

import pytest


@pytest.fixture
def runs(synthetic, tmp_path):
    cells = [(encoder, task, seed) for encoder in ("vc1", "r3m") for task in ("pen", "door") for seed in (0, 1, 2)]
    made = [synthetic.Run(*cell) for cell in cells] + [synthetic.Run("mvp", "pen", 0, state="crashed")]
    return synthetic.write_suite(tmp_path / "runs", made, sides=False, films=False)


def test_runs_are_packed_added_and_verified(bench, runs):
    packed = bench("results", "pack", "runs")
    assert packed.returncode == 0, packed.stderr
    assert packed.stdout.startswith(f"{runs.parent / 'runs.pack.zip'}: 12 runs, ")
    assert packed.stderr == f"left out: {runs / 'small-builtin-paper-r1/pen/mvp/seed-0'}: not finished\n"

    added = bench("results", "add", "runs.pack.zip", "--to", "shared")
    assert (added.returncode, added.stdout) == (0, "shared/runs.pack.zip\n")
    verified = bench("verify", "shared")
    assert (verified.returncode, verified.stdout) == (0, "1 packs: nothing is altered, missing or damaged\n")

    path = runs.parent / "shared" / "runs.pack.zip"
    content = path.read_bytes()
    path.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    verified = bench("verify", "shared")
    assert verified.returncode == 1
    assert str(path) in verified.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("pack", "nowhere"), "nowhere is neither a folder of runs nor a pack"),
        (("pack", "runs", "--out", "results.zip"), "give NAME.pack.zip"),
        (("add", "nowhere.pack.zip"), "cannot read nowhere.pack.zip: No such file or directory"),
    ],
)
def test_a_mistake_is_told_in_one_line(bench, runs, arguments, complaint):
    done = bench("results", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert complaint in done.stderr
