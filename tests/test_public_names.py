"""Saved recipes name public addresses, which stay when a file moves."""

from __future__ import annotations

import dataclasses
import pkgutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import equissl
from equissl.config import public, registry
from equissl.config.public import address, lazy_exports, public_classes
from equissl.config.serialize import from_dict, locate, to_dict
from equissl.errors import UserError
from equissl.recipe import Recipe
from equissl.training.optim import LARS, OptimizerConfig

PACKAGES = ["equissl", *(f"equissl.{i.name}" for i in pkgutil.iter_modules(equissl.__path__) if i.ispkg)]
LAZY = [p for p in PACKAGES if p != "equissl.params"]  # its classes are what all the others are written with


def components(value: object) -> Iterator[Any]:
    """Every dataclass within a recipe."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for f in dataclasses.fields(value):
            yield from components(getattr(value, f.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from components(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from components(item)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_public_classes_share_a_name(package: str) -> None:
    public_classes(package)


@pytest.mark.parametrize("entry", registry.recipes(), ids=lambda e: e.name)
def test_a_recipe_names_packages_not_files(entry: registry.Entry) -> None:
    recipe: Recipe = entry.value()
    for component in components(recipe):
        name = address(type(component))
        assert name.partition(":")[0].count(".") <= 1, f"{name} names a file"
        assert locate(name) is type(component), f"{name} is not offered by its package"


def test_packages_are_imported_without_torch() -> None:
    code = (
        f"import importlib, sys\nfor p in {LAZY!r}: importlib.import_module(p)\nprint('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(AttributeError, match=r"equissl.invariance has no 'SimCRL'.*SimCLR"):
        _ = equissl.invariance.SimCRL
    assert "VICReg" in dir(equissl.invariance)


def test_files_of_a_package_are_attributes() -> None:
    for package, name in (("equissl.augment", "presets"), ("equissl.recipes", "equimod")):
        assert lazy_exports(package)[0](name).__name__ == f"{package}.{name}"


def test_a_renamed_component_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = to_dict(LARS(lr=0.3)) | {"is": "equissl.training:OldLARS"}
    with pytest.raises(UserError, match="OldLARS"):
        from_dict(stored, OptimizerConfig)
    monkeypatch.setattr(public, "RENAMED", {"equissl.training:OldLARS": "equissl.training:LARS"})
    monkeypatch.setattr("equissl.config.serialize.RENAMED", public.RENAMED)
    assert from_dict(stored, OptimizerConfig) == LARS(lr=0.3)


@pytest.mark.parametrize(("old", "new"), [*public.RENAMED.items()] or [("", "")])
def test_renames_lead_somewhere(old: str, new: str) -> None:
    if not old:
        pytest.skip("RENAMED is empty: nothing has been released")
    locate(new)
    assert new not in public.RENAMED, f"{old} -> {new} is renamed again"


def test_lazy_exports_offers_what_it_is_given() -> None:
    get, names = lazy_exports("equissl.invariance", also={"simsiam_loss": "simsiam"})
    assert callable(get("simsiam_loss")) and {"SimCLR", "simsiam_loss"} <= set(names())
