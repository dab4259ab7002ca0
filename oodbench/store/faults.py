"""Errors of file systems: what they mean, in words, and which of them are worth a retry."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from oodbench.text import shorten

T = TypeVar("T")
RETRY_SECONDS = 30.0
"""No retry begins later than this after the first attempt; clients of servers try several times within each."""
FIRST_PAUSE = 0.5
TRANSIENT_NUMBERS = (errno.EBUSY, errno.EAGAIN, errno.ECONNRESET, errno.ETIMEDOUT, getattr(errno, "EREMOTEIO", -1))
TRANSIENT_NAMES = {
    "ConnectionError", "TimeoutError", "ConnectTimeoutError", "HTTPClientError", "ClientConnectionError",
    "ClientPayloadError", "IncompleteRead", "ServiceRequestError", "ServiceResponseError",
}  # fmt: skip
"""Classes of Python, botocore, aiohttp, http.client and azure.core, which need not be installed; subclasses count,
too."""
TRANSIENT_CODES = (
    "429",
    "500",
    "502",
    "503",
    "504",
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "RequestTimeout",
    "ServerBusy",
    "OperationTimedOut",
)
NO_BUCKET = "there is no bucket of this name; check the address"
NO_CONTAINER = "there is no container of this name; check the address"
CHECK_AZURE = "check AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
HINTS = {
    "NoSuchBucket": NO_BUCKET,
    "ContainerNotFound": NO_CONTAINER,
    "AuthenticationFailed": f"the key is not that of the storage account; {CHECK_AZURE}",
    "AuthorizationFailure": f"these credentials may not do that; {CHECK_AZURE}",
    "AuthorizationPermissionMismatch": "these credentials may not do that; check the roles of who signs in",
    "NoAuthenticationInformation": f"there are no credentials; {CHECK_AZURE}",
    "401": "there are no credentials that count there; sign in again",
    "InvalidAccessKeyId": "the access key is not known there; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "AccessDenied": "these credentials may not do that; check AWS_PROFILE and the bucket's policy",
    "403": "these credentials may not do that; check AWS_PROFILE and the bucket's policy",
    "ExpiredToken": "the credentials have expired; sign in again",
    "NoCredentialsError": "there are no credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
"""Error code of S3, Azure or Google, or class of botocore → what is wrong, and what to do."""


def why(error: BaseException) -> str:
    """Return the reason of an error on one line: its message, or the name of its class if it has none."""
    for each in _chain(error):
        hint = HINTS.get(error_code(each)) or HINTS.get(type(each).__name__)
        if hint:
            return hint
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = text.partition("RequestId:")[0] or text  # after this Azure repeats itself, in XML
    return shorten(" ".join(text.split()) or type(error).__name__, 500)


def is_missing_bucket(error: BaseException) -> bool:
    """Whether the whole bucket or container is missing, not only a file."""
    return error_code(error) in ("NoSuchBucket", "ContainerNotFound")


def error_code(error: BaseException) -> str:
    """Return the error code of a server's answer; empty where neither the error nor a cause of it has one."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # of S3
            return str(response.get("Error", {}).get("Code", ""))
        code = getattr(each, "error_code", None) or getattr(each, "code", None)  # of Azure, of gcsfs
        if code:
            return str(getattr(code, "value", code))
    return ""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, FileNotFoundError | FileExistsError | PermissionError | NotADirectoryError):
        return False
    for each in _chain(error):
        if TRANSIENT_NAMES & {cls.__name__ for cls in type(each).__mro__}:
            return True
        if isinstance(each, OSError) and each.errno in TRANSIENT_NUMBERS:
            return True
        if error_code(each) in TRANSIENT_CODES:
            return True
    return False


def retrying(request: Callable[[], T]) -> T:
    """Return the result of a request; after a transient error it is retried, each time after a longer pause."""
    pauses, start = _pauses(), time.monotonic()
    while True:
        try:
            return request()
        except Exception as error:
            if not is_transient(error) or time.monotonic() - start > RETRY_SECONDS:
                raise
            time.sleep(next(pauses))


def _pauses() -> Iterator[float]:
    """Yield seconds, doubled each time, less a random part: clients that failed together must not retry together."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, 8.0)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
