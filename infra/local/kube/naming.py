"""Names, times and random suffixes in the API server's formats."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from infra.local.kube.errors import Cause, invalid_value, required

Clock = Callable[[], datetime]

# The alphabet of generated names: no vowels and no look-alikes, as in k8s.io/apimachinery/pkg/util/rand.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def utc_now() -> datetime:
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """metav1.Time: whole seconds, `2026-01-02T03:04:05Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(moment: datetime) -> str:
    """metav1.MicroTime, as in leases and events."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """RFC 3339, with its time zone. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def new_uid() -> str:
    return str(uuid.uuid4())


def random_suffix(length: int = 5) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def generated(prefix: str) -> str:
    """What `generateName` turns into."""
    return prefix[: 63 - 5] + random_suffix()


def hash_suffix(text: str) -> str:
    """A stable name for some content, e.g. of a pod template; 10 characters of the alphabet above."""
    number = uuid.uuid5(uuid.NAMESPACE_OID, text).int
    letters = []
    for _ in range(10):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(letters)


def name_causes(kind: str, group: str, name: str) -> list[Cause]:
    """Why `metadata.name` is not a valid name for an object of that kind; empty if it is."""
    field = "metadata.name"
    if not name:
        return [required(field, "name or generateName is required")]
    if group == "rbac.authorization.k8s.io":  # path segments: anything but what would break the path
        bad = name in (".", "..") or "/" in name or "%" in name
        return [invalid_value(field, name, "may not contain '/' or '%'")] if bad else []
    if kind == "Namespace":
        ok, rule = bool(_DNS_LABEL.fullmatch(name)) and len(name) <= 63, _LABEL_RULE
    elif kind == "Service":
        ok = bool(_SERVICE_NAME.fullmatch(name)) and len(name) <= 63
        rule = "a DNS-1035 label must start with a letter and consist of lower case alphanumerics or '-'"
    else:
        ok, rule = bool(_DNS_SUBDOMAIN.fullmatch(name)) and len(name) <= 253, _SUBDOMAIN_RULE
    return [] if ok else [invalid_value(field, name, rule)]


def label_causes(field: str, labels: dict[str, str]) -> list[Cause]:
    """Why labels are not valid: keys are `[prefix/]name`, values at most 63 characters."""
    causes = []
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        good_prefix = not slash or bool(_DNS_SUBDOMAIN.fullmatch(prefix))
        if not (good_prefix and _QUALIFIED.fullmatch(name) and len(name) <= 63):
            why = "name part must consist of alphanumeric characters, '-', '_' or '.'"
            causes.append(invalid_value(field, key, why))
        if not isinstance(value, str):
            causes.append(invalid_value(field, str(value), "must be a string"))
        elif value and not (_QUALIFIED.fullmatch(value) and len(value) <= 63):
            why = (
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            )
            causes.append(invalid_value(field, value, why))
    return causes
