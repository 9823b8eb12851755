"""Why there is no real API server.

ApiServerError
├── UnsupportedPlatformError   this machine cannot build it: tests are skipped with the reason
└── BuildError                 it could, and something went wrong: tests fail
"""

from __future__ import annotations


class ApiServerError(Exception):
    """There is no real API server; the message is one sentence for the person at the terminal."""


class UnsupportedPlatformError(ApiServerError):
    """This machine is no Debian of the right release, or its archive cannot be reached."""


class BuildError(ApiServerError):
    """Fetching or compiling failed on a machine that should be able to."""
