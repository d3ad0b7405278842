"""What travels with a tuner: its pickle, its training script, packages it needs, merged requirements."""

from __future__ import annotations

import io
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import dill
import numpy as np

from cloudtune.aws.code_archive import CodeArchive, build_archive, import_name
from cloudtune.aws.requirements import RequirementsText, merge_requirements
from cloudtune.errors import SnapshotError, SpecError
from cloudtune.remote import job_layout as layout
from cloudtune.remote.tuning_job import CORE_REQUIREMENTS, package_folder
from cloudtune.snapshot import write_snapshot
from cloudtune.tuner import Tuner

#: Folders of packages that are installed, here and (by the requirements) in the job.
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@runtime_checkable
class HasCode(Protocol):
    """A backend whose trials' code can travel with the tuner."""

    #: Trials share the tuner's machine; else each has a job of its own, which installs what the script requires.
    trials_run_here: bool

    def code_folders(self) -> list[Path]:
        """The folder that holds the training script, then packages and modules that it needs besides.

        Raises:
            SpecError: The script is missing.
        """
        ...

    def move_code(self, folder: Path, packages: Path) -> None:
        """The first of :meth:`code_folders` is ``folder`` now; the others are in ``packages``, each under the name
        by which it is imported."""
        ...


def as_code(tuner: Tuner) -> HasCode:
    """The tuner's backend, which knows the code of its trials.

    Raises:
        SpecError: It has none that can travel.
    """
    backend: object = tuner.trial_backend
    if not isinstance(backend, HasCode):
        raise SpecError(
            f"RemoteLauncher cannot ship the script of a {type(backend).__name__}.",
            "Use a LocalBackend or a SageMakerBackend.",
        )
    return backend


def build_tuner_archive(tuner: Tuner, dependencies: Sequence[str | Path]) -> CodeArchive:
    """Everything that the job needs.

    Raises:
        SnapshotError: The tuner cannot be pickled.
        SpecError: Something is missing, too large, contradicts itself, or would not be found in the job.
    """
    code = as_code(tuner)
    script_folder, *others = code.code_folders()
    packages = [(Path(path).expanduser().resolve(), import_name(Path(path))) for path in [*others, *dependencies]]
    snapshot = _pickled(tuner)
    _refuse_modules_left_behind(snapshot, [script_folder, *(path for path, _ in packages)])
    return build_archive(
        [
            (package_folder(), "cloudtune"),
            (script_folder, layout.SCRIPT_FOLDER),
            (snapshot, layout.TUNER_SNAPSHOT),
            (_requirements(code, dependencies).encode(), layout.REQUIREMENTS),
            *packages,
        ]
    )


def _requirements(code: HasCode, dependencies: Sequence[str | Path]) -> str:
    """Of the job. What trials require is installed where they run."""
    found: list[Path | RequirementsText] = [
        RequirementsText("cloudtune", "\n".join([*CORE_REQUIREMENTS, *_as_new_as_here()]))
    ]
    folders = [*(code.code_folders() if code.trials_run_here else ()), *dependencies]
    for folder in dict.fromkeys(Path(path).expanduser().resolve() for path in folders):
        found += sorted(folder.glob("requirements*.txt"))
    return merge_requirements(found)


def _pickled(tuner: Tuner) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cloudtune-launch-") as folder:
        path = Path(folder) / "tuner.dill"
        write_snapshot(path, tuner, 0)
        return path.read_bytes()


def _as_new_as_here() -> list[str]:
    """Older ones could not read the pickle."""
    release = ".".join(dill.__version__.split(".")[:3])
    return [f"dill>={release}", f"numpy>={np.__version__.split('.')[0]}.0"]


def _refuse_modules_left_behind(snapshot: bytes, travelling: Sequence[Path]) -> None:
    """Classes and functions of modules are pickled by name: the job must be able to import them."""
    fine = [Path(sysconfig.get_path("stdlib")).resolve(), package_folder().resolve()]
    fine += [path.resolve() for path in travelling]
    for name in sorted(_modules(snapshot.split(b"\n", 1)[1])):
        file = getattr(sys.modules.get(name), "__file__", None)
        if name == "__main__" or file is None:
            continue  # pickled by value; built in
        path = Path(file).resolve()
        if _INSTALLED.isdisjoint(path.parts) and not any(path.is_relative_to(place) for place in fine):
            raise SpecError(
                f"The tuner uses the module {name!r} ({path}), which would be missing in the job.",
                f"Pass dependencies=[{str(_root_of(name, path))!r}].",
            )


def _root_of(name: str, path: Path) -> Path:
    """The package or file that must travel for ``import name``."""
    top = getattr(sys.modules.get(name.split(".")[0]), "__file__", None)
    root = Path(top).resolve() if top else path
    return root.parent if root.name == "__init__.py" else root


def _modules(payload: bytes) -> set[str]:
    """Modules that unpickling imports, found by doing it: what fails here would fail in the job."""
    reader = _ImportRecorder(io.BytesIO(payload))
    try:
        reader.load()
    except Exception as error:
        raise SnapshotError(
            f"The tuner can be pickled, but not be read again: {error!r}.",
            "Look for objects with special pickling among scheduler, callbacks and stop criterion.",
        ) from error
    return reader.modules


class _ImportRecorder(dill.Unpickler):  # type: ignore[misc]  # dill has no types
    """Reads a pickle that was made here, and notes what it imports."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Called for each class and function that is pickled by name."""
        self.modules.add(module)
        found = super().find_class(module, name)
        return self._import_module if (module, name) == ("dill._dill", "_import_module") else found

    def _import_module(self, name: str, safe: bool = False) -> Any:
        """dill's way to pickle a module itself, or something that it holds."""
        parts = name.split(".")
        self.modules |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)} & set(sys.modules)
        return dill._dill._import_module(name, safe)
