"""Policies of mjrl: classes of the same names and attributes as mjrl's, pickled by the real torch."""

import io
import os
import pickle
import pickletools
import sys
from collections import OrderedDict
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
from hostile_pickles import Runs

from benchmark.demonstrations.third_party.pickles import PickleError, load_mjrl_policy
from encoders.weights.pickles import Contents
from encoders.weights.unpickling import Refused, Unpickler


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.fixture
def mjrl(monkeypatch):
    """Modules with classes laid out as mjrl's; gone again after pickling, as on a user's machine."""
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


def test_large_policies_come_back_and_repeated_ones_are_refused(tmp_path, mjrl):
    large = [5, 600, 600, 3]
    policy = mjrl.MLP(mjrl.MuNet(large, transformations()), large)
    for content in (pickle.dumps(policy, 2), pickle.dumps(policy, 5), old_torch(policy)):
        expert = load_mjrl_policy(write(tmp_path / "policy.pickle", content))
        np.testing.assert_array_equal(expert.weights[1], policy.model.fc1.weight.detach().numpy())
    stored = policy.model.fc1.weight.data.untyped_storage().clone()
    buffer = io.BytesIO()
    torch.save(torch.storage.TypedStorage(wrap_storage=stored, dtype=torch.float32, _internal=True), buffer)
    shared = buffer.getvalue()
    many = pickle.dumps([Runs(torch.storage._load_from_bytes, shared) for _ in range(40)])
    assert len(many) < 2 * len(shared)
    contents = Contents(len(many))
    storages = Unpickler(io.BytesIO(many)).load()
    with pytest.raises(Refused, match="the same numbers again and again"):
        [contents._storage_of(storage) for storage in storages]


def test_missing_transformations_mean_none(tmp_path, mjrl):
    policy = mjrl.MLP(mjrl.MuNet(SIZES, {}), SIZES)
    expert = load_mjrl_policy(write(tmp_path / "policy.pickle", pickle.dumps(policy)))
    assert not expert.observation_shift.any()
    assert (expert.action_scale == 1).all()


def test_other_networks_are_refused(tmp_path, mjrl):
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
