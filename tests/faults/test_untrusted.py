"""What is read from a file is data: it names no code, fetches nothing and writes nothing without trust."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from equissl.cli.main import main
from equissl.config.overrides import override
from equissl.config.serialize import from_dict, to_dict, trust_needs
from equissl.data import Cifar10, ImageFolder, Solids, ThreeDIEBench
from equissl.encoder.backbone import BackboneConfig, EncoderConfig
from equissl.errors import UserError
from equissl.invariance import SimCLR
from equissl.objective import BaseConfig
from equissl.photonics import CrystalNet, CrystalPlan, Crystals
from equissl.recipe import Recipe
from equissl.runs.changes import run_differences
from equissl.runs.folder import Run, open_run
from equissl.runs.load import load_encoder
from equissl.views import ViewSpec

STORED = to_dict(
    Recipe(
        data=Solids(size=16),
        views={"a": ViewSpec(), "b": ViewSpec()},
        encoder=EncoderConfig(name="test_resnet"),
        base=SimCLR.Config(),
    )
)


def changed(path: str, value: Any) -> Any:
    """The stored recipe with one value changed."""
    stored = json.loads(json.dumps(STORED))
    inner, steps = stored, path.split(".")
    for step in steps[:-1]:
        inner = inner[step]
    inner[steps[-1]] = value
    return stored


def test_the_stored_recipe_is_read() -> None:
    assert to_dict(from_dict(json.loads(json.dumps(STORED)), Recipe)) == STORED


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("data", None, "Recipe.data must be Data, got None|data must be Data, got None"),
        ("encoder", "resnet", "encoder must be BackboneConfig, got 'resnet'"),
        ("modules", [1], "modules must be a mapping of names to Weighted, got"),
        ("modules", {"x": 3}, "modules must be a mapping"),
        ("epochs", "two", "epochs must be an integer, got 'two'"),
        ("epochs", True, "epochs must be an integer, got True"),
        ("epochs", 1e300, "epochs must be an integer"),
        ("batch_size", 10**30, "batch_size must be an integer"),
        ("clip_gradient", float("nan"), "clip_gradient must be a number, got nan"),
        ("clip_gradient", float("inf"), "clip_gradient must be a number, got inf"),
        ("batch_norm", "x", "batch_norm='x' does not exist; valid: all_views, frozen, per_view"),
        ("base.temperature", "hot", "base.temperature must be a number, got 'hot'"),
        ("base.temperature", -1, "base.temperature must be above 0, got -1"),
        ("base.projector", [8, "x"], r"base.projector must be a tuple of integers, got \(8, 'x'\)"),
        ("views.a.augment.is", 5, "views.a.augment.is: expected the address of a component, got 5"),
        ("views.a.augment.is", None, "views.a.augment.is: expected the address"),
        ("views.a.augment.is", "", "views.a.augment: '' is no address of a component"),
        ("views.a.augment.is", ":", "views.a.augment: ':' is no address"),
        ("views.a", [], "views must be a mapping of names to ViewSpec"),
        ("base.nosuch", 1, "base: no field 'nosuch' in equissl.invariance:SimCLR.Config"),
        ("is", "equissl:Weighted", "expected Recipe, but equissl:Weighted is none"),
        ("is", 1, "is: expected the address of a component, got 1"),
    ],
)
def test_a_stored_field_of_another_type_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(changed(path, value), Recipe)


@pytest.mark.parametrize("whole", [None, 1, "x", [], [1], {}, {"is": []}, {"is": "x"}])
def test_a_file_that_holds_no_recipe_is_refused(whole: Any) -> None:
    with pytest.raises(UserError):
        from_dict(whole, Recipe)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(UserError, match="data is missing"):
        from_dict({k: v for k, v in STORED.items() if k != "data"}, Recipe)


def test_a_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    augment: Any = {"is": "equissl.augment:Identity"}
    for _ in range(3000):
        augment = {"is": "equissl.augment:Pipeline", "steps": [augment]}
    with pytest.raises(UserError, match="nested too deeply"):
        from_dict(changed("views.a.augment", augment), Recipe)
    (tmp_path / "recipe.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"recipe.json"):
        _ = open_run(tmp_path).recipe
    (tmp_path / "recipe.json").write_text("9" * 10_000)
    with pytest.raises(UserError, match=r"recipe.json"):
        _ = open_run(tmp_path).recipe


COMPONENTS = [
    ("base", "equissl.training:AdamW", "base: expected BaseConfig, but equissl.training:AdamW is none"),
    ("base", "equissl.equivariance:SIE.Config", "base: expected BaseConfig"),
    ("optimizer", "equissl.invariance:SimCLR.Config", "optimizer: expected OptimizerConfig"),
    ("data", "equissl.data:ImageReader", "data: expected Data, but"),
    ("data", "equissl.runs:Run", "data: expected Data, but"),
    ("views.a.augment", "equissl.data:Solids", "views.a.augment: expected Augmentation"),
    ("views.a.draw", "equissl.augment:Identity", "views.a.draw: expected Fresh or SameAs or Between"),
]


@pytest.mark.parametrize(("path", "address", "message"), COMPONENTS)
def test_a_stored_component_must_be_of_its_fields_type(path: str, address: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(changed(path, {"is": address}), Recipe)


def stored(config: Any, **fields: Any) -> Any:
    return {**to_dict(config), **fields}


FUNCTIONS = ["equissl.cli.main:main", "equissl.cli:main", "subprocess:run", "equissl.training.loop:train"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_stored_function_needs_trust_below_equissl_too(name: str) -> None:
    package = name.partition(".")[0].partition(":")[0]
    config = EncoderConfig(name=name, options={"words": ["doctor"]})
    with pytest.raises(UserError, match=rf"name='{name}' was read from a file and calls .* trust={package}"):
        from_dict(to_dict(config), BackboneConfig)
    with pytest.raises(UserError, match=f"trust={package}"):
        from_dict(to_dict(config), BackboneConfig, ["another_package"])
    assert from_dict(to_dict(config), BackboneConfig, [package]) == replace(
        config, options={"words": ("doctor",)}
    )
    assert trust_needs(config) == {package}


@pytest.mark.parametrize(
    "option", ["pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"]
)
def test_stored_options_that_fetch_or_read_need_trust(option: str) -> None:
    options = {option: {"url": "http://localhost/x.pth"}}
    with pytest.raises(UserError, match=rf"options=.*{option}.*trust=equissl"):
        from_dict(stored(EncoderConfig(), options=options), BackboneConfig)
    assert from_dict(stored(EncoderConfig(), options=options), BackboneConfig, ["equissl"]).options == options
    assert override(EncoderConfig(), {f"options.{option}": "x"}).options == {
        option: "x"
    }  # the user's own act


@pytest.mark.parametrize("option", ["num_classes", "in_chans", "features_only", "model_name"])
def test_options_that_equissl_sets_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"options.{option} is set by equissl"):
        EncoderConfig(options={option: 1})


def test_a_stored_dataset_opens_no_unchecked_pickle(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    data = Cifar10.example(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError, match=r"verify=False was read .* opens pickles .* trust=equissl"):
        from_dict(to_dict(data), Cifar10)
    checked = from_dict(stored(data, verify=True), Cifar10)
    with pytest.raises(UserError, match="differ from the published ones"):
        checked.open("test")
    assert not marker.exists()
    assert from_dict(to_dict(data), Cifar10, ["equissl"]) == data


def test_a_stored_dataset_downloads_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"download=True was read .* fetches .* trust=equissl"):
        from_dict(to_dict(Cifar10(str(tmp_path), download=True)), Cifar10)


def test_a_run_stores_data_that_are_there(tmp_path: Path) -> None:
    """The user's own download is not repeated, so that the run is evaluated without ``trust=``."""
    recipe = replace(from_dict(STORED, Recipe), data=Cifar10(str(tmp_path), download=True))
    opened = replace(recipe, data=recipe.data.opened())
    (tmp_path / "recipe.json").write_text(json.dumps(to_dict(opened)))
    assert Run(tmp_path).recipe == opened
    assert run_differences(Run(tmp_path), recipe) == []


def test_a_stored_dataset_packs_and_generates_nothing(tmp_path: Path) -> None:
    data = ThreeDIEBench.example(tmp_path)
    with pytest.raises(UserError, match=r"path=.* would be packed into .*trust=equissl"):
        from_dict(to_dict(data), ThreeDIEBench)
    data.open("train")
    assert from_dict(to_dict(data), ThreeDIEBench) == data
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(UserError, match=r"would be packed into .*elsewhere"):
        from_dict(stored(data, pack=str(elsewhere)), ThreeDIEBench)
    missing = Crystals(path=str(elsewhere), plan=CrystalPlan(kind="blob", count=4))
    with pytest.raises(UserError, match=r"path=.*would be generated and written there.*trust=equissl"):
        from_dict(to_dict(missing), Crystals)
    assert not elsewhere.exists()
    moved = stored(data, path=str(tmp_path / "nowhere"))  # a run without its data can still embed others
    assert from_dict(moved, ThreeDIEBench).path == str(tmp_path / "nowhere")


def test_encoders_of_equissl_are_typed_configs() -> None:
    config = CrystalNet.Config(channels=(4, 4), pools=(2, 2), hidden=(8,), size=16)
    assert from_dict(json.loads(json.dumps(to_dict(config))), BackboneConfig) == config


@dataclass(frozen=True)
class OwnBase(BaseConfig):
    """A component from outside the package."""

    def build(self, encoder: Any, spaces: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def reads(self) -> tuple[str, ...]:
        return ("a", "b")


def test_a_component_from_outside_needs_trust() -> None:
    own = changed("base", to_dict(OwnBase()))
    package = OwnBase.__module__.partition(".")[0]
    with pytest.raises(UserError, match=rf"base: .*is code outside \['equissl'\].*trust={package}"):
        from_dict(own, Recipe)
    assert from_dict(own, Recipe, [package]).base == OwnBase()
    assert trust_needs(from_dict(own, Recipe, [package])) == {package}


NAMES = """
import sys
from equissl.config.serialize import locate
from equissl.errors import UserError
before = set(sys.modules)
for name in {names!r}:
    try:
        locate(name)
    except UserError:
        continue
    raise SystemExit(name + " was found")
print(sorted(set(sys.modules) - before))
"""


def test_names_that_are_no_public_class_import_nothing() -> None:
    names = ["equissl.__main__:main", "equissl.cli.main:main", "equissl.cli:main", "equissl.nosuch:Class"]
    names += ["equissl.render.blender.worker:main", "equissl.training.loop:Path", "antigravity:Class"]
    names += [
        "equissl.training:SGD.__init__.__globals__",
        "equissl.training:..",
        "../x:Class",
        "equissl:os.Path",
    ]
    script = NAMES.format(names=names)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    imported = json.loads(done.stdout.replace("'", '"'))
    assert not [
        m for m in imported if m.startswith("equissl") and "optim" not in m and m != "equissl.training"
    ]
    assert "antigravity" not in imported and "equissl.__main__" not in imported


def test_importing_the_main_module_runs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[1:] = ['nosuch']; import equissl.__main__"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_hostile_run_folder_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps(changed("encoder.name", "equissl.cli.main:main")))
    (run / "environment.json").write_text("{}")
    for words in (["export", str(run)], ["resume", str(run)], ["evaluate", str(run)]):
        assert main(words) == 2
        shown = capsys.readouterr().err
        assert "recipe.json: encoder.name='equissl.cli.main:main' was read from a file" in shown
        assert "trust=equissl" in shown


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"equissl": 1}', '{"equissl": {}}', '{"equissl": {"encoder": 1}}']
)
def test_a_hostile_export_is_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config.json"):
        load_encoder(str(tmp_path))


def test_an_export_names_no_code(tmp_path: Path) -> None:
    encoder = to_dict(EncoderConfig(name="subprocess:run", options={"args": ["true"]}))
    (tmp_path / "config.json").write_text(json.dumps({"equissl": {"encoder": encoder}}))
    with pytest.raises(UserError, match=r"config.json: name='subprocess:run' was read from a file"):
        load_encoder(str(tmp_path))
    data = ImageFolder("photos", size=8)
    (tmp_path / "config.json").write_text(json.dumps({"equissl": {"encoder": to_dict(data)}}))
    with pytest.raises(UserError, match=r"expected BackboneConfig, but equissl\.data:ImageFolder is none"):
        load_encoder(str(tmp_path))
