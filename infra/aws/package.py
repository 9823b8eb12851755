"""The gateway as a zip for Lambda and a CloudFormation template.

    python -m infra.aws.package [DIRECTORY]

leaves ``deployment.zip`` and ``sam.json`` in the directory (default: build/package). ``chalice package`` does
the work, on a copy of the sources, because it takes whatever it finds:

- everything below ``vendor/`` goes into the zip, so the copy has no byte code of this machine and not the
  parts of ``k3s_daas`` that only operators run;
- it uses the zip of an earlier run again if it takes nothing to have changed, so the copy is always new.

Every package is held to a hash in functions/requirements.txt, also where Chalice asks pip a second time, by
version, for a wheel that fits Lambda. Python's minor version here becomes the function's runtime, and the
archive gets its byte code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.aws.byte_code import add_byte_code

ROOT = Path(__file__).parents[2]
SOURCES = ("functions", "k3s_daas", "infra/aws")
# Commands of operators and holders; admin is what those of operators do.
NOT_FOR_LAMBDA = (ROOT / "k3s_daas/admin", ROOT / "k3s_daas/cli")
# Chalice makes clients while it writes the template and calls none of them.
_NO_AWS = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def package(target: Path) -> None:
    """Write zip and template into `target`. Raises CalledProcessError; Chalice has said why.

    Raises ValueError if a module does not compile.
    """
    source = target / "source"
    # Only what this function makes: the directory may be anybody's.
    if source.exists():
        shutil.rmtree(source)
    for made in ("deployment.zip", "sam.json"):
        (target / made).unlink(missing_ok=True)
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=_left_out)
    functions = source / "functions"
    subprocess.run(
        [
            # Chalice's own script, wherever this interpreter has it.
            *(sys.executable, "-c", "from chalice.cli import main; main()"),
            *("--project-dir", str(functions)),
            *("package", "--merge-template", str(source / "infra/aws/resources.json"), str(target)),
        ],
        check=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DAAS_"))},
            **_NO_AWS,
            "PIP_CONSTRAINT": str(functions / "requirements.txt"),
            "PIP_REQUIRE_HASHES": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    shutil.rmtree(source)
    add_byte_code(target / "deployment.zip")


def _left_out(directory: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name in ("__pycache__", "deployments", "deployed", "tests")
        or Path(directory, name) in NOT_FOR_LAMBDA
    ]


if __name__ == "__main__":
    package(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/package").resolve())
