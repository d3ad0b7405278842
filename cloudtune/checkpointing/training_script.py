"""What a training script calls to write its checkpoints and to resume from them."""

from __future__ import annotations

import argparse
import contextlib
import logging
import operator
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudtune import constants
from cloudtune.checkpointing.directory import Checkpoint, find, is_good, prune, publish, remove, write
from cloudtune.clock import WallClock
from cloudtune.errors import CheckpointError, SpecError

logger = logging.getLogger(__name__)

DEFAULT_INTERVAL_S = 60.0

_clock = WallClock()
_started = _clock.now()
_last_write: dict[Path, float] = {}


def add_checkpointing_to_argparse(parser: argparse.ArgumentParser) -> None:
    """Adds ``--st_checkpoint_dir``, by which backends tell a script where its checkpoints belong."""
    parser.add_argument(
        f"--{constants.ST_CHECKPOINT_DIR}",
        type=str,
        default=None,
        help="directory for checkpoints; without it none are written or read",
    )


def seen_level() -> int | None:
    """The highest resource level whose report is safely recorded, or None if nobody keeps count.

    Scripts that write checkpoints by their own means resume from the newest one at or below this level.
    """
    name = os.environ.get(constants.ENV_SEEN_LEVEL_FILE)
    if name is None:
        return None
    try:
        text = Path(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    try:
        return int(text)
    except ValueError:
        logger.warning("%s holds no number but %.40r: taken for 0, the trial starts from scratch", name, text)
        return 0


def resume_from_checkpointed_model(config: Mapping[str, Any], load_model_fn: Callable[[str], int]) -> int:
    """Loads the newest good checkpoint at or below :func:`seen_level`, and removes those above it.

    Args:
        config: The script's arguments; without ``st_checkpoint_dir`` nothing is done.
        load_model_fn: Called with the checkpoint's directory; returns the resource level it was saved at.

    Returns:
        The level that training continues after; 0 to start from scratch.

    Raises:
        CheckpointError: A good checkpoint exists, but ``load_model_fn`` did not load it.
    """
    directory = _directory(config)
    if directory is None or not directory.is_dir():
        return 0
    limit = seen_level()
    level = 0
    with _os_errors("resume from", directory):
        found = find(directory)
        usable = (c for c in found if (limit is None or c.level <= limit) and is_good(c))
        chosen = next(usable, None)
        if chosen is not None:
            level = chosen.level
            _load(chosen if chosen.is_published else publish(chosen), load_model_fn)
        for candidate in find(directory):
            if candidate.level > level or not candidate.is_published:
                remove(candidate.path)
    return level


def checkpoint_model_at_rung_level(
    config: Mapping[str, Any], save_model_fn: Callable[[str, int], None], resource: int
) -> None:
    """Writes a checkpoint if one is due: call it after each unit of training, *before* reporting it.

    Due is each level if the scheduler names none; else its rung levels, and any other level once
    ``CLOUDTUNE_CHECKPOINT_INTERVAL_S`` (60) seconds have passed since the last one.

    Args:
        config: The script's arguments; without ``st_checkpoint_dir`` nothing is done.
        save_model_fn: Called with an empty directory to write into, and ``resource``.
        resource: Level reached, at least 1.

    Raises:
        SpecError: ``resource`` is no positive integer, or the environment is wrong.
        CheckpointError: It cannot be written; earlier checkpoints are untouched.
    """
    directory = _directory(config)
    level = _checked_level(resource)
    if directory is None or not _is_due(directory, level):
        return
    with _os_errors("write", directory):
        write(directory, level, lambda path: save_model_fn(path, level))
        prune(directory, seen_level())
    _last_write[directory] = _clock.now()


def _directory(config: Mapping[str, Any]) -> Path | None:
    name = config.get(constants.ST_CHECKPOINT_DIR)
    if not name:
        return None
    path = Path(name).absolute()
    if path.exists() and not path.is_dir():
        raise SpecError(f"--{constants.ST_CHECKPOINT_DIR} {name!r} is a file.", "Name a directory.")
    return path


def _checked_level(resource: int) -> int:
    try:
        level = operator.index(resource)
    except TypeError:
        level = 0
    if level < 1 or isinstance(resource, bool):
        raise SpecError(
            f"checkpoint_model_at_rung_level: resource must be an integer from 1, not {resource!r}.",
            "Count units of training that are complete: 1 after the first epoch.",
        )
    return level


def _is_due(directory: Path, level: int) -> bool:
    text = os.environ.get(constants.ENV_RUNG_LEVELS)
    if text is None:
        return True
    try:
        rung_levels = {int(part) for part in text.split(",") if part.strip()}
    except ValueError:
        raise SpecError(
            f"{constants.ENV_RUNG_LEVELS}={text!r} is no list of integers.", "Write it as 1,3,9,27."
        ) from None
    if level in rung_levels:
        return True
    interval = os.environ.get(constants.ENV_CHECKPOINT_INTERVAL_S, str(DEFAULT_INTERVAL_S))
    try:
        interval_s = float(interval)
    except ValueError:
        raise SpecError(f"{constants.ENV_CHECKPOINT_INTERVAL_S}={interval!r} is no number of seconds.") from None
    return _clock.now() - _last_write.get(directory, _started) >= interval_s


def _load(checkpoint: Checkpoint, load_model_fn: Callable[[str], int]) -> None:
    returned = load_model_fn(str(checkpoint.path))
    if returned != checkpoint.level:
        raise CheckpointError(
            f"load_model_fn returned {returned!r} for the checkpoint {checkpoint.path}, which was saved at "
            f"resource {checkpoint.level}.",
            "It must load what save_model_fn wrote and return the resource that save_model_fn was given. "
            "To start from scratch, remove the directory.",
        )


@contextlib.contextmanager
def _os_errors(what: str, directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"Cannot {what} a checkpoint in {directory}: {error}",
            "Check that the directory can be read and written, and that its disk is not full.",
        ) from error
