"""What goes wrong between us and S3, in the error classes that say what can be done about it."""

from __future__ import annotations

from botocore import exceptions as boto

from ggufactory.errors import GgufactoryError, InputError, TransientStoreError, UnavailableError

_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}
_NO_ACCESS = {
    "403", "401", "Forbidden", "AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidAccessKeyId",
    "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed", "InvalidSecurity", "NotSignedUp", "AuthFailure", "UnauthorizedAccess",
}  # fmt: skip
_BAD_REQUEST = {"KeyTooLongError", "InvalidObjectState", "MethodNotAllowed", "PermanentRedirect", "NoSuchKey"}
_PASSING = {
    "BadDigest", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout", "RequestTimeoutException",
    "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded",
    "OperationAborted", "ConditionalRequestConflict", "InternalError", "ServiceUnavailable",
}  # fmt: skip
_LASTING_STATUS = {501, 505, 507}  # not implemented; out of storage

_CREDENTIALS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError,
    boto.ProfileNotFound, boto.ConfigParseError, boto.ConfigNotFound, boto.InvalidConfigError,
    boto.SSOError, boto.TokenRetrievalError, boto.RefreshWithMFAUnsupportedError,
)  # fmt: skip
_CONNECTION = (
    boto.ConnectionError, boto.HTTPClientError, boto.ResponseStreamingError, boto.IncompleteReadError,
    OSError,
)  # fmt: skip


def error_code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: Exception, where: str) -> GgufactoryError:
    """The error for `error`, which a call about `where` (URI and endpoint) has raised."""
    if isinstance(error, boto.ClientError):
        return _explain_answer(error, where)
    message = f"{where}: {_one_line(str(error))}"
    if isinstance(error, _CREDENTIALS):
        return InputError(message, fix="Give credentials in any of the ways that AWS tools know")
    if isinstance(error, boto.SSLError):
        return UnavailableError(message, fix="Check the endpoint's certificate and AWS_CA_BUNDLE")
    if isinstance(error, _CONNECTION):
        return TransientStoreError(message, fix="Check AWS_ENDPOINT_URL_S3 and the network")
    if isinstance(error, boto.ParamValidationError | boto.NoRegionError | boto.InvalidRegionError | ValueError):
        return InputError(message, fix="Check the URI, AWS_ENDPOINT_URL_S3 and AWS_DEFAULT_REGION")
    return UnavailableError(message)


def _explain_answer(error: boto.ClientError, where: str) -> GgufactoryError:
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = _one_line(str(error.response.get("Error", {}).get("Message", "")))
    message = f"{where}: {error.operation_name} was answered {code}: {said}"
    if code in _NO_BUCKET:
        return InputError(f"{where}: there is no such bucket", fix="Create the bucket, or check the endpoint")
    if code in _NO_ACCESS:
        return InputError(message, fix="Check the credentials and what they are allowed to do")
    if code in _BAD_REQUEST:
        return InputError(message)
    if code in _PASSING or status == 429 or (status >= 500 and status not in _LASTING_STATUS):
        return TransientStoreError(message)
    return UnavailableError(message)


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:300] + "…"
