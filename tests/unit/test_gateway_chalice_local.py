"""The gateway behind Chalice's own local conversion, and a function that takes its time to start."""

from __future__ import annotations

import json

import pytest
from chalice import Chalice, Response

from infra.local.gateway.chalice_local import ChaliceLocalGateway
from infra.local.gateway.messages import HttpRequest
from infra.local.gateway.strict import StrictGateway


@pytest.fixture
def app() -> Chalice:
    app = Chalice("local")
    app.api.binary_types = ["*/*"]

    def echo(first: str) -> Response:
        request = app.current_request
        seen = {"first": first, "query": request.query_params.getlist("a") if request.query_params else []}
        body = json.dumps(seen).encode() + (request.raw_body or b"")
        arrived = str(request.context.get("requestTimeEpoch", ""))
        return Response(body, headers={"Content-Type": "application/json", "Arrived": arrived})

    app.route("/{first}", methods=["GET", "POST"], content_types=["*/*"])(echo)
    return app


HEADERS = (("Accept", "*/*"), ("Content-Type", "application/vnd.kubernetes.protobuf"))


def test_path_query_and_bytes_pass_through_chalices_own_conversion(app: Chalice) -> None:
    reply = ChaliceLocalGateway(app).handle(HttpRequest("POST", "/x?a=1&a=2", HEADERS, b"k8s\0\xff"))
    assert reply.status == 200
    assert reply.body == b'{"first": "x", "query": ["1", "2"]}k8s\0\xff'
    assert ("Content-Type", "application/json") in reply.headers


def test_a_path_without_a_route_is_a_status_that_does_not_repeat_the_token(app: Chalice) -> None:
    headers = (*HEADERS, ("Authorization", "Bearer secret"))
    reply = ChaliceLocalGateway(app).handle(HttpRequest("GET", "/x/y", headers, b""))
    assert (reply.status, json.loads(reply.body)["kind"]) == (404, "Status")
    assert b"secret" not in reply.body


def test_a_cold_start_counts_from_the_arrival_of_the_request(app: Chalice) -> None:
    gateway = StrictGateway(app, cold_start_s=0.2)
    first, second = (
        int(dict(gateway.handle(HttpRequest("GET", "/x", HEADERS, b"")).headers)["Arrived"]) for _ in range(2)
    )
    assert second - first >= 200
