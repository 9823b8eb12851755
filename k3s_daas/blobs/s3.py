"""Sealed bodies in an S3 bucket.

Names are keys, under a prefix per direction (``requests/``, ``replies/``): one lifecycle rule that expires
everything after a day cleans up. URLs are presigned with the credentials of this process, so they end with
these credentials at the latest.

Credentials need ``s3:PutObject`` and ``s3:GetObject`` on the bucket's objects, and no listing; what
is missing is then reported by S3 as forbidden, which counts as missing.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from k3s_daas.blobs.store import (
    BlobAlteredError,
    BlobExistsError,
    BlobMissingError,
    BlobUnavailableError,
    check_bytes,
    reference_to,
)
from k3s_daas.envelope import BlobReference

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONTENT_TYPE = "application/octet-stream"
_MISSING = ("NoSuchKey", "AccessDenied", "404", "403")
_EXISTS = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT)


class S3BlobStore:
    """One bucket. The client must sign with version 4 (``signature_version="s3v4"``)."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, name: str, data: bytes, *, lifetime_s: int) -> str:
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=name, Body=data, ContentType=_CONTENT_TYPE, IfNoneMatch="*"
            )
        except ClientError as error:
            if _http_status(error) not in _EXISTS:
                raise _unavailable(error) from error
            self._confirm(name, data)
        except BotoCoreError as error:
            raise _unavailable(error) from error
        return self._presigned("get_object", name, lifetime_s)

    def upload_url(self, name: str, *, lifetime_s: int) -> str:
        return self._presigned("put_object", name, lifetime_s, IfNoneMatch="*")

    def get(self, name: str, reference: BlobReference) -> bytes:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            with answer["Body"] as body:
                # One byte more than it should have tells a longer object.
                data = body.read(reference.size + 1)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                raise BlobMissingError(
                    "the blob store has no such body: it was deleted or never kept"
                ) from error
            raise _unavailable(error) from error
        except (BotoCoreError, OSError) as error:
            raise _unavailable(error) from error
        return check_bytes(data, reference)

    def _confirm(self, name: str, data: bytes) -> None:
        """Whether the object that is there already is ours from an earlier attempt."""
        try:
            self.get(name, reference_to("", data))
        except (BlobAlteredError, BlobMissingError) as error:
            raise BlobExistsError("the blob store holds other bytes under this request's name") from error

    def _presigned(self, operation: str, name: str, lifetime_s: int, **parameters: str) -> str:
        try:
            return self._client.generate_presigned_url(
                operation,
                Params={"Bucket": self._bucket, "Key": name, **parameters},
                ExpiresIn=lifetime_s,
            )
        except (BotoCoreError, ClientError) as error:
            raise _unavailable(error) from error


def _http_status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _unavailable(error: Exception) -> BlobUnavailableError:
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    return BlobUnavailableError(f"the blob store does not answer ({code or type(error).__name__}): try again")
