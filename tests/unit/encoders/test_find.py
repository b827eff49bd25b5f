import hashlib
import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from encoders import LicenceNotAccepted, WeightsInvalid, WeightsMissing, build, cards, resolve
from encoders.weights import licences
from encoders.weights.checkpoint import RESNET_LAYOUTS, load_trunk, read, state_sha256
from encoders.zoo.resnet import ResNet50

SMALL = {
    "conv1.weight": torch.arange(12.0).reshape(2, 6),
    "bn1.weight": torch.ones(2),
    "bn1.num_batches_tracked": torch.tensor(7),
    "layer1.0.conv1.weight": torch.full((2, 2), 3.0),
}
PREFIXES = {"torchvision": "", "frankmocap": "main_encoder.", "adapted": "module.pose_net."}
SURPLUS = {
    "torchvision": ("fc.weight", "fc.bias"),
    "frankmocap": ("main_encoder.fc1.weight", "feat_encoder.1.weight", "regressor.0.bias"),
    "adapted": (
        "module.pose_net.deconv_layers.0.weight",
        "module.pose_net.final_layer_unsup.bias",
        "module.pose_net.sup_query.weight",
        "module.pose_net.mh_attn.layers.0.norm1.weight",
        "module.pose_net.sup_weight.weight",
        "module.image_encoder.0.weight",
        "module.pose_encoder.0.weight",
        "module.image_renderer.0.weight",
    ),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def big_folder(tmp_path):
    """For files of a whole network, removed at once: pytest keeps its own folders."""
    folder = tmp_path / "big"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def laid_out(state, layout):
    """A checkpoint as its authors would have written it, heads included."""
    checkpoint = {PREFIXES[layout] + name: tensor for name, tensor in state.items()}
    return checkpoint | {name: torch.full((3,), 9.0) for name in SURPLUS[layout]}


def filled_trunk():
    """A whole trunk in which every BatchNorm number differs from what it starts with."""
    generator = torch.Generator().manual_seed(5)
    state = {name: tensor.contiguous() for name, tensor in ResNet50().trunk.state_dict().items()}
    for name, tensor in state.items():
        if tensor.ndim == 1:
            spread = torch.rand(tensor.shape, generator=generator) * 0.2
            state[name] = spread + 0.4 if name.endswith("weight") else spread + (0.9 if "var" in name else -0.1)
    return state


def test_every_layout_gives_the_same_features(big_folder):
    state = filled_trunk()
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    expected = None
    without_counters = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    written = {
        "plain.safetensors": lambda path: save_file(laid_out(state, "torchvision"), path),
        "plain.pth": lambda path: torch.save(laid_out(state, "torchvision"), path),
        "hand.pt": lambda path: torch.save(laid_out(state, "frankmocap"), path),
        "adapted.pth": lambda path: torch.save(laid_out(state, "adapted"), path),
        "old.bin": lambda path: torch.save(without_counters, path, _use_new_zipfile_serialization=False),
    }
    for filename, write in written.items():
        path = big_folder / filename
        write(path)
        encoder, origin = build("hindex", weights=path)
        path.unlink()
        assert origin.kind == "file"
        features = encoder.encode(frames)
        expected = features if expected is None else expected
        assert torch.equal(features, expected), filename
    random_features = build("hindex", weights="random")[0].encode(frames)
    assert not torch.allclose(random_features, expected)


@pytest.mark.parametrize("layout", list(PREFIXES))
def test_a_layouts_trunk_is_complete_and_its_heads_are_dropped(tmp_path, layout):
    torch.save(laid_out(SMALL, layout), tmp_path / "w.pth")
    state = load_trunk(tmp_path / "w.pth", SMALL, RESNET_LAYOUTS)
    assert list(state) == list(SMALL)
    assert all(torch.equal(state[name], SMALL[name]) for name in SMALL)


@pytest.mark.parametrize("layout", list(PREFIXES))
def test_missing_tensors_are_named(tmp_path, layout):
    checkpoint = laid_out(SMALL, layout)
    del checkpoint[PREFIXES[layout] + "bn1.weight"]
    assert_refused(tmp_path, checkpoint, r"1 missing: bn1\.weight")


@pytest.mark.parametrize("layout", list(PREFIXES))
def test_extra_tensors_are_named_as_in_the_file(tmp_path, layout):
    checkpoint = laid_out(SMALL, layout)
    name = f"{PREFIXES[layout]}layer1.0.se.fc.0.weight"
    checkpoint[name] = torch.zeros(1)
    assert_refused(tmp_path, checkpoint, rf"1 not expected: {name}")


def test_a_stray_tensor_outside_the_prefix_is_not_overlooked(tmp_path):
    assert_refused(tmp_path, laid_out(SMALL, "frankmocap") | {"stranger": torch.zeros(1)}, "1 not expected: stranger")


@pytest.mark.parametrize("layout", list(PREFIXES))
def test_wrong_shapes_are_named(tmp_path, layout):
    checkpoint = laid_out(SMALL, layout)
    checkpoint[PREFIXES[layout] + "conv1.weight"] = torch.zeros(2, 5)
    assert_refused(tmp_path, checkpoint, r"1 of wrong shape: conv1\.weight \(2, 5\) instead of \(2, 6\)")


def test_many_missing_tensors_are_counted(tmp_path):
    assert_refused(tmp_path, {"other.weight": torch.zeros(1)}, r"3 missing: .*; 1 not expected: other\.weight")


def test_values_that_are_no_numbers_are_refused(tmp_path):
    checkpoint = SMALL | {"bn1.weight": torch.tensor([1.0, float("nan")])}
    assert_refused(tmp_path, checkpoint, r"bn1\.weight holds NaN")


def test_integer_weights_are_refused(tmp_path):
    assert_refused(tmp_path, SMALL | {"bn1.weight": torch.tensor([1, 2])}, r"bn1\.weight is .*int64")


def assert_refused(folder, checkpoint, message):
    torch.save(checkpoint, folder / "w.pth")
    with pytest.raises(WeightsInvalid, match=message) as caught:
        load_trunk(folder / "w.pth", SMALL, RESNET_LAYOUTS)
    assert str(folder / "w.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path, suffix, keep):
    path = tmp_path / f"w{suffix}"
    tensors = {"a": torch.zeros(5000), "b": torch.ones(5000)}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(WeightsInvalid, match=str(path)) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_of_torch_is_refused_in_the_old_format_too(tmp_path, legacy):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(5000)}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(WeightsInvalid, match="damaged"):
        read(path)


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (self.target, "w"))


@pytest.mark.parametrize("by", ["pickle", "torch", "torch, old format"])
def test_a_malicious_pickle_is_refused_without_running(tmp_path, by):
    path, target = tmp_path / "w.pth", tmp_path / "pwned"
    payload = {"conv1.weight": Malicious(str(target))}
    if by == "pickle":
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=by == "torch")
    with pytest.raises(WeightsInvalid, match="which is refused"):
        read(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list"),
        ({"state": {"a": torch.zeros(1)}}, "not tensors: state"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsInvalid, match=message):
        read(tmp_path / "w.pth")


def test_an_unknown_type_of_file_is_refused(tmp_path):
    (tmp_path / "w.npz").write_bytes(b"")
    with pytest.raises(WeightsInvalid, match=r"unknown type '\.npz'"):
        read(tmp_path / "w.npz")


def test_the_hash_of_tensors_sees_values_and_not_order():
    state = {"a": torch.arange(6.0).reshape(1, 2, 1, 3), "b": torch.tensor(0), "c": torch.zeros(0)}
    turned = {name: state[name] for name in "cba"} | {"a": state["a"].contiguous(memory_format=torch.channels_last)}
    assert state_sha256(turned) == state_sha256(state)
    assert state_sha256(state | {"a": state["a"].reshape(6)}) != state_sha256(state)
    assert state_sha256(state | {"b": torch.tensor(1)}) != state_sha256(state)


def put(cache, encoder, filename, content=b"weights", accept=True):
    if accept:
        licences.require(cards.CARDS[encoder], accept=True)
    path = cache / "weights" / encoder / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def publish(monkeypatch, content, **changes):
    """Let `rrl`'s official file be a small one."""
    card = cards.CARDS["rrl"]
    source = replace(card.sources[0], sha256=hashlib.sha256(content).hexdigest(), **changes)
    monkeypatch.setitem(cards.CARDS, "rrl", replace(card, sources=(source,)))
    return source


def test_auto_takes_the_official_file_if_it_is_cached(cache, monkeypatch):
    source = publish(monkeypatch, b"weights")
    path = put(cache, "rrl", source.filename)
    origin = resolve("rrl", allow_random=True)
    assert (origin.kind, origin.path, origin.sha256, origin.title("rrl")) == ("official", path, source.sha256, "rrl")


def test_auto_falls_back_to_random_only_where_allowed_and_says_so():
    origin = resolve("rrl", allow_random=True)
    assert (origin.kind, origin.path, origin.title("rrl")) == ("random", None, "rrl (random)")
    assert resolve("rrl", "random") == origin
    with pytest.raises(WeightsMissing, match=r"`bench weights fetch rrl`.*--weights random"):
        resolve("rrl")
    with pytest.raises(WeightsMissing, match="fetch rrl"):
        resolve("rrl", "official", allow_random=True)


@pytest.mark.parametrize("name", ["hindex", "frankmocap_hand"])
def test_what_ships_is_taken_where_nothing_official_is_cached_and_is_called_so(name, cache):
    for choice, options in (("auto", {}), ("auto", {"allow_random": True}), ("builtin", {"allow_builtin": False})):
        origin = resolve(name, choice, task="door", **options)
        assert (origin.kind, origin.title(name)) == ("builtin", f"{name} (builtin)")
        assert origin.sha256 == json.loads(origin.path.with_suffix(".json").read_text())["sha256"]
    with pytest.raises(WeightsMissing, match=f"bench weights fetch {name}"):
        resolve(name, task="door", allow_builtin=False)
    with pytest.raises(WeightsMissing, match="no weights ship with the package"):
        resolve("rrl", "builtin")


def test_hindex_and_the_hand_it_adapts_ship_the_same_network(cache):
    hand, adapted = (build(name, weights="builtin")[0] for name in ("frankmocap_hand", "hindex"))
    assert (hand.normalisation.name, adapted.normalisation.name) == ("imagenet", "unit")
    for name, tensor in hand.state_dict().items():
        assert torch.equal(adapted.state_dict()[name], tensor), name


def test_a_cached_file_that_is_not_the_published_one_is_refused(cache):
    path = put(cache, "rrl", "resnet50-0676ba61.pth")
    with pytest.raises(WeightsInvalid, match="published was 0676ba61b679") as caught:
        resolve("rrl", allow_random=True)
    assert str(path) in str(caught.value)


def test_a_file_without_published_hash_is_held_to_its_first_one(cache):
    path = put(cache, "frankmocap_hand", "frankmocap_hand.pth")
    first = resolve("frankmocap_hand")
    assert resolve("frankmocap_hand") == first
    path.write_bytes(b"other")
    with pytest.raises(WeightsInvalid, match="recorded at first use"):
        resolve("frankmocap_hand")


def test_a_restricting_licence_is_accepted_before_its_weights_are_used(cache):
    put(cache, "frankmocap_hand", "frankmocap_hand.pth", accept=False)
    for choice in ("auto", "official"):
        with pytest.raises(LicenceNotAccepted, match=r"CC BY-NC 4\.0.*`bench weights fetch frankmocap_hand --accept"):
            resolve("frankmocap_hand", choice, allow_random=True)
    assert resolve("frankmocap_hand", "random").kind == "random"
    licences.require(cards.CARDS["frankmocap_hand"], accept=True)
    assert resolve("frankmocap_hand").kind == "official"


def test_a_published_md5_or_start_of_the_hash_is_compared(cache, monkeypatch):
    for right, changes in (
        (True, {"md5": hashlib.md5(b"weights").hexdigest()}),
        (True, {"sha256_prefix": hashlib.sha256(b"weights").hexdigest()[:8]}),
        (False, {"md5": "0" * 32}),
        (False, {"sha256_prefix": "00000000"}),
    ):
        card = cards.CARDS["rrl"]
        source = replace(card.sources[0], sha256=None, **changes)
        with monkeypatch.context() as patch:
            patch.setitem(cards.CARDS, "rrl", replace(card, sources=(source,)))
            path = put(cache, "rrl", source.filename)
            if right:
                assert resolve("rrl").kind == "official"
            else:
                with pytest.raises(WeightsInvalid, match="published"):
                    resolve("rrl")
            shutil.rmtree(path.parent)


def test_hindex_has_one_official_file_a_task(cache):
    hammer = put(cache, "hindex", "hammer-v0.pth", b"hammer")
    assert resolve("hindex", task="hammer").path == hammer
    with pytest.raises(WeightsMissing, match=r"no official weights at .*door-v0\.pth"):
        resolve("hindex", "official", task="door")
    with pytest.raises(WeightsMissing, match="one file per task; name the task"):
        resolve("hindex", "official")
    with pytest.raises(WeightsMissing, match="no official weights for task 'juggle'"):
        resolve("hindex", "official", task="juggle")
    origin = resolve("hindex", hammer.parent, task="hammer")
    assert (origin.kind, origin.path) == ("file", hammer)
    with pytest.raises(WeightsMissing, match="is a folder"):
        resolve("rrl", hammer.parent)


def test_a_path_is_labelled_by_its_hash_unless_it_is_the_official_file(tmp_path, monkeypatch):
    file = tmp_path / "w.pth"
    file.write_bytes(b"12345")
    origin = resolve("rrl", str(file))
    assert (origin.kind, origin.title("rrl")) == ("file", "rrl (file 5994471a)")
    publish(monkeypatch, b"12345")
    assert resolve("rrl", file).title("rrl") == "rrl"


@pytest.mark.parametrize("weights", ["offical", "/no/such/file.pth"])
def test_a_path_that_is_none_names_the_choices(weights):
    with pytest.raises(WeightsMissing, match="expected auto, official, builtin, random or the path"):
        resolve("rrl", weights)
