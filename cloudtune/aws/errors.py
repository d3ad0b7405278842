"""From whatever botocore raises to one of cloudtune's errors, by error code, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import urllib3.exceptions
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from cloudtune.errors import (
    AccessDenied,
    AlreadyExists,
    AwsError,
    CapacityUnavailable,
    InvalidRequest,
    QuotaExceeded,
    ResourceNotFound,
    ServiceFailed,
    Throttled,
    Unreachable,
)

_CODES: dict[type[AwsError], str] = {
    Throttled: (
        "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException "
        "RequestLimitExceeded TooManyRequestsException SlowDown BandwidthLimitExceeded PriorRequestNotComplete "
        "ProvisionedThroughputExceededException EC2ThrottledException OperationAborted "
        "ConditionalRequestConflict 429"
    ),
    QuotaExceeded: (
        "ResourceLimitExceeded LimitExceeded LimitExceededException ServiceQuotaExceededException TooManyBuckets"
    ),
    CapacityUnavailable: "CapacityError InsufficientInstanceCapacity InsufficientCapacityException",
    ServiceFailed: (
        "InternalError InternalFailure InternalServerError InternalServiceError InternalServerException "
        "InternalServiceException ServiceUnavailable ServiceUnavailableException RequestTimeout "
        "RequestTimeoutException 500 502 503 504"
    ),
    AccessDenied: (
        "AccessDenied AccessDeniedException AccessDeniedFault UnauthorizedOperation AllAccessDisabled AuthFailure "
        "InvalidClientTokenId InvalidAccessKeyId InvalidToken ExpiredToken ExpiredTokenException RequestExpired "
        "SignatureDoesNotMatch InvalidSignatureException IncompleteSignature UnrecognizedClientException "
        "MissingAuthenticationToken MissingAuthenticationTokenException NotAuthorized OptInRequired "
        "RequestTimeTooSkewed AuthorizationHeaderMalformed 401 403"
    ),
    AlreadyExists: (
        "ResourceInUse ResourceInUseException BucketAlreadyExists BucketAlreadyOwnedByYou EntityAlreadyExists "
        "ResourceAlreadyExistsException PreconditionFailed 412"
    ),
    ResourceNotFound: (
        "ResourceNotFound ResourceNotFoundException NoSuchBucket NoSuchKey NoSuchUpload NoSuchEntity NotFound 404"
    ),
    InvalidRequest: (
        "ValidationException ValidationError InvalidParameterValue InvalidParameterException InvalidRequest "
        "InvalidRequestException InvalidArgument InvalidBucketName InvalidRange MalformedXML BadDigest "
        "SerializationException EntityTooLarge KeyTooLongError PermanentRedirect 301 400 416"
    ),
}

_CLASS_OF_CODE: dict[str, type[AwsError]] = {code: cls for cls, codes in _CODES.items() for code in codes.split()}

_HINTS: dict[type[AwsError], str] = {
    Throttled: "Too many requests at once: try again in a minute, or submit fewer jobs at a time.",
    QuotaExceeded: (
        "Wait until running jobs have ended (instances are released minutes later), use fewer workers, or ask for "
        "more in the AWS console under Service Quotas."
    ),
    CapacityUnavailable: "Try again later, in another region, or with another instance type.",
    Unreachable: "Check the network, the region, and AWS_ENDPOINT_URL if it is set; then try again.",
    ServiceFailed: "Try again in a minute. If it lasts, see the AWS Health Dashboard.",
    AccessDenied: (
        "Check which credentials are in use (aws sts get-caller-identity), that they have not expired, and that "
        "they allow this action."
    ),
    ResourceNotFound: "Check the name, the account and the region.",
    AlreadyExists: "Choose another name, or delete what is there.",
    InvalidRequest: "Correct what the message names; the same request would be refused again.",
}
_CLOCK = "Check this machine's clock (AWS refuses requests that are minutes off), then the credentials."
_REGION = "Set AWS_REGION to the region that the bucket is in."
#: Where the code says more than its class.
_HINT_OF_CODE = {
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired", "InvalidSignatureException"), _CLOCK),
    **dict.fromkeys(("PermanentRedirect", "301", "AuthorizationHeaderMalformed"), _REGION),
}

# SageMaker has no code for "no such job" in Describe and Stop: it answers with ValidationException and this text.
_MISSING_JOB_TEXTS = ("requested resource not found", "could not find")

_NO_ANSWER: tuple[type[BaseException], ...] = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.EndpointConnectionError,
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
    boto.FlexibleChecksumError,  # the body is not what its checksum says
    ResponseParserError,  # no AWS, but some web page, answered
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
_RAISED_BY_CLIENTS: tuple[type[BaseException], ...] = (boto.BotoCoreError, boto.ClientError, *_NO_ANSWER)
_NO_CREDENTIALS: tuple[type[BaseException], ...] = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.ProfileNotFound,
    boto.InfiniteLoopConfigError,
    *([boto.LoginError] if hasattr(boto, "LoginError") else []),  # of 'aws login', which older versions lack
)


@dataclass(frozen=True)
class ServiceAnswer:
    """What an error response says."""

    code: str
    message: str
    status: int

    @classmethod
    def of(cls, error: boto.ClientError) -> ServiceAnswer:
        response = error.response
        details = response.get("Error", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return cls(str(details.get("Code", "")), str(details.get("Message", "")), int(status))


def translate(error: BaseException, operation: str) -> AwsError:
    """The error of cloudtune for ``error``, which a botocore client raised.

    Args:
        error: A botocore error, or one of the network below it. An AwsError is returned as it is.
        operation: What was attempted, for the message: ``"create training job 'x'"``.
    """
    if isinstance(error, AwsError):
        return error
    if isinstance(error, boto.ClientError):
        return from_answer(ServiceAnswer.of(error), operation)
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(
            f"Cannot {operation}: {error}",
            "Give AWS credentials: 'aws configure', AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            type(error).__name__,
        )
    if isinstance(error, boto.NoRegionError):
        return InvalidRequest(f"Cannot {operation}: no region is set.", "Set AWS_REGION.", "NoRegionError")
    if isinstance(error, _NO_ANSWER):
        return Unreachable(
            f"Cannot {operation}: no usable answer ({error}).", _HINTS[Unreachable], type(error).__name__
        )
    if isinstance(error, boto.BotoCoreError):
        return InvalidRequest(f"Cannot {operation}: {error}", _HINTS[InvalidRequest], type(error).__name__)
    return AwsError(f"Cannot {operation}: {error!r}", "", type(error).__name__)


def from_answer(answer: ServiceAnswer, operation: str) -> AwsError:
    """The error of cloudtune for an error response; ``operation`` as in :func:`translate`."""
    cls = _class_of(answer)
    hint = _HINT_OF_CODE.get(answer.code) or _HINTS.get(cls, "")
    text = answer.message if answer.message and answer.message != answer.code else "no further explanation"
    return cls(f"Cannot {operation}: {answer.code}: {text}", hint, answer.code)


def _class_of(answer: ServiceAnswer) -> type[AwsError]:
    if answer.code == "ValidationException" and answer.message.lower().startswith(_MISSING_JOB_TEXTS):
        return ResourceNotFound
    cls = _CLASS_OF_CODE.get(answer.code)
    if cls is not None:
        return cls
    if answer.status == 429:
        return Throttled
    return ServiceFailed if answer.status >= 500 else AwsError


@contextmanager
def aws_call(operation: str) -> Iterator[None]:
    """Everything that botocore raises inside leaves as an AwsError. ``operation`` as in :func:`translate`."""
    try:
        yield
    except _RAISED_BY_CLIENTS as error:
        raise translate(error, operation) from error
