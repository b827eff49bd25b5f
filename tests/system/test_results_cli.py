"""``bench results`` as a user runs it, on synthetic run folders."""

import json
import re

import pytest

from benchmark.store import pack, packing

NUMBERS = r"{}[+-]?\d+\.\d+ \[[+-]?\d+\.\d+, [+-]?\d+\.\d+\]{}"


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


def test_results_are_checked_and_compared(bench, runs):
    bench("results", "pack", "runs")
    checked = bench("results", "check", "runs.pack.zip")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[-1] == "runs.pack.zip: 12 runs, 0 faults"
    assert "note: vc1: nothing says what it was trained on" in checked.stdout

    compared = bench("results", "compare", "runs.pack.zip", "runs", "--encoder", "vc1", "--against", "r3m")
    assert compared.returncode == 0, compared.stderr
    table, mean, better, pairs = compared.stdout.rstrip().rsplit("\n", 3)
    assert "vc1 against r3m: return_best, suite small-builtin-paper-r1" in table
    assert re.fullmatch(NUMBERS.format("Mean over 2 tasks: ", " points of the better one's mean return"), mean)
    assert re.fullmatch(NUMBERS.format("Probability of improvement: ", ""), better)
    assert pairs == "6 pairs by task and seed, 0 of them equal to the bit; 0 runs without a partner"

    same = bench("results", "compare", "runs.pack.zip", "runs", "--measure", "success_last")
    assert same.stdout.count("6 pairs by task and seed, 6 of them equal to the bit") == 2

    schema = json.loads(bench("results", "schema").stdout)
    assert schema["properties"]["runs"]["type"] == "array"


def test_a_forged_pack_fails_the_check_and_names_the_run(bench, runs):
    path = packing.make([runs]).path
    first, *others = pack.read(path)
    first.metrics[-1]["evaluation_success"] = 1.5
    pack.write(path, [first, *others])
    checked = bench("results", "check", "runs.pack.zip")
    assert checked.returncode == 1
    *_, fault, last = checked.stdout.splitlines()
    assert fault.startswith("fault: small-builtin-paper-r1/door/r3m/seed-0: the mean success of iteration 20 is 1.5 in")
    assert last == "runs.pack.zip: 12 runs, 1 fault"


def test_a_card_and_results_for_the_hub_are_written(bench, runs):
    bench("results", "pack", "runs")
    done = bench("results", "card", "runs.pack.zip", "--dataset", "you/results")
    assert done.returncode == 0, done.stderr
    files = ("README.md", ".eval_results/hindex-bench-vc1.yaml", ".eval_results/hindex-bench-r3m.yaml")
    assert done.stdout.splitlines() == [f"card/{name}" for name in files]
    assert "12 finished runs in `runs.pack.zip`" in (runs.parent / "card" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("pack", "nowhere"), "nowhere is neither a folder of runs nor a pack"),
        (("pack", "runs", "--out", "results.zip"), "give NAME.pack.zip"),
        (("add", "nowhere.pack.zip"), "cannot read nowhere.pack.zip: No such file or directory"),
        (("check", "nowhere.pack.zip"), "cannot read nowhere.pack.zip: No such file or directory"),
        (("card", "runs", "--dataset", "results"), "--dataset results: expected OWNER/NAME"),
        (("compare", "runs", "nowhere"), "nowhere is neither a pack nor a folder of runs"),
        (("compare", "runs", "runs", "--encoder", "rrl"), "'rrl' is no encoder here; available: vc1, r3m"),
        (("compare", "runs", "runs", "--measure", "luck"), "--measure luck: expected return_best, return_last, "),
    ],
)
def test_a_mistake_is_told_in_one_line(bench, runs, arguments, complaint):
    done = bench("results", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert complaint in done.stderr
