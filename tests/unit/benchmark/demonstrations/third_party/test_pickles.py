"""Foreign pickles: arrays come out, nothing else gets in."""

import builtins
import contextlib
import io
import pickle
import pickletools
import struct
import sys
from collections import OrderedDict
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.demonstrations.third_party.pickles import PickleError, load_mjrl_policy, load_plain

LOADERS = [load_plain, load_mjrl_policy]


def write(path, content):
    path.write_bytes(content)
    return path


# Plain pickles.


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers_and_arrays_come_back(tmp_path, protocol):
    value = [
        {
            "actions": np.arange(6.0).reshape(2, 3),
            "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
            "big": np.arange(3, dtype=">f4"),
            "flag": np.array([True, False]),
            "empty": np.zeros((0, 3), np.float32),
            "scalar": np.float64(2.5),
            "text": np.array(["a", "bc"]),
            "rest": (1, None, "x", b"\x00\xff", {3, 4}, OrderedDict(a=1)),
        }
    ]
    [read] = load_plain(write(tmp_path / "a.pickle", pickle.dumps(value, protocol)))
    for key in ("actions", "fortran", "big", "flag", "empty", "text"):
        np.testing.assert_array_equal(read[key], value[0][key])
        assert read[key].shape == value[0][key].shape
    assert read["fortran"].dtype == np.int32
    assert read["big"].dtype == np.float32
    assert read["scalar"] == 2.5
    assert read["rest"] == (1, None, "x", b"\x00\xff", {3, 4}, {"a": 1})


def python_2_array(values):
    """The opcodes that Python 2 writes for a float64 array, protocol 2: old module names, byte strings."""
    raw = values.astype("<f8").tobytes()
    shape = b"(" + b"".join(b"K" + bytes([n]) for n in values.shape) + b"t"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + (b"(K\x01" + shape)
        + (b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        + (b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb")
    )


def test_python_2_pickles_come_back(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 3))
    content = b"\x80\x02]}U\x07actions" + python_2_array(values) + b"sa."
    [read] = load_plain(write(tmp_path / "a.pickle", content))
    np.testing.assert_array_equal(read["actions"], values)
    assert list(read) == ["actions"]


@given(hnp.arrays(st.sampled_from(["f4", "f8", "i8", "u1", "?"]), hnp.array_shapes(max_dims=3, max_side=4, min_side=0)))
def test_any_array_comes_back(tmp_path_factory, array):
    path = tmp_path_factory.getbasetemp() / "any.pickle"
    read = load_plain(write(path, pickle.dumps(array, 2)))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


# Hostile and broken ones.


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def attacks(probe):
    import os
    import shutil
    import subprocess

    touch = f"open({str(probe)!r}, 'w').close()"
    nested = pickle.dumps(Runs(os.system, f"touch {probe}"))
    yield "os.system", pickle.dumps(Runs(os.system, f"touch {probe}"))
    yield "subprocess", pickle.dumps(Runs(subprocess.call, ["touch", str(probe)]))
    yield "exec", pickle.dumps(Runs(exec, touch))
    yield "eval", pickle.dumps(Runs(eval, f"open({str(probe)!r}, 'w')"))
    yield "open", pickle.dumps(Runs(open, str(probe), "w"))
    yield "copyfile", pickle.dumps(Runs(shutil.copyfile, "/etc/hostname", str(probe)))
    yield "protocol 0", pickle.dumps(Runs(exec, touch), 0)
    yield "python 2", b"c__builtin__\nexecfile\n(S'x'\ntR."
    yield "inst", f"(S'touch {probe}'\nios\nsystem\n.".encode()
    yield "dotted", b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.sys\x93."
    yield (
        "numpy runner",
        b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(U" + bytes([len(touch)]) + touch.encode() + b"}tR.",
    )
    yield "pickle in pickle", pickle.dumps(Runs(pickle.loads, nested))
    yield "beside arrays", pickle.dumps({"actions": np.zeros(3), "x": Runs(os.system, f"touch {probe}")})
    yield "in an object array", pickle.dumps(np.array([Runs(os.system, f"touch {probe}")], dtype=object))
    yield "getattr chain", pickle.dumps(Runs(getattr, Runs(builtins.__import__, "os"), "system"))


NAMES = [name for name, _ in attacks("")]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickles_are_refused_and_do_not_run(tmp_path, loader, name):
    probe = tmp_path / "probe"
    content = dict(attacks(probe))[name]
    with pytest.raises(PickleError) as raised:
        loader(write(tmp_path / "a.pickle", content))
    assert not probe.exists()
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "a.pickle") in str(raised.value)


def test_the_probe_works(tmp_path):
    """The attacks are real: the standard library runs them."""
    probe = tmp_path / "probe"
    pickle.loads(dict(attacks(probe))["os.system"])
    assert probe.exists()


def test_the_refused_name_is_told(tmp_path):
    import os

    with pytest.raises(PickleError, match=r"names (posix|nt)\.system, which is refused"):
        load_plain(write(tmp_path / "a.pickle", pickle.dumps(Runs(os.system, "true"))))


@pytest.mark.parametrize(
    ("name", "demonstrations", "policy"),
    [
        (b"torch.hub\nload", r"names torch\.hub\.load", r"names torch\.hub\.load"),
        (b"torch.nn\nReLU", r"names torch\.nn\.ReLU, which is not read", r"the policy is a torch\.nn\.ReLU"),
    ],
)
def test_names_of_torch_are_inert(tmp_path, name, demonstrations, policy):
    path = write(tmp_path / "a.pickle", b"\x80\x02c" + name + b"\n(U\x01xU\x01ytR.")
    with pytest.raises(PickleError, match=demonstrations):
        load_plain(path)
    with pytest.raises(PickleError, match=policy):
        load_mjrl_policy(path)


def test_attributes_cannot_be_set_on_what_is_shared(tmp_path):
    """BUILD with a slot state sets attributes of whatever lies on the stack, classes included."""
    for name in (b"ccollections\nOrderedDict\n", b"cnumpy\nndarray\n", b"c__builtin__\nset\n"):
        content = b"\x80\x02" + name + b"N}U\x08__init__K\x01s\x86b."
        with pytest.raises(PickleError):
            load_plain(write(tmp_path / "a.pickle", content))
    assert OrderedDict(a=1) == {"a": 1}
    assert set("a") == {"a"}


def test_shared_numpy_types_stay_as_they_are(tmp_path):
    content = b"\x80\x02cnumpy\ndtype\nU\x02f8K\x00K\x00\x87R(K\x03U\x01>NNNJ\x01\x00\x00\x00J\x01\x00\x00\x00K\x00tb."
    with pytest.raises(PickleError):
        load_plain(write(tmp_path / "a.pickle", content))
    assert np.dtype("f8").itemsize == 8
    assert np.dtype("f8").isnative


@pytest.mark.parametrize("content", [b"", b".", b"\x80", b"not a pickle", b"\x80\x04]\x94h\x00a.", b"\x80\x63."])
@pytest.mark.parametrize("loader", LOADERS)
def test_broken_files_give_one_line(tmp_path, loader, content):
    with pytest.raises(PickleError) as raised:
        loader(write(tmp_path / "a.pickle", content))
    assert "\n" not in str(raised.value)


def test_a_container_in_itself_is_refused(tmp_path):
    loop = []
    loop.append({"a": loop})
    with pytest.raises(PickleError, match="contains itself"):
        load_plain(write(tmp_path / "a.pickle", pickle.dumps(loop)))


def test_a_missing_file_gives_one_line(tmp_path):
    with pytest.raises(PickleError, match="no such file"):
        load_plain(tmp_path / "none.pickle")


def test_every_truncation_is_refused(tmp_path):
    content = pickle.dumps([{"actions": np.arange(4.0), "rewards": [1.0]}], 2)
    for size in range(len(content)):
        with pytest.raises(PickleError):
            load_plain(write(tmp_path / "a.pickle", content[:size]))


@given(st.binary(max_size=64))
def test_random_bytes_never_raise_anything_else(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.pickle"
    for loader in LOADERS:
        with contextlib.suppress(PickleError):
            loader(write(path, b"\x80\x02" + content))


def test_wrong_sizes_and_object_arrays_are_refused(tmp_path):
    array = pickle.dumps(np.arange(3.0), 2)
    for content, reason in (
        (array.replace(b"K\x03\x85", b"K\x04\x85"), "cut short"),
        (pickle.dumps(np.array([{}, None], dtype=object)), "only numbers and strings"),
        (pickle.dumps(np.zeros(2, [("a", "f8")])), "only numbers and strings|not read"),
    ):
        with pytest.raises(PickleError, match=reason):
            load_plain(write(tmp_path / "a.pickle", content))


# mjrl policies: classes of the same names and attributes as mjrl's, pickled by the real torch.


@pytest.fixture
def mjrl(monkeypatch):
    """Modules with classes laid out as mjrl's; gone again after pickling, as on a user's machine."""
    torch = pytest.importorskip("torch")
    module = ModuleType("mjrl.policies.gaussian_mlp")
    for name in ("mjrl", "mjrl.policies"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class MuNet(torch.nn.Module):
        def __init__(self, sizes, transformations):
            super().__init__()
            self.obs_dim, self.act_dim, self.hidden_sizes = sizes[0], sizes[-1], tuple(sizes[1:-1])
            self.transformations = transformations
            for name, value in transformations.items():
                setattr(self, name, torch.from_numpy(np.float32(value)))
            for i in range(len(sizes) - 1):
                setattr(self, f"fc{i}", torch.nn.Linear(sizes[i], sizes[i + 1]))

    class FCNetwork(torch.nn.Module):
        def __init__(self, sizes, transformations, nonlinearity=torch.tanh):
            super().__init__()
            self.layer_sizes, self.nonlinearity, self.device = tuple(sizes), nonlinearity, "cpu"
            for name, value in transformations.items():
                setattr(self, name, torch.from_numpy(np.float32(value)))
            self.fc_layers = torch.nn.ModuleList(map(torch.nn.Linear, sizes[:-1], sizes[1:]))

    class MLP:
        def __init__(self, model, sizes):
            self.n, self.m, self.min_log_std = sizes[0], sizes[-1], -3
            self.model = self.old_model = model
            self.log_std = torch.linspace(-1, -0.5, sizes[-1], requires_grad=True)
            self.old_log_std = torch.nn.Parameter(torch.zeros(sizes[-1]))
            self.trainable_params = [*model.parameters(), self.log_std]
            self.log_std_val = np.float64(self.log_std.data.numpy().ravel())
            self.param_shapes = [p.data.numpy().shape for p in self.trainable_params]
            self.d = np.sum([p.data.numpy().size for p in self.trainable_params])
            self.obs_var = torch.randn(sizes[0])

    class ModuleMLP(FCNetwork):
        def __init__(self, sizes, transformations):
            super().__init__(sizes, transformations)
            self.log_std = torch.nn.Parameter(torch.linspace(-1, -0.5, sizes[-1]))
            self.min_log_std_val = -3 * np.ones(sizes[-1])
            self.log_std_val = np.float64(self.log_std.data.numpy().ravel())
            self.trainable_params = list(self.parameters())

    for kind in (MuNet, FCNetwork, MLP, ModuleMLP):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    return module


SIZES = [5, 4, 4, 3]


def transformations(seed=0):
    generator = np.random.default_rng(seed)
    return {
        "in_shift": generator.normal(size=5),
        "in_scale": generator.uniform(0.5, 2, size=5),
        "out_shift": generator.normal(size=3),
        "out_scale": generator.uniform(0.5, 2, size=3),
    }


def torch_mean(layers, network, observations, epsilon):
    import torch

    with torch.no_grad():
        hidden = (torch.from_numpy(observations).float() - network.in_shift) / (network.in_scale + epsilon)
        for layer in layers[:-1]:
            hidden = torch.tanh(layer(hidden))
        return (layers[-1](hidden) * network.out_scale + network.out_shift).numpy()


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("layout", ["fc0", "fc_layers", "module"])
def test_mjrl_policies_come_back(tmp_path, mjrl, layout, protocol):
    if layout == "module":
        policy = network = mjrl.ModuleMLP(SIZES, transformations())
        layers, epsilon = list(network.fc_layers), 1e-6
    elif layout == "fc_layers":
        network = mjrl.FCNetwork(SIZES, transformations())
        policy, layers, epsilon = mjrl.MLP(network, SIZES), list(network.fc_layers), 1e-8
    else:
        network = mjrl.MuNet(SIZES, transformations())
        policy, layers, epsilon = mjrl.MLP(network, SIZES), [network.fc0, network.fc1, network.fc2], 1e-8
    path = write(tmp_path / "policy.pickle", pickle.dumps(policy, protocol))
    for name in ("mjrl.policies.gaussian_mlp", "mjrl.policies", "mjrl"):
        del sys.modules[name]
    expert = load_mjrl_policy(path)
    observations = np.random.default_rng(1).normal(size=(7, 5))
    np.testing.assert_allclose(expert.mean(observations), torch_mean(layers, network, observations, epsilon), atol=2e-6)
    np.testing.assert_array_equal(expert.log_std, policy.log_std_val)
    np.testing.assert_array_equal(expert.weights[1], layers[1].weight.detach().numpy())


def test_zip_storages_are_read(tmp_path, mjrl, monkeypatch):
    """A storage pickled as the newer zip file of torch.save."""
    import torch

    def reduce(storage):
        buffer = io.BytesIO()
        torch.save(storage, buffer)
        return torch.storage._load_from_bytes, (buffer.getvalue(),)

    monkeypatch.setattr(torch.storage.TypedStorage, "__reduce__", reduce)
    policy = mjrl.MLP(mjrl.MuNet(SIZES, transformations()), SIZES)
    content = pickle.dumps(policy, 2)
    assert b"PK\x03\x04" in content
    expert = load_mjrl_policy(write(tmp_path / "policy.pickle", content))
    np.testing.assert_array_equal(expert.weights[0], policy.model.fc0.weight.detach().numpy())


def old_torch(policy, encoding="latin1"):
    """The same policy as torch 0.3 pickled it: lists of numbers in storages, variables around tensors."""

    class FloatStorage:
        def __init__(self, values):
            self.values = values

        def __reduce__(self):
            return FloatStorage, (self.values,)

    class Variable:
        def __init__(self, tensor):
            self.tensor = tensor

        def __reduce_ex__(self, protocol):
            return type(self), (self.tensor,), (True, False, OrderedDict())

    class Parameter(Variable):
        pass

    def rebuild(*args):
        raise AssertionError("must not run")

    class Tensor:
        def __init__(self, array):
            self.array = array

        def __reduce__(self):
            strides = tuple(step // 4 for step in self.array.strides)
            return rebuild, (FloatStorage(self.array.ravel("K").tolist()), 0, self.array.shape, strides)

    class Module:
        pass

    for thing, module, name in (
        (FloatStorage, "torch", "FloatStorage"),
        (Variable, "torch.autograd.variable", "Variable"),
        (Parameter, "torch.nn.parameter", "Parameter"),
        (rebuild, "torch._utils", "_rebuild_tensor"),
        (Module, "mjrl.policies.gaussian_mlp", "MLP"),
    ):
        thing.__module__, thing.__qualname__, thing.__name__ = module, name, name

    def layer(linear):
        made = Module()
        made._parameters = OrderedDict(
            weight=Parameter(Tensor(linear.weight.detach().numpy())),
            bias=Parameter(Tensor(linear.bias.detach().numpy())),
        )
        return made

    made, made.model = Module(), Module()
    made.n, made.m = SIZES[0], SIZES[-1]
    made.log_std, made.log_std_val = Variable(Tensor(policy.log_std.detach().numpy())), policy.log_std_val
    made.model._modules = OrderedDict((name, layer(module)) for name, module in policy.model.named_children())
    for name in ("in_shift", "in_scale", "out_shift", "out_scale"):
        setattr(made.model, name, Variable(Tensor(getattr(policy.model, name).numpy())))

    class Pickler(pickle._Pickler):
        def save_global(self, obj, name=None):  # the classes need not be importable
            self.write(f"c{obj.__module__}\n{obj.__name__}\n".encode())
            self.memoize(obj)

        dispatch: ClassVar = {**pickle._Pickler.dispatch, type: save_global, type(rebuild): save_global}

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(made)
    return buffer.getvalue()


def test_policies_of_old_torch_come_back(tmp_path, mjrl):
    policy = mjrl.MLP(mjrl.MuNet(SIZES, transformations()), SIZES)
    new = load_mjrl_policy(write(tmp_path / "new.pickle", pickle.dumps(policy, 2)))
    old = load_mjrl_policy(write(tmp_path / "old.pickle", old_torch(policy)))
    assert new.sha256 == old.sha256


def test_missing_transformations_mean_none(tmp_path, mjrl):
    policy = mjrl.MLP(mjrl.MuNet(SIZES, {}), SIZES)
    expert = load_mjrl_policy(write(tmp_path / "policy.pickle", pickle.dumps(policy)))
    assert not expert.observation_shift.any()
    assert (expert.action_scale == 1).all()


def test_other_networks_are_refused(tmp_path, mjrl):
    import torch

    relu = mjrl.MLP(mjrl.FCNetwork(SIZES, transformations(), torch.relu), SIZES)
    with pytest.raises(PickleError, match="only tanh"):
        load_mjrl_policy(write(tmp_path / "a.pickle", pickle.dumps(relu)))
    deep = mjrl.MuNet(SIZES, transformations())
    deep.conv1 = torch.nn.Linear(2, 2)
    with pytest.raises(PickleError, match="conv1"):
        load_mjrl_policy(write(tmp_path / "a.pickle", pickle.dumps(mjrl.MLP(deep, SIZES))))
    with pytest.raises(PickleError, match="not an object with attributes"):
        load_mjrl_policy(write(tmp_path / "a.pickle", pickle.dumps({"a": 1})))
    nothing = mjrl.MLP(mjrl.MuNet(SIZES, {}), SIZES)
    del nothing.model.fc1
    with pytest.raises(PickleError, match="layers fc0, fc2"):
        load_mjrl_policy(write(tmp_path / "a.pickle", pickle.dumps(nothing)))


def test_attacks_inside_of_storages_do_not_run(tmp_path, mjrl):
    """The bytes of a storage are pickles too."""
    import os

    probe = tmp_path / "probe"
    policy = mjrl.MLP(mjrl.MuNet(SIZES, transformations()), SIZES)
    content = pickle.dumps(policy, 4)
    payload = [argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, bytes)]
    storage = max((part for part in payload if b"FloatStorage" in part), key=len)
    attack = pickle.dumps(Runs(os.system, f"touch {probe}"), 2).ljust(len(storage), b"\x00")
    assert len(attack) == len(storage)
    with pytest.raises(PickleError, match="system"):
        load_mjrl_policy(write(tmp_path / "policy.pickle", content.replace(storage, attack)))
    assert not probe.exists()


def test_truncated_policies_are_refused(tmp_path, mjrl):
    content = pickle.dumps(mjrl.MLP(mjrl.MuNet(SIZES, transformations()), SIZES), 2)
    for size in range(0, len(content), 97):
        with pytest.raises(PickleError):
            load_mjrl_policy(write(tmp_path / "a.pickle", content[:size]))
