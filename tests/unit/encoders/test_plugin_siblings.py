"""A plug-in imports the modules beside it, as a script does, and shares them with nobody."""

import hashlib
import sys
import textwrap

import pytest
import torch

import encoders
from encoders import EncoderError

PLUGIN = """
from encoders import Encoder

{imports}


class {name}(Encoder, name="{lower}"):
    feature_dim = 3

    def __init__(self, weights=None):
        super().__init__()
        self.factor = {factor}

    def forward(self, images):
        return images.mean((2, 3)) * self.factor
"""


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, source in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))
    return folder


def plugin(folder, imports, factor, name="Mine"):
    path = folder / f"{name.lower()}.py"
    path.write_text(PLUGIN.format(imports=imports, factor=factor, name=name, lower=name.lower()))
    return f"{path}:{name}"


def factor_of(name):
    return float(encoders.get(name)()(torch.ones(1, 3, 2, 2)).mean())


@pytest.fixture(autouse=True)
def nothing_stays_importable():
    path = list(sys.path)
    yield
    assert sys.path == path
    assert not {"net_beside", "parts", "utils"} & sys.modules.keys()


@pytest.mark.parametrize(
    ("imports", "factor"),
    [
        ("from net_beside import FACTOR", "FACTOR"),
        ("import net_beside", "net_beside.FACTOR"),
        ("import net_beside as other, math", "other.FACTOR"),
        ("from net_beside import *", "FACTOR"),
        ("from .net_beside import FACTOR", "FACTOR"),
        ("from parts.layers import FACTOR", "FACTOR"),
        ("import parts.layers", "parts.layers.FACTOR"),
        ("import parts.layers as layers", "layers.FACTOR"),
        ("from parts import layers", "layers.FACTOR"),
        ("def later():\n    from net_beside import FACTOR\n    return FACTOR", "later()"),
        ("def later():\n    import net_beside\n    return net_beside.FACTOR", "later()"),
    ],
)
def test_a_plug_in_imports_what_is_beside_it(tmp_path, imports, factor):
    write(
        tmp_path,
        net_beside="from helper import TWO\nFACTOR = TWO",
        helper="TWO = 2",
        **{
            "parts/__init__": "",
            "parts/layers": "from .numbers import ONE\nfrom net_beside import FACTOR as F\nFACTOR = ONE * F",
            "parts/numbers": "ONE = 1",
        },
    )
    assert factor_of(plugin(tmp_path, imports, factor)) == 2.0


def test_two_folders_with_the_same_names_do_not_get_each_others(tmp_path):
    names = []
    for number, name in ((1, "One"), (2, "Two")):
        folder = write(tmp_path / name, utils=f"FACTOR = {number}", late=f"FACTOR = {number}")
        names.append(plugin(folder, "from utils import FACTOR\ndef later():\n    import late\n    return late.FACTOR",
                            "FACTOR * 10 + later()", name))  # fmt: skip
    built = [encoders.get(name) for name in names]
    assert [float(one()(torch.ones(1, 3, 2, 2)).mean()) for one in built] == [11.0, 22.0]


def test_the_modules_beside_it_are_part_of_its_hash_and_nothing_else_is(tmp_path):
    write(tmp_path, net_beside="import helper\nFACTOR = 2", helper="", unused="")
    name = plugin(tmp_path, "def later():\n    import net_beside", "2")
    first = encoders.get(name).plugin_sha256
    (tmp_path / "unused.py").write_text("X = 1")
    assert encoders.get(name).plugin_sha256 == first
    (tmp_path / "helper.py").write_text("X = 1")
    second = encoders.get(name).plugin_sha256
    assert second != first
    assert encoders.get(name)().describe()["plugin_sha256"] == second
    alone = plugin(tmp_path, "import math", "2", "Alone")
    source = (tmp_path / "alone.py").read_bytes()
    assert encoders.get(alone).plugin_sha256 == hashlib.sha256(source).hexdigest()


def test_a_changed_module_beside_it_is_imported_anew(tmp_path):
    write(tmp_path, net_beside="FACTOR = 2")
    name = plugin(tmp_path, "from net_beside import FACTOR", "FACTOR")
    assert factor_of(name) == 2.0
    write(tmp_path, net_beside="FACTOR = 3.0")
    assert factor_of(name) == 3.0


def test_what_is_imported_late_is_what_was_hashed(tmp_path):
    write(tmp_path, net_beside="FACTOR = 2")
    found = encoders.get(
        plugin(tmp_path, "def later():\n    import net_beside\n    return net_beside.FACTOR", "later()")
    )
    write(tmp_path, net_beside="FACTOR = 3")
    assert float(found()(torch.ones(1, 3, 2, 2)).mean()) == 2.0


@pytest.mark.parametrize("name", ["tasks", "benchmark", "torch", "math", "encoders"])
def test_installed_packages_and_ours_come_first_and_the_line_says_so(tmp_path, name):
    write(tmp_path, **{name: "FACTOR = 2"})
    encoders.get(plugin(tmp_path, f"import {name}", "2", "Fine"))
    with pytest.raises(
        EncoderError, match=rf"mine\.py, line 4: .*'{name}' is .*not the module beside the plug-in"
    ) as caught:
        encoders.get(plugin(tmp_path, f"from {name} import FACTOR", "FACTOR"))
    assert "\n" not in str(caught.value)


def test_a_module_beside_it_that_fails_is_named_and_the_earlier_plug_in_stays(tmp_path):
    write(tmp_path, net_beside="FACTOR = 2")
    name = plugin(tmp_path, "def later():\n    import net_beside\n    return net_beside.FACTOR", "later()")
    first = encoders.get(name)
    write(tmp_path, net_beside="\nraise ValueError('no')")
    plugin(tmp_path, "import net_beside", "2")
    with pytest.raises(EncoderError, match=r"net_beside\.py, line 2: cannot be imported: ValueError: no"):
        encoders.get(name)
    assert encoders.get("mine") is first
    assert float(first()(torch.ones(1, 3, 2, 2)).mean()) == 2.0
    write(tmp_path, net_beside="FACTOR = = 2")
    with pytest.raises(EncoderError, match=r"net_beside\.py, line 1: cannot be imported: SyntaxError"):
        encoders.get(name)


def test_a_missing_module_and_a_dynamic_import_are_explained(tmp_path):
    write(tmp_path, net_beside="FACTOR = 2")
    with pytest.raises(EncoderError, match=r"line 4: .*No module named 'no_such_module'"):
        encoders.get(plugin(tmp_path, "import no_such_module", "2"))
    dynamic = plugin(tmp_path, "import importlib; importlib.import_module('net_beside')", "2")
    with pytest.raises(EncoderError, match=r"net_beside\.py beside the plug-in is found by an import statement only"):
        encoders.get(dynamic)


def test_plug_ins_may_import_each_other(tmp_path):
    one = plugin(tmp_path, "", "1", "One")
    two = plugin(tmp_path, "from one import One", "One().factor + 1", "Two")
    for names in ((one, two), (two, one)):
        assert [factor_of(name) for name in names] == [1.0 if name == one else 2.0 for name in names]
    assert encoders.get("one") is encoders.get(one)


def test_an_encoder_may_stand_beside_the_plug_in(tmp_path):
    theirs = plugin(tmp_path, "", "5", "Theirs")
    (tmp_path / "mine.py").write_text("from theirs import Theirs\n")
    found = encoders.get(f"{tmp_path / 'mine.py'}:Theirs")
    described = found().describe()
    assert described["class"] == "mine.py:Theirs"
    assert described["plugin_sha256"] not in (None, encoders.get(theirs).plugin_sha256)


def test_a_module_beside_it_may_import_the_plug_in(tmp_path):
    write(tmp_path, net_beside="import mine\n\n\ndef factor():\n    return mine.BASE + 1")
    assert factor_of(plugin(tmp_path, "import net_beside\n\nBASE = 1", "net_beside.factor()")) == 2.0
