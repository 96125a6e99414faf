"""Repository files: one version and address everywhere, valid issue forms, workflows that run .ci/run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import equissl
from equissl.config.public import installed_version

ROOT = Path(equissl.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
FORMS = sorted(p for p in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
URL = re.compile(r"https://(?:github\.com|raw\.githubusercontent\.com)/equissl/[^\s)>\"']*")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_version_is_one() -> None:
    changelog = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert changelog is not None
    assert changelog[1] == read(ROOT / "CITATION.cff")["version"] == PROJECT["version"]
    assert installed_version("equissl") == PROJECT["version"]


@pytest.mark.parametrize(
    "path",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *FORMS, ROOT / "pyproject.toml"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_addresses_of_the_repository_lead_to_its_files(path: Path) -> None:
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    for url in URL.findall(path.read_text("utf-8")):
        assert url.startswith((REPOSITORY, raw)), f"{url} is not below {REPOSITORY}"
        file = re.match(rf"(?:{REPOSITORY}/(?:blob|tree)|{raw})/main/([^#\s]*)", url)
        assert file is None or (ROOT / file[1]).exists(), f"{url}: there is no {file and file[1]}"


@pytest.mark.parametrize("form", FORMS, ids=lambda p: p.stem)
def test_issue_forms_have_what_github_asks_for(form: Path) -> None:
    content = read(form)
    assert {"name", "description", "body"} <= content.keys()
    assert all(
        b["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"} for b in content["body"]
    )
    fields = [b for b in content["body"] if b["type"] != "markdown"]
    assert all(b["attributes"]["label"] for b in fields)
    ids = [b["id"] for b in fields]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.stem)
def test_workflows_pin_their_actions_and_write_nothing(workflow: Path) -> None:
    content = read(workflow)
    assert content["permissions"] == {"contents": "read"}
    steps = [s for job in content["jobs"].values() for s in job["steps"]]
    assert steps and all(("uses" in s) != ("run" in s) for s in steps)
    assert all(re.fullmatch(r"[\w.-]+/[\w./-]+@v\d+(\.\d+)*", s["uses"]) for s in steps if "uses" in s)


def test_github_runs_the_same_checks_as_everyone() -> None:
    steps = [s for job in read(ROOT / ".github/workflows/checks.yml")["jobs"].values() for s in job["steps"]]
    assert any("bash .ci/run" in s.get("run", "") for s in steps)
    installed = next(s["run"] for s in steps if "uv pip install" in s.get("run", ""))
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    assert set(re.findall(r"--group (\w+)", installed)) <= groups.keys()
    hooks = read(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    checked = (ROOT / ".ci" / "run").read_text("utf-8")
    assert all(hook["name"] in checked for hook in hooks)  # ruff check, ruff format
