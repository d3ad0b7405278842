"""The code of a launch as one archive that depends on nothing but its content."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import itertools
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cloudtune import paths
from cloudtune.aws.objects import S3Objects
from cloudtune.errors import SpecError
from cloudtune.paths import S3Uri

ARCHIVE_NAME = "code.tar.gz"
MAX_FILE_BYTES = 50 << 20
MAX_TOTAL_BYTES = 200 << 20
MAX_FILES = 20_000
MAX_FOLDERS = 5_000

EXCLUDED_FOLDERS = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        ".venv",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
        ".cache",
        ".ipynb_checkpoints",
        ".idea",
        ".vscode",
        ".eggs",
        "node_modules",
    }
)
#: Keys and passwords, which must not travel: a bucket has more readers than a home folder. Named in ``skipped``.
SECRET_FOLDERS = frozenset({".aws", ".ssh", ".gnupg", ".kube", ".docker", ".azure", ".gcloud"})
SECRET_FILES = (
    ".env",
    ".env.*",
    ".envrc",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".pgpass",
    ".npmrc",
    ".git-credentials",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.pem",
    "*.key",
    "*.ppk",
    "*.p12",
    "*.pfx",
    "*.kdbx",
    "credentials",
    "credentials.json",
)
EXCLUDED_SUFFIXES = (".pyc", ".pyo", ".egg-info")
EXCLUDED_FILES = frozenset({".DS_Store", "Thumbs.db"})
#: A folder with this file is a virtual environment, whatever it is called.
_VENV_MARKER = "pyvenv.cfg"
_SHOWN = 5


@dataclass(frozen=True)
class CodeArchive:
    """A ``tar.gz`` in memory.

    Args:
        digest: Of names, modes and contents; equal on every machine and at any time.
        data: The archive.
        listing: ``(name, bytes)`` of each file, sorted.
        skipped: Symbolic links that were left out since they lead out of their folder, files of no kind
            that can be packed, and what looks like keys or passwords.
    """

    digest: str
    data: bytes
    listing: tuple[tuple[str, int], ...]
    skipped: tuple[str, ...] = ()


def import_name(path: Path) -> str:
    """The name under which a dependency is imported: a link's own, not that of what it leads to."""
    name = path.expanduser().absolute().name
    return path.resolve().name if name == ".." else name


def build_archive(entries: Iterable[tuple[Path | bytes, str]]) -> CodeArchive:
    """Packs files, folders and literal contents.

    Args:
        entries: ``(source, name in the archive)``. A folder is packed with all it holds below that name (``""``:
            at the top), except version control, virtual environments, caches, and what looks like keys or
            passwords (``.env``, ``*.pem``, ``.aws``, ...); a file that is named itself is packed in any case.

    Raises:
        SpecError: If a source is missing or unreadable, a name leaves the archive or is used twice for different
            contents, a file exceeds 50 MB or all of them 200 MB; the largest are named.
    """
    skipped: list[str] = []
    files: dict[str, Path | bytes] = {}
    for source, name in entries:
        for found, inner in _expand(source, name, skipped):
            _add(files, _checked_name(inner), found)
            if len(files) > MAX_FILES:
                raise SpecError(
                    f"{_where(source)} holds more than {MAX_FILES} files; that is no code.",
                    "Point to the folder of the code alone.",
                )
    _refuse_files_as_folders(files)
    sizes = {name: _size(source) for name, source in files.items()}
    _refuse_oversize(sizes)
    tar = _tar(files)
    return CodeArchive(
        digest=hashlib.sha256(tar).hexdigest()[:32],
        data=gzip.compress(tar, compresslevel=6, mtime=0),
        listing=tuple(sorted(sizes.items())),
        skipped=tuple(sorted(skipped)),
    )


def upload_code(objects: S3Objects, bucket: str, archive: CodeArchive) -> S3Uri:
    """The folder in S3 that holds the archive as ``code.tar.gz``; uploaded unless it is there already."""
    folder = paths.code_archive(bucket, archive.digest)
    target = folder / ARCHIVE_NAME
    # The digest is that of the content. Compressed bytes may differ between versions of zlib.
    if not objects.exists(target):
        objects.put(target, archive.data)
    return folder


def _expand(source: Path | bytes, name: str, skipped: list[str]) -> Iterator[tuple[Path | bytes, str]]:
    if isinstance(source, bytes):
        yield source, name
        return
    if source.is_dir():
        root = source.resolve()
        yield from _walk(source, name, root, (root,), skipped, itertools.count(1))
    elif source.is_file():
        yield source, name
    else:
        raise SpecError(f"{source} is to be packed, but there is no such file or folder.", "Check the path.")


def _walk(
    folder: Path, name: str, root: Path, above: tuple[Path, ...], skipped: list[str], folders: Iterator[int]
) -> Iterator[tuple[Path, str]]:
    """Files below ``folder``. Links are followed as long as they stay below ``root`` and lead to no folder that
    they are in themselves (``above``). ``folders`` counts: a dozen that are linked with each other have more paths
    than can be walked."""
    if next(folders) > MAX_FOLDERS:
        raise SpecError(
            f"{root} holds more than {MAX_FOLDERS} folders, links among them counted each time; that is no code.",
            "Point to the folder of the code alone, and remove links between its folders.",
        )
    try:
        children = sorted(folder.iterdir(), key=lambda child: child.name)
    except OSError as error:
        raise SpecError(f"{folder} cannot be packed: {error.strerror}.") from error
    for child in children:
        inner = f"{name}/{child.name}" if name else child.name
        if is_excluded(child):
            continue
        if not inner.isprintable():  # most often bytes that are no UTF-8, which not even a message could show
            skipped.append(ascii(inner))
            continue
        target = _target(child, above[-1])
        if target is None:
            skipped.append(f"{inner} (a link that leads round in a circle)")
        elif is_secret(child) or is_secret(target):
            skipped.append(f"{inner} (looks like a key or password)")
        elif not target.is_relative_to(root) or (child.is_dir() and target in above):
            skipped.append(f"{inner} -> {target}")
        elif child.is_dir():
            yield from _walk(child, inner, root, (*above, target), skipped, folders)
        elif child.is_file():
            yield child, inner
        else:  # a socket, a pipe, a link to nowhere
            skipped.append(inner)


def _target(child: Path, folder: Path) -> Path | None:
    """What ``child`` of the resolved ``folder`` really is; None for a link to itself, directly or not."""
    real = folder / child.name
    try:
        return real.resolve() if real.is_symlink() else real
    except (OSError, RuntimeError):  # which of them depends on the version of Python
        return None


def is_excluded(path: Path) -> bool:
    """Whether a file or folder inside a packed folder stays at home."""
    if path.name.endswith(EXCLUDED_SUFFIXES):
        return True
    if path.is_dir():
        return path.name in EXCLUDED_FOLDERS or (path / _VENV_MARKER).is_file()
    return path.name in EXCLUDED_FILES


def is_secret(path: Path) -> bool:
    """Whether a file or folder, by its name, holds keys or passwords."""
    if path.is_dir():
        return path.name in SECRET_FOLDERS
    return any(fnmatch.fnmatchcase(path.name.lower(), pattern) for pattern in SECRET_FILES)


def _checked_name(name: str) -> str:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or str(path) != name:
        raise SpecError(
            f"{name!r} is no name for a file in an archive.",
            "Use relative names with slashes, such as src/train.py.",
        )
    return name


def _add(files: dict[str, Path | bytes], name: str, source: Path | bytes) -> None:
    other = files.setdefault(name, source)
    if other is not source and _read(other) != _read(source):
        raise SpecError(
            f"Two different files would be called {name!r} in the archive: {_where(other)} and {_where(source)}.",
            "Rename one of them, or pack them below different folders.",
        )


def _refuse_files_as_folders(files: dict[str, Path | bytes]) -> None:
    for name in files:
        for parent in PurePosixPath(name).parents:
            if str(parent) in files:
                raise SpecError(
                    f"{str(parent)!r} would be a file in the archive, and {name!r} a file below it.",
                    "Rename one of them.",
                )


def _where(source: Path | bytes) -> str:
    return "generated content" if isinstance(source, bytes) else str(source)


def _size(source: Path | bytes) -> int:
    if isinstance(source, bytes):
        return len(source)
    try:
        return source.stat().st_size
    except OSError as error:
        raise SpecError(f"{source} cannot be packed: {error.strerror}.") from error


def _read(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise SpecError(f"{source} cannot be packed: {error.strerror}.") from error


def _refuse_oversize(sizes: dict[str, int]) -> None:
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    hint = "Keep data out of the code's folder: put it in S3 and pass it as a channel."
    oversize = [item for item in largest if item[1] > MAX_FILE_BYTES]
    if oversize:
        raise SpecError(
            f"Too large for code (more than {MAX_FILE_BYTES >> 20} MB a file): {_megabytes(oversize)}.", hint
        )
    total = sum(sizes.values())
    if total > MAX_TOTAL_BYTES:
        raise SpecError(
            f"The code has {total / (1 << 20):.0f} MB, more than {MAX_TOTAL_BYTES >> 20} MB; the largest files "
            f"are {_megabytes(largest)}.",
            hint,
        )


def _megabytes(items: Sequence[tuple[str, int]]) -> str:
    text = ", ".join(f"{name} ({size / (1 << 20):.1f} MB)" for name, size in items[:_SHOWN])
    return f"{text} and {len(items) - _SHOWN} more" if len(items) > _SHOWN else text


def _tar(files: dict[str, Path | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            content = _read(files[name])
            info = tarfile.TarInfo(name)  # owner 0, no time
            info.size = len(content)
            info.mode = 0o755 if _is_executable(files[name]) else 0o644
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _is_executable(source: Path | bytes) -> bool:
    return isinstance(source, os.PathLike) and bool(source.stat().st_mode & stat.S_IXUSR)
