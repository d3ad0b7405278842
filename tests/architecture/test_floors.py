"""Imports go down only, as docs/architecture.md has it; and the core wakes no cloud."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cloudtune"

FLOORS = {
    0: ["errors", "clock", "constants", "_compat"],
    1: [
        "config_space",
        "trial",
        "job_spec",
        "paths",
        "names",
        "report",
        "report_lines",
        "report_stream",
        "checkpointing",
        "checkpoints",
        "script_args",
        "instance_info",
        "instance_prices",
        "utils",
    ],
    2: ["optimizer", "experiment"],
    3: [
        "tuner_loop",
        "stopping_criterion",
        "tuning_status",
        "tuner_callback",
        "tuner_observers",
        "results_callback",
        "live_view",
        "snapshot",
        "experiment_record",
        "results",
    ],
    4: ["backend", "stores", "aws"],
    5: ["tuner", "remote", "sagemaker_backend", "simulated_cloud", "emulator", "experiments", "testing", "cli"],
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
#: Third-party packages that a floor may import at all (inside functions included).
ALLOWED = {
    0: set(),
    1: {"numpy", "torch", "scipy"},
    2: {"numpy", "scipy", "torch", "botorch", "gpytorch"},
    3: {"numpy", "pandas", "dill", "rich", "matplotlib", "scipy"},
}
CLOUD = {"boto3", "botocore", "sagemaker", "s3transfer"}
STDLIB = set(sys.stdlib_module_names) | {"__future__"}


def modules() -> list[tuple[Path, str]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if top != "__init__":
            found.append((path, top))
    return found


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, only for the type checker) of each import in the file."""
    tree = ast.parse(path.read_text())
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(alias.name, id(node) in guarded) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [(f"{node.module}.{alias.name}", id(node) in guarded) for alias in node.names]
    return names


def test_every_module_has_a_floor() -> None:
    assert {top for _, top in modules()} <= set(FLOOR_OF)


@pytest.mark.parametrize(("path", "top"), modules(), ids=lambda value: str(value).split("/cloudtune/")[-1])
def test_imports_go_down(path: Path, top: str) -> None:
    floor = FLOOR_OF[top]
    for name, for_types_only in imports(path):
        parts = name.split(".")
        if parts[0] == "cloudtune":
            target = parts[1] if len(parts) > 1 else ""
            if target not in FLOOR_OF or target == top or for_types_only:
                continue
            below = FLOOR_OF[target] < floor or (FLOOR_OF[target] == floor and floor not in (0, 4))
            if floor == 4:
                below = FLOOR_OF[target] <= 2
            assert below, f"{path.name} (floor {floor}) imports {name} (floor {FLOOR_OF[target]})"
        elif parts[0] not in STDLIB:
            if floor in ALLOWED and not for_types_only:
                assert parts[0] in ALLOWED[floor], f"{path.name} (floor {floor}) imports {name}"
            if parts[0] in CLOUD:
                assert top in ("aws", "emulator"), f"{path.name} imports {name}: only cloudtune/aws may"


def test_no_cycle_between_top_level_modules() -> None:
    edges: dict[str, set[str]] = {}
    for path, top in modules():
        for name, for_types_only in imports(path):
            parts = name.split(".")
            if parts[0] == "cloudtune" and len(parts) > 1 and parts[1] in FLOOR_OF and not for_types_only:
                edges.setdefault(top, set()).add(parts[1])
    done: set[str] = set()

    def visit(node: str, trail: tuple[str, ...]) -> None:
        assert node not in trail, f"import cycle: {' -> '.join([*trail, node])}"
        if node not in done:
            for target in sorted(edges.get(node, set()) - {node}):
                visit(target, (*trail, node))
            done.add(node)

    for node in sorted(edges):
        visit(node, ())


def woken_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_the_package_wakes_no_heavy_dependency() -> None:
    heavy = {"boto3", "botocore", "sagemaker", "torch", "dill", "pandas", "numpy", "scipy", "rich", "matplotlib"}
    assert not woken_by("import cloudtune") & heavy


def test_the_reporter_wakes_the_standard_library_alone() -> None:
    woken = woken_by("from cloudtune import Reporter")
    assert not woken & {"numpy", "boto3", "torch", "pandas", "dill", "scipy", "rich"}


@pytest.mark.parametrize("name", ["supervisor", "trial_supervisor"])
def test_process_1_of_a_job_wakes_the_standard_library_alone(name: str) -> None:
    """It runs before anything is installed, in any image."""
    woken = woken_by(f"import cloudtune.remote.{name}")
    assert {module for module in woken - woken_by("pass") - STDLIB if not module.startswith("_")} == {"cloudtune"}


def test_the_tuner_wakes_no_cloud() -> None:
    assert not woken_by("from cloudtune import Tuner, StoppingCriterion") & {
        "boto3",
        "botocore",
        "sagemaker",
        "torch",
    }
