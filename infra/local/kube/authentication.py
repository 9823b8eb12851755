"""Who sends a request: bearer tokens, service account tokens, and impersonation headers.

There is no anonymous user: a request without a valid token gets a 401.
"""

from __future__ import annotations

import csv
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from infra.local.kube.errors import Json, bad_request, unauthorized

AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
_SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class User:
    """Name, groups and extras, as authorization and audit see them."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> Json:
        """`authentication.k8s.io/v1 UserInfo`."""
        found: Json = {"username": self.name}
        if self.uid:
            found["uid"] = self.uid
        if self.groups:
            found["groups"] = list(self.groups)
        if self.extra:
            found["extra"] = {name: list(values) for name, values in self.extra.items()}
        return found


@dataclass(frozen=True)
class Impersonation:
    """What the Impersonate-* headers ask for."""

    user: str
    groups: tuple[str, ...]
    uid: str
    extra: Mapping[str, tuple[str, ...]]

    def as_user(self) -> User:
        groups = self.groups
        if not groups and self.user.startswith(_SERVICE_ACCOUNT):
            namespace = self.user.removeprefix(_SERVICE_ACCOUNT).partition(":")[0]
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        if self.user != "system:anonymous" and AUTHENTICATED not in groups:
            groups = (*groups, AUTHENTICATED)
        return User(self.user, groups, self.uid, self.extra)


def load_tokens(path: Path) -> dict[str, User]:
    """Reads lines of `token,user` or `token,user,"group,group"`; `#` starts a comment.

    Raises ValueError with the line number, never with the token.
    """
    found: dict[str, User] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or row[0].startswith("#"):
                continue
            token, user, listed, *more = (*(cell.strip() for cell in row), "", "")[: max(len(row), 3)]
            if not token or not user or more:
                raise ValueError(f'{path}, line {number}: expected token,user,"group,group"')
            if token in found:
                raise ValueError(f"{path}, line {number}: this token is already that of another user")
            groups = tuple(group.strip() for group in listed.split(",") if group.strip())
            found[token] = User(user, (*groups, AUTHENTICATED))
    return found


class Authenticator:
    """Checks bearer tokens. Tokens of service accounts live in memory and die with the account."""

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._tokens = {token.encode(): user for token, user in tokens.items()}
        self._issued: dict[bytes, tuple[User, datetime]] = {}

    def authenticate(self, header: str, now: datetime) -> User:
        """The user of an `Authorization` header; 401 for a missing, malformed, unknown or expired token."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized()
        user = self.user_of(token.strip(), now)
        if user is None:
            raise unauthorized()
        return user

    def user_of(self, token: str, now: datetime) -> User | None:
        presented = token.encode()
        found: User | None = None
        for known, user in self._tokens.items():  # all of them, so that timing tells nothing
            if hmac.compare_digest(known, presented):
                found = user
        for known, (user, until) in self._issued.items():
            if hmac.compare_digest(known, presented) and now < until:
                found = user
        return found

    def issue(self, namespace: str, account: Json, seconds: int, now: datetime) -> tuple[str, datetime]:
        """A token for a service account, and when it expires."""
        name, uid = account["metadata"]["name"], account["metadata"]["uid"]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        user = User(f"{_SERVICE_ACCOUNT}{namespace}:{name}", groups, uid)
        token, until = f"sat.{secrets.token_urlsafe(32)}", now + timedelta(seconds=seconds)
        self._issued[token.encode()] = (user, until)
        return token, until

    def revoke(self, uid: str) -> None:
        """Forgets the tokens of a service account that was deleted."""
        self._issued = {token: entry for token, entry in self._issued.items() if entry[0].uid != uid}


def impersonation(headers: Iterable[tuple[str, str]]) -> Impersonation | None:
    """Reads the Impersonate-* headers (names in any case); None if there are none. 400 without a user."""
    user = uid = ""
    groups: list[str] = []
    extra: dict[str, tuple[str, ...]] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name == "impersonate-user":
            user = value
        elif name == "impersonate-uid":
            uid = value
        elif name == "impersonate-group":
            groups.append(value)
        elif name.startswith("impersonate-extra-"):
            key = unquote(name.removeprefix("impersonate-extra-"))
            extra[key] = (*extra.get(key, ()), value)
    if not user:
        if groups or uid or extra:
            raise bad_request("requested impersonation of a group, uid or extra without impersonating a user")
        return None
    return Impersonation(user, tuple(groups), uid, extra)
