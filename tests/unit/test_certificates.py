import socket
import ssl
import threading
from pathlib import Path

import pytest

from infra.local.certificates import LocalAuthority


def handshake(server_files: tuple[Path, Path], ca: Path, host: str) -> str | None:
    """The TLS version that client and server agree on."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*server_files)
    client = ssl.create_default_context(cafile=str(ca))
    left, right = socket.socketpair()
    with left, right:

        def serve() -> None:
            try:
                server.wrap_socket(left, server_side=True).close()
            except OSError:
                left.close()  # the client refused the certificate: that is what it reports

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client.wrap_socket(right, server_hostname=host) as connection:
                return connection.version()
        finally:
            thread.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_accepts_loopback_names(tmp_path: Path, host: str) -> None:
    authority = LocalAuthority(tmp_path)
    files = authority.issue("gateway")
    assert handshake((files.certificate, files.key), authority.certificate_file, host) == "TLSv1.3"


def test_other_names_and_other_authorities_are_refused(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path / "a")
    files = authority.issue("gateway")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake((files.certificate, files.key), authority.certificate_file, "example.com")
    other = LocalAuthority(tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake((files.certificate, files.key), other.certificate_file, "localhost")


def test_keys_are_private_and_the_authority_keeps_its_own_off_the_disk(tmp_path: Path) -> None:
    files = LocalAuthority(tmp_path).issue("gateway")
    assert files.key.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "gateway.crt", "gateway.key"]
