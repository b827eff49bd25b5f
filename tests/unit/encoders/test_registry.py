import subprocess
import sys
import textwrap

import pytest

import encoders
from encoders import registration, registry
from encoders.base import Encoder
from encoders.errors import EncoderError, UnknownEncoder

PLUGIN = """
from encoders import Encoder

class {name}(Encoder, name="{registered}"):
    feature_dim = 3

    def forward(self, images):
        return images.mean((2, 3)) * {factor}
"""


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch):
    monkeypatch.setattr(registration, "REGISTERED", dict(registration.REGISTERED))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


def write_plugin(path, *, name="Mine", registered="mine", factor=1.0):
    path.write_text(PLUGIN.format(name=name, registered=registered, factor=factor))
    return path


def test_importing_and_listing_need_no_torch():
    code = """
        import sys
        import encoders
        assert encoders.names()[:2] == ["hindex", "frankmocap_hand"], encoders.names()
        assert encoders.card("rrl").feature_dim == 2048
        try:
            encoders.resolve("rrl")
        except encoders.WeightsMissing:
            pass
        assert "torch" not in sys.modules and "timm" not in sys.modules
        from encoders import Encoder
        assert "torch" in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60, cwd=_root())


def test_subclassing_registers():
    class Mine(Encoder, name="mine"):
        feature_dim = 3

    assert encoders.get("mine") is Mine
    assert "mine" in encoders.names()
    assert encoders.card("mine") is None


def test_a_class_without_name_is_not_registered():
    before = encoders.names()

    class Helper(Encoder):
        feature_dim = 3

    assert encoders.names() == before
    assert Helper.name == ""


def test_the_same_class_again_replaces_its_earlier_self():
    def cell():
        class Mine(Encoder, name="mine"):
            feature_dim = 3

        return Mine

    first, second = cell(), cell()
    assert first is not second
    assert encoders.get("mine") is second


def test_another_class_of_the_same_name_is_refused():
    class Mine(Encoder, name="mine"):
        feature_dim = 3

    with pytest.raises(EncoderError, match=r"name 'mine' is taken by .*Mine"):

        class Other(Encoder, name="mine"):
            feature_dim = 4

    assert encoders.get("mine") is Mine


@pytest.mark.parametrize("name", ["rrl", "state"])
def test_a_built_in_name_is_refused_even_before_it_is_loaded(name, monkeypatch):
    monkeypatch.setattr(registration, "REGISTERED", {})
    with pytest.raises(EncoderError, match="built-in"):

        class Mine(Encoder, name=name):
            feature_dim = 3


@pytest.mark.parametrize("name", ["", "Mine", "a b", "../x", "a,b", "r*"])
def test_a_malformed_name_is_refused(name):
    with pytest.raises(EncoderError, match="cannot be used"):

        class Mine(Encoder, name=name):
            feature_dim = 3


@pytest.mark.parametrize(
    ("wrong", "right"), [("rrk", "rrl"), ("h-index", "hindex"), ("frankmocaphand", "frankmocap_hand")]
)
def test_an_unknown_name_suggests_the_nearest(wrong, right):
    with pytest.raises(UnknownEncoder, match=f"did you mean '{right}'"):
        encoders.get(wrong)


def test_a_hopeless_name_lists_all():
    with pytest.raises(UnknownEncoder, match=r"available: hindex, frankmocap_hand, .*, random, state"):
        encoders.get("zzzzzzzz")


def test_names_take_wildcards():
    assert encoders.names("r*") == ["r3m", "rrl", "random"]
    assert encoders.names("nothing*") == []


def test_every_built_in_class_agrees_with_its_card():
    for name in encoders.names():
        encoder, card = encoders.get(name), encoders.card(name)
        assert encoder.name == card.name == name
        assert encoder.card is card
        assert encoder.feature_dim == card.feature_dim
        assert encoder.uses_images is card.uses_images
        assert encoder.results_version == card.results_version


def test_a_plug_in_file_is_loaded_and_hashed(tmp_path):
    import hashlib

    path = write_plugin(tmp_path / "mine.py")
    encoder = encoders.get(f"{path}:Mine")
    assert encoder.plugin_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert encoders.get(f"{path}:Mine") is encoder
    assert encoders.get(str(path)) is encoder
    assert encoders.get("mine") is encoder
    described = encoder().describe()
    assert described["class"] == "mine.py:Mine"
    assert described["plugin_sha256"] == encoder.plugin_sha256


def test_a_changed_plug_in_file_replaces_its_earlier_self(tmp_path):
    path = write_plugin(tmp_path / "mine.py")
    first = encoders.get(f"{path}:Mine")
    write_plugin(path, name="Renamed", factor=2.0)
    second = encoders.get(f"{path}:Renamed")
    assert second.plugin_sha256 != first.plugin_sha256
    assert encoders.get("mine") is second


def test_a_broken_plug_in_file_leaves_the_earlier_one(tmp_path):
    path = write_plugin(tmp_path / "mine.py")
    first = encoders.get(f"{path}:Mine")
    path.write_text("from encoders import Encoder\n\nimport no_such_module\n")
    with pytest.raises(EncoderError, match=r"mine.py, line 3: .*no_such_module") as caught:
        encoders.get(f"{path}:Mine")
    assert "\n" not in str(caught.value)
    assert encoders.get("mine") is first


def test_a_plug_in_may_not_take_a_name_that_is_in_use(tmp_path):
    path = write_plugin(tmp_path / "mine.py", registered="rrl")
    with pytest.raises(EncoderError, match="built-in"):
        encoders.get(f"{path}:Mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{folder}/none.py:Mine", "no file"),
        ("{folder}/mine.py:Mnie", "did you mean 'Mine'"),
        ("{folder}/mine.py:Encoder", "no name"),
    ],
)
def test_a_wrong_plug_in_path_or_class_is_named(tmp_path, text, message):
    write_plugin(tmp_path / "mine.py")
    with pytest.raises(EncoderError, match=message):
        encoders.get(text.format(folder=tmp_path))


def install(folder, monkeypatch, *, package, entry_name, registered):
    """Lay out an installed package as pip leaves it."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hindex_bench.encoders]\n{entry_name} = {package}_module:Mine\n")
    write_plugin(folder / f"{package}_module.py", registered=registered)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, f"{package}_module", raising=False)
    registry._installed.cache_clear()


def test_an_installed_encoder_is_found_and_loaded_only_when_asked_for(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, package="theirs", entry_name="theirs", registered="theirs")
    assert encoders.names()[-1] == "theirs"
    assert "theirs_module" not in sys.modules
    assert encoders.get("theirs").name == "theirs"


def test_an_installed_encoder_that_claims_a_built_in_name_is_refused(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, package="greedy", entry_name="rrl", registered="greedy")
    with pytest.raises(EncoderError, match="package greedy claims a built-in name; uninstall it"):
        encoders.get("rrl")
    assert encoders.get("hindex").name == "hindex"


def test_an_installed_encoder_that_registers_another_name_is_refused(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, package="confused", entry_name="confused", registered="other")
    with pytest.raises(EncoderError, match="registers no such encoder"):
        encoders.get("confused")


def _root():
    from pathlib import Path

    return Path(encoders.__file__).parents[1]
