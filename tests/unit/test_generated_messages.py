"""pysui's generated messages come without pysui, and do not stand in its way."""

from __future__ import annotations

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
from pysui import PysuiConfiguration
from pysui.sui.sui_bcs import bcs
import pysui.sui.sui_grpc.suimsgs.google.protobuf as well_known
from pysui.sui.sui_grpc.suimsgs.sui.rpc import v2
assert PysuiConfiguration and bcs.TransactionData
assert v2 is grpc.v2, "two sets of message classes would not know each other"
"""


def test_the_ledger_brings_no_other_client_and_pysui_can_still_be_imported() -> None:
    subprocess.run([sys.executable, "-c", LEAN + WHOLE], check=True, timeout=60)


def test_the_messages_are_those_of_a_pysui_that_is_already_there() -> None:
    already_there = "import pysui\nfrom k3s_daas.sui import grpc\n"
    subprocess.run([sys.executable, "-c", already_there + WHOLE], check=True, timeout=60)
