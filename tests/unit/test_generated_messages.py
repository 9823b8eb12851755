"""In a Lambda function pysui's generated messages come without pysui; elsewhere pysui is there as ever."""

from __future__ import annotations

import os
import subprocess
import sys

LEAN = """
import sys
from k3s_daas.sui import grpc
assert grpc.v2.GetObjectRequest
heavy = {"gql", "graphql", "httpx", "pysui", "pysui.sui.sui_pgql", "websockets"} & set(sys.modules)
assert not heavy, heavy
"""
WHOLE = """
from k3s_daas.sui import grpc
from pysui.sui.sui_bcs import bcs
from pysui import PysuiConfiguration
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2
assert PysuiConfiguration and bcs.TransactionData
assert v2 is grpc.v2, "two sets of message classes would not know each other"
"""


def run(code: str, **environment: str) -> None:
    known = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_FUNCTION_NAME"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={**known, **environment})


def test_a_function_starts_without_the_rest_of_pysui() -> None:
    run(LEAN, AWS_LAMBDA_FUNCTION_NAME="gateway")


def test_elsewhere_any_part_of_pysui_can_be_imported_afterwards() -> None:
    run(WHOLE)
