"""Who may know what: the rules that keep data flowing one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "agent" / "overcloud_agent"

PURE = [
    "deadlines.py",
    "fit.py",
    "identifiers.py",
    "merge.py",
    "model.py",
    "nesting.py",
    "records.py",
    "redact.py",
    "signals/routes.py",
    "signals/verdict.py",
    "packages/cgroups.py",
    "packages/languages.py",
    "packages/mounts.py",
    "packages/unit_rules.py",
    "containers/adoption.py",
    "containers/docker_cmd.py",
    "containers/plan.py",
    "containers/preview.py",
    "containers/described.py",
    "containers/docker_cmd.py",
    "containers/documents.py",
    "containers/job.py",
    "containers/loose.py",
    "containers/masks.py",
    "containers/order.py",
    "containers/report.py",
    "containers/schema.py",
    "containers/security.py",
    "containers/spec.py",
    "containers/target.py",
    "containers/values.py",
    "containers/volumes.py",
    "containers/podman_spec.py",
    "containers/unit_file.py",
    "packages/approval.py",
    "packages/classes.py",
    "packages/inputs.py",
    "packages/model.py",
    "packages/plan.py",
    "packages/space.py",
    "packages/tiers.py",
    "packages/workflow.py",
    "packages/outcomes.py",
    "packages/dnf5_output.py",
    "packages/nevras.py",
    "packages/replay.py",
]
# What no pure module has a use for.
DOING = {"os", "subprocess", "socket", "sqlite3", "requests", "podman", "threading", "time", "pathlib", "selectors"}


def imports(path: Path) -> set[str]:
    """Names of everything that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            own = node.module.startswith("overcloud_agent")
            found |= {alias.name for alias in node.names} if own else {node.module.split(".")[0]}
    return found


def importers(name: str) -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if name in imports(path))


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_do_no_io(module: str) -> None:
    assert not imports(PACKAGE / module) & DOING


def test_one_module_imports_podman() -> None:
    assert importers("podman") == ["containers/engine.py"]


def test_one_module_starts_processes() -> None:
    """The carrier is a program of its own, which runs when the agent's modules may be gone."""
    assert importers("subprocess") == ["packages/carrier.py", "run.py"]
    assert not any("overcloud_agent" in line for line in (PACKAGE / "packages/carrier.py").read_text().splitlines())


def test_one_module_reads_settings() -> None:
    assert importers("oslo_config") == ["options.py", "settings.py"]


def test_the_journal_is_the_only_database() -> None:
    assert set(importers("sqlite3")) == {"database.py", "journal.py", "mail.py"}


@pytest.mark.parametrize("library", ["keystoneauth1", "keystoneclient", "os_collect_config", "podman", "rich", "yaml"])
def test_heavy_libraries_are_imported_late(library: str) -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        top = {alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        top |= {(node.module or "").split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert library not in top, path
