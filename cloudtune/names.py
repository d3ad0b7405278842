"""Every name of an experiment, a job or a tag is made, checked and taken apart here.

SageMaker's rule for job names: 1 to 63 characters, letters, digits and single or repeated hyphens inside
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html). The clients check
neither length nor pattern, so cloudtune does, before anything is sent.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import datetime, timezone

from cloudtune.constants import MAX_NAME_LENGTH, NAME_PATTERN
from cloudtune.errors import SpecError

_NAME = re.compile(NAME_PATTERN)
_DIGEST_LENGTH = 6


def is_legal_name(name: str) -> bool:
    """Whether ``name`` may name a tuner, an experiment tag, or a SageMaker job."""
    return len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name) is not None


def legal_name(text: str, max_length: int = MAX_NAME_LENGTH) -> str:
    """The legal name nearest to ``text``; ``text`` itself if it is one.

    Distinct long texts stay distinct: what is cut off is replaced by a digest of the whole.
    """
    if len(text) <= max_length and is_legal_name(text):
        return text
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-zA-Z0-9]+", "-", ascii_text).strip("-") or "cloudtune"
    if len(name) > max_length:
        digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
        name = f"{name[: max_length - _DIGEST_LENGTH - 1].rstrip('-')}-{digest}"
    return name


def check_name(name: str, what: str = "name", max_length: int = MAX_NAME_LENGTH) -> str:
    """Returns ``name`` if it is legal.

    Raises:
        SpecError: With a legal proposal.
    """
    if not isinstance(name, str) or not is_legal_name(name) or len(name) > max_length:
        raise SpecError(
            f"{what} {name!r} is not legal: 1 to {max_length} letters, digits and hyphens, "
            "beginning and ending with a letter or digit (no underscores, spaces or dots).",
            f"Legal would be: {legal_name(str(name), max_length)}",
        )
    return name


def timestamp_suffix(now: float) -> str:
    """``2026-11-21-07-10-59-123`` in UTC, for ``now`` in seconds since the epoch."""
    moment = datetime.fromtimestamp(now, tz=timezone.utc)
    return f"{moment:%Y-%m-%d-%H-%M-%S}-{moment.microsecond // 1000:03d}"


_SUFFIX = re.compile(r"-\d{4}(-\d{2}){5}-\d{3}$")


def with_timestamp(base: str, now: float) -> str:
    """``base`` with :func:`timestamp_suffix`, shortened to fit."""
    suffix = timestamp_suffix(now)
    return f"{legal_name(base, MAX_NAME_LENGTH - len(suffix) - 1)}-{suffix}"


def without_timestamp(name: str) -> str:
    """The base that :func:`with_timestamp` was given (after shortening)."""
    return _SUFFIX.sub("", name)


def tuner_name(experiment_tag: str, benchmark: str, method: str, seed: int) -> str:
    """Name of the experiment, and of the SageMaker job that tunes it, of one launch.

    A function of its arguments alone, so that a launch that is repeated finds its jobs again.
    """
    return legal_name(f"{experiment_tag}-{benchmark}-{method}-{seed}")


def retry_name(name: str, run: int) -> str:
    """Of the ``run``-th job or experiment, from 1, that takes the place of ``name``, whose name is used up. Always
    the same, so that a later launch finds it."""
    suffix = "" if run == 1 else f"-r{run}"
    return legal_name(name, MAX_NAME_LENGTH - len(suffix)) + suffix


def trial_label(trial_id: int, attempt: int, number: int = 0) -> str:
    """What names one job of a trial within its experiment: ``3-1``, and ``3-1r2`` for the ``number``-th, from 0,
    that was created for one attempt (the first ones found no instance, for example)."""
    return f"{trial_id}-{attempt}r{number}" if number else f"{trial_id}-{attempt}"


_LABEL = re.compile(r"(\d+)-(\d+)(?:r(\d+))?")


def parse_trial_label(label: str) -> tuple[int, int, int] | None:
    """Trial, attempt and number of :func:`trial_label`; None for anything else."""
    match = _LABEL.fullmatch(label)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


#: Room for the label in a trial's job name: a million trials, a thousand attempts of up to a hundred jobs.
_LABEL_LENGTH = 14


def trial_job_suffix(tuner: str) -> str:
    """What the names of all trial jobs of a tuner end with, hyphen included; a listing by it finds them."""
    return f"-{legal_name(tuner, MAX_NAME_LENGTH - _LABEL_LENGTH - 1)}"


def trial_job_name(tuner: str, trial_id: int, attempt: int, number: int = 0) -> str:
    """Name of the SageMaker job that runs one attempt of one trial. The trial comes first, so that names
    that share a tuner differ early and a listing by prefix is unique."""
    return trial_label(trial_id, attempt, number) + trial_job_suffix(tuner)


def parse_trial_job_name(tuner: str, name: str) -> tuple[int, int, int] | None:
    """Trial, attempt and number of a job of ``tuner``; None if the job is not one of its trials."""
    suffix = trial_job_suffix(tuner)
    return parse_trial_label(name[: -len(suffix)]) if name.endswith(suffix) else None
