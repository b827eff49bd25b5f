"""The pages: tables are made from the cards that ship, sentences are held to them, and links lead somewhere."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from scipy import stats

import tasks
from tasks.cards import GROUPS

ROOT = Path(__file__).resolve().parents[2]
BUILTIN = ROOT / "encoders" / "builtin"


@pytest.fixture
def tables():
    specification = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def page(name):
    """A page in one line, as sentences are wrapped."""
    return " ".join((ROOT / name).read_text().split())


def card(path):
    return json.loads((BUILTIN / path).read_text())


def test_tables_are_what_the_cards_say(tables, capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().err


def test_every_table_stands_on_one_page(tables):
    text = "".join(path.read_text() for path in sorted(tables.PAGES.glob("*.md")))
    assert sorted(found[1] for found in tables.BLOCK.findall(text)) == sorted(tables.TABLES)
    assert text.count("<!-- table ") == len(tables.TABLES)


@pytest.mark.parametrize("folder", ["EXPERTS", "ADAPTED"])
def test_a_card_that_changes_shows_and_is_written(tables, folder, tmp_path, monkeypatch, capsys):
    pages, cards = tmp_path / "docs", tmp_path / "cards"
    pages.mkdir()
    for path in tables.PAGES.glob("*.md"):
        (pages / path.name).write_text(path.read_text())
    shutil.copytree(getattr(tables, folder), cards, ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(tables, "PAGES", pages)
    monkeypatch.setattr(tables, folder, cards)
    assert tables.main(["--check"]) == 0

    changed = json.loads((cards / "pour.json").read_text())
    if folder == "EXPERTS":
        changed["evaluation"]["mean_action"]["success"] = 0.1234
    else:
        changed["held_out"]["psnr"]["reconstruction"]["mean"] = 12.34
    (cards / "pour.json").write_text(json.dumps(changed))
    assert tables.main(["--check"]) == 1
    assert capsys.readouterr().err.count("run `python docs/tables.py`") == 1
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    assert "| 0.12 [" in (pages / "validation.md").read_text() or "12.34 [" in (pages / "stages.md").read_text()


def test_intervals_of_success_are_wilsons(tables):
    for successes, episodes in ((0, 100), (392, 500), (100, 100)):
        expected = stats.binomtest(successes, episodes).proportion_ci(method="wilson")
        assert tables.wilson(successes, episodes) == pytest.approx(expected)


def test_sentences_on_stage_1_are_what_its_card_says():
    found, text = card("stage1.json"), page("docs/stages.md")
    error, mean_pose = found["held_out"]["error"], found["held_out"]["always_the_mean_pose"]
    images = f"{found['data']['images_rendered'] / 1e6:.1f} million"
    for number in (
        f"{images} rendered Adroit hands at {found['data']['size']} pixels",
        f"{found['training']['steps']:,} steps of {found['training']['batch']}, ",
        f"{60 * found['training']['hours']:.0f} minutes on one H100",
        f"On {found['data']['held_out_images']:,} held-out images",
        f"off by {error['keypoints_mm']:.1f} mm (always the mean pose: {mean_pose['keypoints_mm']:.1f} mm)",
        f"{error['angles_degrees']:.1f} degrees ({mean_pose['angles_degrees']:.1f})",
    ):
        assert number in text
    assert f"trained on {images} rendered" in text


def test_sentences_on_the_heads_are_what_their_card_says():
    found, text = card("heads.json"), page("docs/stages.md")
    psnr, training = found["held_out"]["psnr"], found["training"]
    for number in (
        f"--set steps={training['steps']} ",
        f"--set batch={training['batch']} ",
        f"{training['seconds'] / 60:.0f} minutes; the loss is the pixels' error alone",
        f"held-out episodes of all tasks {psnr['reconstruction']['mean']:.1f} dB",
        f"source frame has {psnr['copy_of_the_source']['mean']:.1f} and the mean image",
        f"mean image {psnr['mean_image']['mean']:.1f}. They ship",
    ):
        assert number in text


def test_sentences_on_stage_2_are_what_its_cards_say():
    text = page("docs/stages.md")
    found = {name: card(f"adapted/{name}.json") for name in GROUPS["all"]}
    for name, one in found.items():
        psnr = one["held_out"]["psnr"]
        assert min(psnr[f"reconstruction_minus_{other}"]["low"] for other in ("copy", "mean_image")) > 0, name
        points = one["held_out"]["keypoints_on_hand_or_object"]
        assert points["difference"]["low"] > 0, name
        assert one["training"]["seconds"] < 240, name
        assert f"--set steps={one['training']['steps']} --set videos={one['data']['what'].split()[0]} " in text
        shares = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**points["keypoints"])
        for repeated in re.findall(rf"\| {name} \| 240, pixels and maps \| [^|]* \| ([^|]*) \|", text):
            assert repeated == shares, name
    changes = [change for one in found.values() for change in one["trained"]["mean_change"].values()]
    assert f"Scales and offsets move by {sum(changes) / len(changes):.3f} on average" in text
    assert f"{found['pour']['trained']['percent']:.1f} % of the parameters, adapted to a task's images" in text


def test_what_ships_for_the_hand_network_learned_something():
    cards = sorted((BUILTIN / "adapted" / "mediapipe_hand").glob("*.json"))
    assert cards
    for path in cards:
        held_out = json.loads(path.read_text())["held_out"]
        assert held_out["psnr"]["reconstruction_minus_copy"]["low"] > 0
        assert held_out["psnr"]["reconstruction_minus_mean_image"]["low"] > 0
        assert held_out["keypoints_on_hand_or_object"]["difference"]["low"] > 0
    sizes = [path.with_suffix(".safetensors").stat().st_size for path in cards]
    assert max(sizes) < 160_000
    assert sum(sizes) < 2_000_000


def test_the_scenes_on_the_pages_are_those_of_the_tasks():
    pour, place = tasks.card("pour"), tasks.card("place_inside")
    text = page("docs/presets.md")
    tank, mug, horizon = pour.scene["tank_height"], place.scene["mug_scale"], place.horizon
    assert f"tank height {tank} m, mug scale {mug}, {horizon} steps" in text
    tank, mug = pour.demonstration_scene["tank_height"], place.demonstration_scene["mug_scale"]
    assert f"({tank:.2f} m, {mug}, {place.demonstration_horizon} steps)" in text


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(path):
    """The names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{path.name}: {target}"


def test_the_readme_is_short_and_lists_every_page():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 120
    for path in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{path.name})" in readme


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(path):
    """Paths of this repository; a module may be named by its folder."""
    for name in re.findall(r"`((?:benchmark|encoders|tasks|reports|tests|examples|docs)/[\w./-]*)`", path.read_text()):
        assert (ROOT / name).exists(), f"{path.name}: {name}"


def test_messages_that_troubleshooting_quotes_exist():
    sources = "".join(
        source.read_text() for room in ("benchmark", "encoders", "tasks") for source in (ROOT / room).rglob("*.py")
    )
    quoted = re.findall(r"^\| [^|`]*`([^`]+)`[^|]*\|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 2
    for message in quoted:
        assert message.partition("=N")[0] in sources, message


# Pictures of the qualities.


@pytest.fixture
def frames():
    specification = importlib.util.spec_from_file_location("docs_frames", ROOT / "docs" / "frames.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_frames_are_drawn_side_by_side_and_timed(frames, tmp_path, monkeypatch, capsys):
    pictures = [tmp_path / "all.jpg", tmp_path / "page.jpg"]
    options = ["--task", "pen", "--rounds", "1", "--picture", pictures[0], "--page-picture", pictures[1]]
    monkeypatch.setattr("sys.argv", ["frames.py", *map(str, options)])
    frames.main()
    _, _, row = capsys.readouterr().out.splitlines()
    task, *numbers = row.strip("| ").split(" | ")
    paper, shadows, fast, *likeness = map(float, numbers)
    assert task == "pen"
    assert paper > shadows > fast > 0
    assert all(0.8 < value < 1 for value in likeness)
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width > 3 * frames.SIDE


def test_the_pictures_that_ship_are_small_and_show_every_task(frames):
    rows, columns = len(GROUPS["all"]) // frames.COLUMNS, 3 * frames.COLUMNS
    for path, share in ((frames.PICTURE, 1), (frames.PAGE_PICTURE, len(frames.PAGE_TASKS) / len(GROUPS["all"]))):
        assert path.stat().st_size < 300_000 * share
        with Image.open(path) as picture:
            assert picture.width >= columns * frames.SIDE
            assert picture.height >= share * rows * frames.SIDE
