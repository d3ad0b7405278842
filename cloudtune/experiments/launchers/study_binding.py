"""What all launches of a study must have in common, whenever they are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cloudtune.errors import SpecError
from cloudtune.experiments.launchers import arguments as cli
from cloudtune.experiments.launchers.trials import Trials
from cloudtune.experiments.loading import STUDY_FILENAME
from cloudtune.paths import experiments_root, write_atomic

_BUCKET, _SETTINGS = "bucket", "settings"
#: No argument: each kind of trials has commands of its own.
_BACKEND = "backend"


def settings_of(trials: Trials, extra: Sequence[str]) -> dict[str, Any]:
    """What experiments of one benchmark must have in common to be compared, by name of the argument."""
    settings = {
        _BACKEND: trials.backend_name,
        "n_workers": trials.benchmark.n_workers,
        "max_wallclock_time": trials.benchmark.max_wallclock_time,
        "random_seed": cli.master_seed(trials.arguments),
        **trials.settings(),
        **{name: getattr(trials.arguments, name) for name in extra},
    }
    return dict(json.loads(json.dumps(settings, default=str)))


class StudyBinding:
    """The file ``{root}/{tag}/.study.json``. One that is damaged binds nobody.

    Args:
        tag: Of the study.
    """

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._path = experiments_root() / tag / STUDY_FILENAME

    @property
    def exists(self) -> bool:
        """Whether the study has been launched from this machine."""
        return self._path.exists()

    def claim(self, bucket: str) -> None:
        """Notes where the jobs are. A tag that was rehearsed on the emulator, or used in another account, names
        another study: its results on this machine would be taken for those of the new jobs.

        Raises:
            SpecError: The tag belongs to another bucket.
        """
        content = self._read()
        known = content.get(_BUCKET, bucket)
        if known != bucket:
            raise SpecError(
                f"The study {self._tag} on this machine has its results from bucket {known}, not from {bucket}.",
                f"Use another --experiment_tag, or remove {self._path.parent}.",
            )
        self._write({**content, _BUCKET: bucket})

    def check(self, benchmark: str, settings: Mapping[str, Any]) -> None:
        """Jobs that are there already are not run again: with other settings, their results would be shown as
        what they are not.

        Raises:
            SpecError: The study was launched with other settings; names them.
        """
        known = self._settings(benchmark)
        changed = [name for name, value in settings.items() if name in known and known[name] != value]
        if changed:
            before, now = (", ".join(_text(name, of[name]) for name in changed) for of in (known, settings))
            raise SpecError(
                f"Study {self._tag} was launched with {before} on {benchmark}; this command says {now}.",
                "Use the same settings to continue it, or another --experiment_tag.",
            )

    def bind(self, benchmark: str, settings: Mapping[str, Any]) -> bool:
        """From now on :meth:`check` insists on ``settings``. Returns whether that is news."""
        content = self._read()
        if self._settings(benchmark):
            return False
        self._write({**content, _SETTINGS: {**content.get(_SETTINGS, {}), benchmark: dict(settings)}})
        return True

    def release(self, benchmark: str) -> None:
        """Takes :meth:`bind` back: no job was made."""
        content = self._read()
        content.get(_SETTINGS, {}).pop(benchmark, None)
        self._write(content)

    def _settings(self, benchmark: str) -> dict[str, Any]:
        return dict(self._read().get(_SETTINGS, {}).get(benchmark, {}))

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(content, dict) or not isinstance(content.get(_BUCKET, ""), str):
            return {}
        settings = content.get(_SETTINGS, {})
        if not isinstance(settings, dict) or not all(isinstance(entry, dict) for entry in settings.values()):
            del content[_SETTINGS]
        return content

    def _write(self, content: Mapping[str, Any]) -> None:
        write_atomic(self._path, json.dumps(content))


def _text(name: str, value: Any) -> str:
    if name == _BACKEND:
        return f"the {value} backend"
    return f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"
