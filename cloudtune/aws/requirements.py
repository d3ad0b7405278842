"""Requirement files merged into one: the tuner's and the script's, without touching either."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cloudtune.aws.version_ranges import allows
from cloudtune.errors import SpecError

_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)", re.DOTALL)
_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([A-Za-z0-9.*+!_-]+)")
_HASH = re.compile(r"\s--hash[= ]\S+")
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:[ =]\s*|(?=\S))(.+)")
# Options that are facts about where packages come from and travel as they are.
_OPTIONS = (
    "--index-url --extra-index-url --find-links --no-index --no-binary --only-binary --prefer-binary --pre "
    "--trusted-host --require-hashes --use-feature -i -f"
)
# Of these there can be one alone.
_SINGLE_OPTIONS = {"--index-url": "--index-url", "-i": "--index-url"}
_MAX_INCLUDES = 20


@dataclass(frozen=True)
class RequirementsText:
    """Requirements that are in no file; ``label`` stands for the file's name in messages."""

    label: str
    text: str


@dataclass(frozen=True)
class Requirement:
    """One requirement and where it stands. ``clauses`` are ``(operator, version)``."""

    name: str
    where: str
    extras: frozenset[str] = frozenset()
    clauses: tuple[tuple[str, str], ...] = ()
    url: str = ""
    marker: str = ""
    hashes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What counts as the same package: normalized name (PEP 503) and marker."""
        return re.sub(r"[-_.]+", "-", self.name).lower(), self.marker

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        version = f" @ {self.url}" if self.url else ",".join(f"{op}{v}" for op, v in self.clauses)
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{self.name}{extras}{version}{marker}{''.join(self.hashes)}"


@dataclass
class _Collected:
    options: dict[str, str] = field(default_factory=dict)  # line -> where
    requirements: list[Requirement] = field(default_factory=list)


def merge_requirements(sources: Sequence[Path | RequirementsText]) -> str:
    """One requirements file that asks for all that ``sources`` ask for; the same text for the same sources.

    Comments go, ``-r`` includes are resolved, extras are united, version ranges of one package are joined.

    Raises:
        SpecError: Naming both files and lines, if two of them cannot be had together (``torch==2.1`` and
            ``torch==2.2``, or ``torch<2``); for a line that is no requirement, or means something on this
            machine alone (``-e .``, ``./wheel``, ``-c``).
    """
    collected = _Collected()
    for source in sources:
        if isinstance(source, RequirementsText):
            _read_lines(source.text, source.label, Path(), collected, ())
        else:
            _read_file(source, collected, ())
    merged: dict[tuple[str, str], Requirement] = {}
    for requirement in collected.requirements:
        known = merged.get(requirement.key)
        merged[requirement.key] = requirement if known is None else _join(known, requirement)
    _refuse_conflicts_over_markers(list(merged.values()))
    lines = [*collected.options, *(str(merged[key]) for key in sorted(merged))]
    return "".join(f"{line}\n" for line in lines)


def _read_file(path: Path, collected: _Collected, above: tuple[Path, ...]) -> None:
    resolved = path.resolve()
    if resolved in above or len(above) >= _MAX_INCLUDES:
        return  # pip, too, reads a circle once
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        by = f" (included by {above[-1]})" if above else ""
        raise SpecError(f"The requirements file {path}{by} cannot be read: {error}.", "Check its path.") from error
    _read_lines(text, str(path), path.parent, collected, (*above, resolved))


def _read_lines(text: str, label: str, folder: Path, collected: _Collected, above: tuple[Path, ...]) -> None:
    for number, line in _logical_lines(text):
        where = f"{label}:{number}"
        include = _INCLUDE.fullmatch(line)
        if include is not None:
            _read_file(folder / include[1].strip(), collected, above)
        elif line.startswith("-"):
            _add_option(line, where, collected)
        else:
            collected.requirements.append(_parse(line, where))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, continued ones joined, each with the number it begins at."""
    held, begun = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw)
        begun = begun if held else number
        if line.rstrip().endswith("\\"):
            held += line.rstrip()[:-1] + " "
            continue
        joined = (held + line).strip()
        held = ""
        if joined:
            yield begun, joined
    if held.strip():
        yield begun, held.strip()


def _add_option(line: str, where: str, collected: _Collected) -> None:
    option = re.split(r"[ =]", line, maxsplit=1)[0]
    if option not in _OPTIONS.split():
        raise SpecError(
            f"{where}: {line!r} cannot be sent along: it means something on this machine alone, or is unknown.",
            "Name packages with versions or URLs; pass folders of your own code as dependencies.",
        )
    single = _SINGLE_OPTIONS.get(option)
    for other, other_where in collected.options.items():
        if single and other != line and _SINGLE_OPTIONS.get(re.split(r"[ =]", other, maxsplit=1)[0]) == single:
            raise SpecError(
                f"{other_where} and {where} name different indexes: {other!r} and {line!r}.", "Keep one."
            )
    collected.options.setdefault(line, where)


def _parse(line: str, where: str) -> Requirement:
    hashes = tuple(" " + found.strip() for found in _HASH.findall(line))
    match = _NAME.fullmatch(_HASH.sub("", line).strip())
    if match is None or line.startswith((".", "/")):
        raise _no_requirement(line, where)
    name, extras, rest = match.groups()
    result = Requirement(
        name, where, frozenset(part.strip() for part in (extras or "").split(",") if part.strip()), hashes=hashes
    )
    rest = rest.strip()
    if rest.startswith("@"):
        # A marker after a URL needs a space before its semicolon (PEP 508).
        url, _, marker = rest[1:].partition(" ;")
        if not re.match(r"[a-z+]+://", url.strip()) or url.strip().startswith("file:"):
            raise _no_requirement(line, where)
        return replace(result, url=url.strip(), marker=_normal_marker(marker))
    versions, _, marker = rest.partition(";")
    versions = versions.strip().removeprefix("(").removesuffix(")")
    clauses = [clause.strip() for clause in versions.split(",") if clause.strip()]
    parsed = [_CLAUSE.fullmatch(clause) for clause in clauses]
    if not all(parsed):
        raise _no_requirement(line, where)
    found = sorted({(clause[1], clause[2]) for clause in parsed if clause is not None})
    return _refuse_conflict_within(replace(result, clauses=tuple(found), marker=_normal_marker(marker)))


def _no_requirement(line: str, where: str) -> SpecError:
    return SpecError(
        f"{where}: {line!r} is no requirement that can be installed elsewhere.",
        "Write name, name==version, or name @ https://...; pass folders of your own code as dependencies.",
    )


def _normal_marker(marker: str) -> str:
    return re.sub(r"\s+", " ", marker.strip()).replace("'", '"')


def _join(one: Requirement, other: Requirement) -> Requirement:
    if one.url != other.url:
        raise _conflict(one, other)
    if not _satisfiable(*one.clauses, *other.clauses):
        raise _conflict(one, other)
    where = one.where if one.where == other.where else f"{one.where}, {other.where}"
    return replace(
        one,
        where=where,
        extras=one.extras | other.extras,
        clauses=tuple(sorted({*one.clauses, *other.clauses})),
        hashes=tuple(sorted({*one.hashes, *other.hashes})),
    )


def _satisfiable(*clauses: tuple[str, str]) -> bool:
    """Whether one of the pinned versions satisfies all clauses; what cannot be told is for pip."""
    pins = [version for operator, version in clauses if operator in ("==", "===") and "*" not in version]
    return not pins or any(all(allows(pin, clause) is not False for clause in clauses) for pin in pins)


def _refuse_conflict_within(requirement: Requirement) -> Requirement:
    if not _satisfiable(*requirement.clauses):
        raise SpecError(f"{requirement.where}: '{requirement}' allows no version at all.", "Mend the line.")
    return requirement


def _refuse_conflicts_over_markers(requirements: Sequence[Requirement]) -> None:
    """A requirement without a marker holds everywhere, also where one with a marker does."""
    always = {requirement.key[0]: requirement for requirement in requirements if not requirement.marker}
    for requirement in requirements:
        general = always.get(requirement.key[0])
        if requirement.marker and general is not None:
            _join(replace(general, marker=requirement.marker), requirement)


def _conflict(one: Requirement, other: Requirement) -> SpecError:
    return SpecError(
        f"Two requirements cannot be had together: '{one}' ({one.where}) and '{other}' ({other.where}).",
        "Change one of the files so that both allow the same version.",
    )
