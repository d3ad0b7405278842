"""All errors of cloudtune: the class says what the caller may do, the message where, what and what to do next."""

from __future__ import annotations


class CloudtuneError(Exception):
    """Root of all errors raised on purpose.

    Args:
        message: Where it happened and what is wrong.
        hint: What to do next; printed on a line of its own.
    """

    #: Exit code of command line tools that end with this error.
    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.hint)


class SpecError(CloudtuneError, ValueError):
    """Bad input, refused before anything was started or paid for."""

    exit_code = 2


class NotFound(CloudtuneError, KeyError):
    """What was named does not exist."""

    exit_code = 3


class Conflict(CloudtuneError):
    """Somebody else holds the experiment; the message names the holder."""

    exit_code = 4


class StoreError(CloudtuneError, OSError):
    """The experiment's state cannot be read or written."""

    exit_code = 5

    def __str__(self) -> str:  # OSError would print its own tuple
        return CloudtuneError.__str__(self)


class ReplayDiverged(CloudtuneError):
    """The scheduler decided differently than the journal says: it is not deterministic, or it has changed."""


class SnapshotError(CloudtuneError):
    """``tuner.dill`` is damaged or was written by another Python; the journal remains the truth."""


class CheckpointError(CloudtuneError):
    """A checkpoint exists but cannot be used."""


class MissingExtra(CloudtuneError, ImportError):
    """A feature needs a package of an optional extra."""

    exit_code = 2

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingExtra:
        """The error for ``package`` missing, with the pip line that mends it."""
        return cls(f"{purpose} needs the package '{package}'.", f"pip install 'cloudtune[{extra}]'")


class TuningFailed(CloudtuneError):
    """An experiment ended because too many trials failed."""

    exit_code = 6


class AwsError(CloudtuneError):
    """A call to AWS failed for good. ``code`` is the service's error code."""

    exit_code = 7

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.hint, self.code)


class Throttled(AwsError):
    """Too many requests: retry with back-off and jitter."""


class QuotaExceeded(AwsError):
    """An account limit: wait until running jobs have ended, or lower the number of workers."""


class CapacityUnavailable(AwsError):
    """The service has no such instance now: retry later or with another instance type."""


class Unreachable(AwsError):
    """No answer from the endpoint: retry, then check network and endpoint."""


class ServiceFailed(Unreachable):
    """AWS answers, with a failure of its own: retry."""


class AccessDenied(AwsError):
    """Credentials are missing, wrong, or lack a permission; the message names the action."""


class AlreadyExists(AwsError):
    """A resource of that name exists; for jobs that cloudtune names, this means adopt it."""


class ResourceNotFound(AwsError):
    """The resource named in the request does not exist."""


class InvalidRequest(AwsError):
    """The service refused the request as malformed; retrying cannot help."""


class JobFailed(CloudtuneError):
    """A SageMaker job ended as Failed; the message holds its reason and where its log is."""

    exit_code = 8
