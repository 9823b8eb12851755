"""Random roles and requests: the contract in the VM and the Python model say the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k3s_daas.attributes import RequestAttributes
from k3s_daas.contract import calls
from k3s_daas.contract.attributes import OnChainAttributes
from k3s_daas.rbac import Role, Rule
from k3s_daas.sui.transactions import PtbBuilder
from tests.move.harness import Chain
from tests.move.world import LISTENER_NAMESPACE, Seal, World

# Few words, so that rules and requests often meet.
VERBS = ["get", "list", "watch", "create", "update", "delete", "impersonate"]
GROUPS = ["", "apps", "certificates.k8s.io", "authorization.k8s.io"]
RESOURCES = [
    "pods",
    "deployments",
    "namespaces",
    "serviceaccounts",
    "certificatesigningrequests",
    "selfsubjectaccessreviews",
]
SUBRESOURCES = ["log", "scale", "proxy", "exec", "token", "approval"]
NAMESPACES = ["dev", "test", LISTENER_NAMESPACE]
NAMES = ["web", "settings", LISTENER_NAMESPACE]
URL_VERBS = ["get", "get", "post", "impersonate"]
PATHS = ["/api", "/api/v1", "/apis", "/healthz", "/healthz/etcd", "/version"]
PATTERNS = ["*", "/api", "/api/*", "/healthz*", "/version", "/version/*"]


def some(words: list[str], least: int = 0, most: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(words), min_size=least, max_size=most, unique=True).map(tuple)


RESOURCE_ENTRIES = [
    "*",
    *RESOURCES,
    *(f"*/{subresource}" for subresource in SUBRESOURCES),
    *(f"{resource}/{subresource}" for resource in RESOURCES[:5] for subresource in SUBRESOURCES),
]
RESOURCE_RULES = st.builds(
    Rule,
    verbs=some(["*", *VERBS], least=1),
    api_groups=some(["*", *GROUPS], least=1),
    resources=some(RESOURCE_ENTRIES, least=1, most=6),
    namespaces=some(["*", *NAMESPACES], most=2),
    resource_names=st.one_of(st.just(()), some(NAMES)),
)
URL_RULES = st.builds(
    Rule,
    verbs=some(["*", *URL_VERBS[1:]], least=1),
    namespaces=st.sampled_from([(), ("*",)]),
    non_resource_urls=some(PATTERNS, least=1),
)
ROLES = st.lists(st.one_of(RESOURCE_RULES, RESOURCE_RULES, URL_RULES), max_size=4).map(
    lambda rules: Role("random", priority=1, stake=0, open=True, rules=tuple(rules))
)


def resource_request(draw: st.DrawFn, rule: Rule | None) -> RequestAttributes:
    """Any, or one that the rule admits for all but what no rule can."""
    rule = rule or Rule(("*",), ("*",), ("*",))
    entry = draw(st.sampled_from(rule.resources))
    resource, _, subresource = (entry if entry != "*" else draw(st.sampled_from(RESOURCE_ENTRIES))).partition(
        "/"
    )
    name = one_of(draw, rule.resource_names, ["", "web", *NAMES])
    return RequestAttributes(
        verb=one_of(draw, rule.verbs, [*VERBS[:-1], *VERBS]),
        api_group=one_of(draw, rule.api_groups, GROUPS),
        api_version="v1",
        resource=draw(st.sampled_from(RESOURCES)) if resource == "*" else resource,
        subresource=subresource if name else "",
        namespace=one_of(draw, rule.namespaces, ["", "dev", "test", *NAMESPACES]),
        name=name,
        path="/not/looked/at",
    )


def url_request(draw: st.DrawFn, rule: Rule | None) -> RequestAttributes:
    verb = one_of(draw, rule.verbs if rule else (), URL_VERBS)
    return RequestAttributes(verb, "", "", "", "", "", "", draw(st.sampled_from(PATHS)))


def one_of(draw: st.DrawFn, entries: tuple[str, ...], words: list[str]) -> str:
    return draw(st.sampled_from(words if not entries or "*" in entries else entries))


@st.composite
def requests_of(draw: st.DrawFn, role: Role) -> RequestAttributes:
    """Mostly made for a rule of the role, half of these with one attribute changed."""
    rule = draw(st.sampled_from([None, *role.rules * 3]))
    about_urls = bool(rule.non_resource_urls) if rule else draw(st.integers(0, 3)) == 0
    request = url_request(draw, rule) if about_urls else resource_request(draw, rule)
    if about_urls or draw(st.booleans()):
        return request
    other = resource_request(draw, None)
    changed = draw(st.sampled_from(["verb", "api_group", "resource", "namespace"]))
    return replace(request, **{changed: getattr(other, changed)})


@st.composite
def roles_with_requests(draw: st.DrawFn) -> tuple[Role, list[tuple[RequestAttributes, bool]]]:
    """With each request, whether its session may only read."""
    role = draw(ROLES)
    requests = st.tuples(requests_of(role), st.booleans())
    return role, draw(st.lists(requests, min_size=4, max_size=10))


@dataclass(frozen=True)
class Holders:
    world: World
    writer: Seal
    reader: Seal


@pytest.fixture(scope="module")
def holders(chain: Chain) -> Holders:
    world = World.create(chain)
    world.set_policy(commands_per_minute=10**6, deposit_per_day=10**15)
    world.define_role("random", [])
    return Holders(world, world.holder(role="random"), world.holder(role="random", read_only=True))


def on_chain(role: Role, request: RequestAttributes) -> OnChainAttributes:
    """As the gateway would show it: the admitting pattern in place of the path, or the path."""
    if request.is_resource_request:
        known = asdict(request)
        return OnChainAttributes(**{name: known[name] for name in known if name != "path"})
    pattern = role.admits(request, LISTENER_NAMESPACE).non_resource_url
    return OnChainAttributes(request.verb, non_resource_url=pattern or request.path)


def expected(role: Role, request: RequestAttributes, *, read_only: bool) -> str | None:
    """The abort that the model expects."""
    refused = role.admits(request, LISTENER_NAMESPACE).abort
    if refused is None and read_only and not request.is_read:
        return "ESessionReadOnly"
    return refused


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(drawn=roles_with_requests())
def test_contract_and_model_agree(
    holders: Holders, drawn: tuple[Role, list[tuple[RequestAttributes, bool]]]
) -> None:
    world = holders.world
    role, requests = drawn
    world.define_role("random", [asdict(rule) for rule in role.rules])
    admitted = []
    for request, read_only in requests:
        seal = holders.reader if read_only else holders.writer
        command = world.command(seal, attributes=on_chain(role, request), payload=[b"sealed"])
        refused = expected(role, request, read_only=read_only)
        if refused is None:
            admitted.append((seal, command))
        else:
            assert world.chain.abort(world.gateway, world.executing(seal, command)) == refused, request

    def all_admitted(builder: PtbBuilder) -> None:
        for seal, command in admitted:
            calls.execute_command(builder, world.package, world.cluster, seal.ref, command)

    if admitted:
        receipt = world.chain.run(world.gateway, all_admitted)
        assert [name for name, _ in receipt.events] == ["K8sAPIRequest"] * len(admitted)


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rules=st.lists(URL_RULES, min_size=1, max_size=3),
    verb=st.sampled_from(["get", "post"]),
    pattern=st.sampled_from(PATTERNS),
)
def test_a_pattern_is_admitted_if_a_rule_has_it(
    holders: Holders, rules: list[Rule], verb: str, pattern: str
) -> None:
    """Whatever gateway shows it: no pattern stands for another, however much it covers."""
    world, seal = holders.world, holders.writer
    world.define_role("random", [asdict(rule) for rule in rules])
    command = world.command(
        seal, attributes=OnChainAttributes(verb, non_resource_url=pattern), payload=[b"sealed"]
    )
    named = any({verb, "*"} & set(rule.verbs) and pattern in rule.non_resource_urls for rule in rules)
    if named:
        world.execute(seal, command)
    else:
        assert world.chain.abort(world.gateway, world.executing(seal, command)) == "EForbiddenByRole"


def test_what_is_drawn_is_neither_all_admitted_nor_all_refused() -> None:
    seen: Counter[str | None] = Counter()

    @settings(max_examples=200, database=None, derandomize=True)
    @given(drawn=roles_with_requests())
    def count(drawn: tuple[Role, list[tuple[RequestAttributes, bool]]]) -> None:
        role, requests = drawn
        seen.update(expected(role, request, read_only=read_only) for request, read_only in requests)

    count()
    assert all(number >= seen.total() // 50 for number in seen.values())
    assert set(seen) == {
        None,
        "EForbiddenByRole",
        "EReservedNamespace",
        "EVerbNeverAllowed",
        "ESessionReadOnly",
    }
    assert seen[None] >= seen.total() // 6
