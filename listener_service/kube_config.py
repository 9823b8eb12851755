"""How to reach and be known to an API server: the `kubernetes` package's configuration, and what it lacks.

The package parses the file and resolves certificates. What it does otherwise than kubectl is put right here:

1. A credential plugin that fails is an error, not a request without credentials (`exec_plugin`).
2. `tokenFile` goes before `token`, and loses the white space at its end, which is no header's.
3. The files behind a configuration (kubeconfig, tokens, certificates, keys) are watched: what was rotated
   counts from the next request on. A credential that expires is renewed beforehand.
4. `proxy-url` holds whatever NO_PROXY says, and its user and password are sent to the proxy; a proxy of the
   environment is for other machines than this one.
5. `insecure-skip-tls-verify` together with a certificate authority is refused, as is a SOCKS proxy.
6. A server that is no URL, and files that hold no certificate or key, are errors here: at the first
   connection they would look like an API server that is away, and be waited for.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from kubernetes.config import incluster_config, kube_config
from urllib3.util import make_headers

from k3s_daas.errors import ConfigurationError
from listener_service.exec_plugin import run_plugin

_log = logging.getLogger(__name__)

# Before a credential's end, and between attempts while one fails that has not ended yet.
_EARLY = timedelta(seconds=30)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)
_FILE_FIELDS = (
    *("tokenFile", "client-certificate", "client-key"),
    "certificate-authority",
)


class KubeConfiguration(kubernetes_client.Configuration):  # type: ignore[misc]  # untyped package
    """A configuration that knows when it is out of date. `expires_at` is that of the credential."""

    def __init__(self) -> None:
        super().__init__()
        self.expires_at: datetime | None = None
        self._watched: dict[str, object] = {}

    def watch(self, *paths: str) -> None:
        """From now on a change of these files makes it stale."""
        self._watched.update({path: _look(path) for path in paths})

    @property
    def is_stale(self) -> bool:
        """Whether it has to be loaded again: a file changed, or the credential ends soon."""
        if self.expires_at is not None and datetime.now(UTC) >= self.expires_at - _EARLY:
            return True
        return any(_look(path) != seen for path, seen in self._watched.items())

    @property
    def is_expired(self) -> bool:
        """Whether the credential has ended: nothing can be sent with it."""
        return self.expires_at is not None and datetime.now(UTC) >= self.expires_at


def fingerprint(configuration: Any) -> bytes:
    """Tells credentials from each other: the token, and what is in the files of certificate and key."""
    digest = hashlib.sha256()
    setting = configuration.auth_settings().get("BearerToken")
    digest.update(repr(setting and setting["value"]).encode())
    for path in (configuration.cert_file, configuration.key_file):
        with suppress(OSError):
            digest.update(b"|" + (Path(path).read_bytes() if path else b"-"))
    return digest.digest()


def load_file(path: Path) -> KubeConfiguration:
    """Raises `ConfigurationError`, the package's `ConfigException`, or whatever its parsers raise."""
    merger = kube_config.KubeConfigMerger(str(path))
    if merger.config is None:
        raise kubernetes_config.ConfigException("there is no such file")
    configuration = KubeConfiguration()
    # Before the files are read: what changes in between is seen by the next look.
    configuration.watch(*merger.paths)
    loader = _Loader(merger.config, configuration)
    loader.load_and_set(configuration)
    _check(loader.cluster)
    _check_server(configuration.host)
    _check_certificates(configuration)
    _set_proxy(configuration, loader.cluster.get("proxy-url"))
    if not configuration.verify_ssl:
        # Said once here, instead of for each request by the HTTP library.
        _log.warning("the API server is not verified: the kubeconfig says insecure-skip-tls-verify")
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return configuration


def load_in_cluster() -> KubeConfiguration:
    """The pod's service account. Raises `ConfigException`."""
    configuration = KubeConfiguration()
    configuration.watch(incluster_config.SERVICE_TOKEN_FILENAME, incluster_config.SERVICE_CERT_FILENAME)
    kubernetes_config.load_incluster_config(client_configuration=configuration, try_refresh_token=False)
    configuration.api_key["BearerToken"] = _bearer(configuration.api_key["BearerToken"].partition(" ")[2])
    _check_certificates(configuration)
    _set_proxy(configuration, None)
    return configuration


class _Loader(kube_config.KubeConfigLoader):  # type: ignore[misc]  # untyped package
    """The package's loader with our way of credentials."""

    def __init__(self, config: Any, configuration: KubeConfiguration) -> None:
        super().__init__(config_dict=config, config_base_path=None)
        self._configuration = configuration
        self._watch_files()

    @property
    def cluster(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._cluster.value
        return found

    def _watch_files(self) -> None:
        for node in (self._user, self._cluster):
            if node is None:
                continue
            base = self._get_base_path(node.path)
            named = (node.value.get(field) for field in _FILE_FIELDS)
            self._configuration.watch(*(str(Path(base) / name) for name in named if name))

    def _load_user_token(self) -> bool | None:
        base = self._get_base_path(self._user.path)
        path, token = self._user.safe_get("tokenFile"), self._user.safe_get("token")
        if path:
            token = (Path(base) / path).read_text(encoding="utf-8")
        elif not token:
            return None
        self.token = _bearer(token)
        return True

    def _load_from_exec_plugin(self) -> bool | None:
        if "exec" not in self._user:
            return None
        base = self._get_base_path(self._user.path)
        credential = run_plugin(self._user["exec"].value, self.cluster, base)
        if credential.token is not None:
            self.token = _bearer(credential.token)
        if credential.certificate is not None:
            self.cert_file = _as_file(credential.certificate)
            self.key_file = _as_file(credential.key or "")
        self._configuration.expires_at = credential.expires_at
        return True

    def _set_config(self, client_configuration: Any) -> None:
        super()._set_config(client_configuration)
        # The whole is loaded again instead, when it is stale.
        client_configuration.refresh_api_key_hook = None


def _bearer(token: str) -> str:
    """The header's value. Anything else in there would be quoted by the library that refuses it."""
    if not _TOKEN.fullmatch(token.strip()):
        raise ConfigurationError("the token for the API server is empty, or has characters that no token has")
    return f"Bearer {token.strip()}"


def _as_file(content: str) -> str:
    """TLS libraries read certificates from files only: of mode 600, removed when the process ends."""
    data = kube_config.FileOrData({"data": content}, None, data_key_name="data", base64_file_content=False)
    path: str = data.as_file()
    return path


def _check(cluster: Mapping[str, Any]) -> None:
    skips = cluster.get("insecure-skip-tls-verify")
    if skips and (cluster.get("certificate-authority") or cluster.get("certificate-authority-data")):
        raise ConfigurationError(
            "its cluster names a certificate authority and insecure-skip-tls-verify: remove one of them"
        )
    if str(cluster.get("proxy-url") or "").lower().startswith("socks"):
        raise ConfigurationError("its cluster has a SOCKS proxy-url: only http:// and https:// are served")


def _check_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Such as a port that is no number.
        is_sound = False
    if not is_sound or parts.username is not None or parts.query or parts.fragment:
        # Not quoted: somebody may have put a password there.
        raise ConfigurationError("its cluster's server must be https://host:port")


def _check_certificates(configuration: Any) -> None:
    authority, certificate, key = configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file
    try:
        context = ssl.create_default_context(cafile=authority)
    except ssl.SSLError:
        raise ConfigurationError(
            "the certificate authority of the API server is no PEM certificate"
        ) from None
    if not certificate:
        return
    try:
        # An empty password, or the library would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError:
        raise ConfigurationError(
            "the client certificate and its key are no PEM, do not belong together, or the key is encrypted"
        ) from None


def _set_proxy(configuration: KubeConfiguration, said: str | None) -> None:
    """A proxy that the kubeconfig names is for its cluster; others obey NO_PROXY, and spare this machine."""
    if said:
        configuration.proxy, configuration.no_proxy = said, ""
    elif configuration.proxy and _is_this_machine(urlsplit(configuration.host).hostname or ""):
        configuration.proxy = None
    if not configuration.proxy:
        return
    parts = urlsplit(configuration.proxy)
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError("the proxy for the API server must be an http:// or https:// URL")
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        configuration.proxy_headers = make_headers(proxy_basic_auth=user)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _look(path: str) -> object:
    """What tells one state of a file from another; rotated secrets are other files behind a link."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
