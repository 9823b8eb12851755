"""pysui's generated messages and stubs for `sui.rpc.v2`.

Importing pysui as such brings its wallets and its GraphQL client too: 0.6 s of CPU where no byte code is
cached, that is at every cold start of a Lambda function. So there, and only there, the package's own
`__init__` is passed over while the generated modules, which need nothing of it, are imported. A process that
imports other parts of pysui as well would meet their circular imports in another order than they can bear.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

__all__ = ["FieldMask", "v2"]


def _package_without_its_code() -> ModuleType:
    spec = importlib.util.find_spec("pysui")
    if spec is None:
        raise ModuleNotFoundError("pysui is not installed", name="pysui")
    return importlib.util.module_from_spec(spec)


# Set by Lambda's runtime (AWS Lambda: defined runtime environment variables).
_ours = "AWS_LAMBDA_FUNCTION_NAME" in os.environ and "pysui" not in sys.modules
if _ours:
    sys.modules["pysui"] = _package_without_its_code()
try:
    from pysui.sui.sui_grpc.suimsgs.google.protobuf import FieldMask
    from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2
finally:
    if _ours:
        del sys.modules["pysui"]
