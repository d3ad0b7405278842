"""Scenarios: what goes wrong, as a document; presets are files in ``scenarios/``."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cloudtune.emulator.faults import reading
from cloudtune.emulator.faults.calls import check_operations
from cloudtune.emulator.faults.kinds import (
    KINDS,
    Fault,
    Interruption,
    InterruptionTrace,
    RequestError,
    SlowResponse,
    Throttle,
)
from cloudtune.emulator.service_error import JsonObject
from cloudtune.errors import SpecError

SCHEMA = 1
DELAYS = ("calm", "realistic")
QUOTA_KINDS = ("on_demand", "spot", "warm_pool")
_PRESETS = Path(__file__).parent / "scenarios"
_MEMBERS = ("schema", "name", "description", "delays", "quotas", "faults")
_TEXTS = {"name": "custom", "description": "", "delays": "calm"}
_MAX_FILE_BYTES = 8 << 20


@dataclass(frozen=True)
class Scenario:
    """What goes wrong, and how often.

    Args:
        name: For people.
        description: For people.
        delays: How long instances take to come and go: ``calm`` (no time) or ``realistic``.
        quotas: Instances of a type (or ``*``) that may be in use at once, by kind of quota.
        faults: In any order; a request meets all that apply to it.
    """

    name: str = "calm"
    description: str = ""
    delays: str = "calm"
    quotas: tuple[tuple[str, str, int], ...] = ()
    faults: tuple[Fault, ...] = ()

    @classmethod
    def from_json(cls, document: object) -> Scenario:
        """Raises SpecError for whatever is wrong with it."""
        return _read(document, None)

    def to_json(self) -> JsonObject:
        quotas: dict[str, dict[str, int]] = {}
        for instance_type, kind, limit in self.quotas:
            quotas.setdefault(instance_type, {})[kind] = limit
        faults = [{"kind": fault.kind, **reading.to_document(fault)} for fault in self.faults]
        return {
            "schema": SCHEMA,
            "name": self.name,
            "description": self.description,
            "delays": self.delays,
            "quotas": quotas,
            "faults": faults,
        }


def preset_names() -> list[str]:
    """The scenarios that are shipped, the default first."""
    return sorted((path.stem for path in _PRESETS.glob("*.json")), key=lambda name: (name != "calm", name))


def load_scenario(source: str | os.PathLike[str] | Scenario) -> Scenario:
    """A scenario from the name of a preset or from a file.

    Args:
        source: A text without a folder and without ``.json`` is a preset's name.

    Raises:
        SpecError: There is no such preset or file, or its content is no scenario.
    """
    if isinstance(source, Scenario):
        return source
    path = Path(source)
    if isinstance(source, str) and path.suffix != ".json" and path.name == source:
        if source not in preset_names():
            raise SpecError(
                f"There is no scenario {source!r}.",
                f"Choose one of: {', '.join(preset_names())}; or give the path of a .json file.",
            )
        path = _PRESETS / f"{source}.json"
    text = _text(path, "The scenario")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"The scenario {path} is no valid JSON: {error}.", "Mend the file.") from error
    return _read(document, path)


def _text(path: Path, what: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{what} {path} cannot be read: {error}.", "Give the path of a text file.") from error
    if len(text) > _MAX_FILE_BYTES:
        raise SpecError(f"{what} {path} is larger than {_MAX_FILE_BYTES >> 20} MiB.", "Give a smaller file.")
    return text


def _read(document: object, path: Path | None) -> Scenario:
    if not isinstance(document, dict):
        raise SpecError(f"A scenario is a JSON object, not {document!r}.", f"It has: {', '.join(_MEMBERS)}.")
    unknown = sorted(set(document) - set(_MEMBERS))
    if unknown:
        raise SpecError(f"A scenario has no field {unknown[0]!r}.", f"It has: {', '.join(_MEMBERS)}.")
    if document.get("schema") != SCHEMA:
        raise SpecError(
            f"schema={document.get('schema')!r} of the scenario is unknown.", f'Write "schema": {SCHEMA}.'
        )
    texts = {key: document.get(key, default) for key, default in _TEXTS.items()}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise SpecError(f"{key} of the scenario must be a text, not {value!r}.", f'Write "{key}": "...".')
    if texts["delays"] not in DELAYS:
        raise SpecError(
            f"delays of the scenario must not be {texts['delays']!r}.", f"Choose one of: {', '.join(DELAYS)}."
        )
    faults = document.get("faults", [])
    if not isinstance(faults, list):
        raise SpecError(f"faults of the scenario must be a list, not {faults!r}.", 'Example: [{"kind": "..."}].')
    return Scenario(
        quotas=_quotas(document.get("quotas", {})),
        faults=tuple(_fault(item, f"faults[{index}]", path) for index, item in enumerate(faults)),
        **texts,
    )


def _quotas(document: object) -> tuple[tuple[str, str, int], ...]:
    example = 'Example: {"ml.g5.2xlarge": {"spot": 1}}.'
    if not isinstance(document, dict):
        raise SpecError(f"quotas of the scenario must be an object, not {document!r}.", example)
    found = []
    for instance_type, limits in document.items():
        where = f"quotas[{instance_type!r}]"
        if not isinstance(limits, dict):
            raise SpecError(f"{where} must be an object, not {limits!r}.", example)
        for kind, limit in limits.items():
            if kind not in QUOTA_KINDS:
                raise SpecError(f"{where} has no kind {kind!r}.", f"Choose one of: {', '.join(QUOTA_KINDS)}.")
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
                raise SpecError(f"{where}: {kind}={limit!r} is no number of instances.", "Give 0 or more.")
            found.append((instance_type, kind, limit))
    return tuple(found)


def _fault(document: object, where: str, path: Path | None) -> Fault:
    if not isinstance(document, dict):
        raise SpecError(f"{where} must be an object, not {document!r}.", 'Example: {"kind": "interruption", ...}.')
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise SpecError(f"{where}: there is no kind {kind!r}.", f"Choose one of: {', '.join(KINDS)}.")
    where = f"{where} ({kind})"
    members = {name: value for name, value in document.items() if name != "kind"}
    if KINDS[kind] is InterruptionTrace and "file" in members:
        members["events"] = _trace(members.pop("file"), where, path)
    fault = reading.read(KINDS[kind], members, where)
    if fault.limits.until_s is not None and fault.limits.until_s < fault.limits.after_s:
        raise SpecError(f"{where}: until_s is before after_s.", "Give a later until_s, or leave it out.")
    if isinstance(fault, (Interruption, InterruptionTrace)):
        fault.check(where)
    elif isinstance(fault, (Throttle, RequestError, SlowResponse)):
        check_operations(fault.operations, where)
    return fault


def _trace(name: object, where: str, path: Path | None) -> list[JsonObject]:
    """Events from a CSV or JSON file beside the scenario's own."""
    if path is None or not isinstance(name, str):
        raise SpecError(
            f"{where}: file={name!r} can be given in a scenario file only.", "Give the events instead."
        )
    source = path.parent / name
    text = _text(source, f"{where}: the trace")
    try:
        if source.suffix == ".csv":
            return [_event(row) for row in csv.DictReader(io.StringIO(text))]
        events = json.loads(text)
    except (ValueError, RecursionError, csv.Error) as error:
        raise SpecError(f"{where}: {source}: {error}.", "Columns: time_s, zone, instance_type, notice.") from error
    return events if isinstance(events, list) else [events]


def _event(row: dict[str, str | None]) -> JsonObject:
    """A row's cells as JSON; an empty cell is left out."""
    event: JsonObject = {name: cell for name, cell in row.items() if cell}
    if "time_s" in event:
        event["time_s"] = float(event["time_s"])
    if "notice" in event:
        event["notice"] = {"true": True, "1": True, "false": False, "0": False}.get(
            event["notice"].lower(), event["notice"]
        )
    return event
