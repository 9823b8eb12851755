"""Claims: who may run a mutation, and when its claim may go."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from k3s_daas.contract.reader import ContractReader
from listener_service.claim_removal import ClaimRemoval
from listener_service.claims import CLAIM, LISTENER, MINUTE, Claim, Claimed, ClaimRefusedError, Claims
from listener_service.kube_objects import KubeForbiddenError, KubeRefusedError, KubeUnavailableError
from listener_service.leadership import NotLeadingError, Term
from listener_service.leases import Lease
from tests.unit.listener_world import NOW_MS, World

LISTENER_NAME = "daas-listener-x"
POD = "/api/v1/namespaces/default/pods/web"


@pytest.fixture
def world() -> World:
    return World()


def term_of(world: World, number: int = 0, holder: str = "one") -> Term:
    lease = Lease(LISTENER_NAME, holder=holder, transitions=number)
    return Term(lease, world.clock.boot_s + 10, lambda: world.clock.boot_s)


def claims_of(world: World, number: int = 0, holder: str = "one") -> Claims:
    return Claims(world.leases, LISTENER_NAME, term_of(world, number, holder), world.clock)


def claim_of(world: World, start_by_ms: int = NOW_MS + 20_000) -> Claim:
    requested, event = world.command("DELETE", POD)
    requested = replace(requested, start_by_ms=start_by_ms)
    return Claim.of(requested, world.reply_key.public_bytes(), event)


def raising(error: Exception, *, call: str, times: int = 10**9) -> Callable[[str, str], None]:
    left = [times]

    def fault(called: str, name: str) -> None:
        if called == call and left[0]:
            left[0] -= 1
            raise error

    return fault


async def test_a_claim_is_a_lease_that_tells_a_successor_all(world: World) -> None:
    claim = claim_of(world)
    assert await claims_of(world).claim(claim) is Claimed.OURS
    [lease] = world.leases.claims
    assert lease.labels == {LISTENER: LISTENER_NAME, MINUTE: str((NOW_MS + 20_000) // 60_000)}
    assert lease.holder == "one"
    [found] = await claims_of(world, 1, "two").inherit()
    assert found == claim
    assert found.reply_to.reply_key == world.reply_key.public_bytes()


async def test_of_two_who_claim_one_request_one_may_run_it(world: World) -> None:
    claim, first, second = claim_of(world), claims_of(world), claims_of(world, 1, "two")
    assert await first.claim(claim) is Claimed.OURS
    assert await second.claim(claim) is Claimed.TAKEN
    assert await first.claim(claim) is Claimed.KNOWN
    assert world.leases.writes == 1


@pytest.mark.parametrize(
    ("made_at_ms", "outcome"),
    [
        (0, Claimed.OURS),
        (18_999, Claimed.OURS),
        (19_000, Claimed.OURS),
        (19_999, Claimed.OURS),  # rounded down to 19 s: it was made before 20 s
        (20_000, Claimed.TOO_LATE),
    ],
)
async def test_a_claim_counts_if_the_server_made_it_by_start_by(
    made_at_ms: int, outcome: Claimed, world: World
) -> None:
    world.leases.now_ms = lambda: NOW_MS + made_at_ms
    assert await claims_of(world).claim(claim_of(world)) is outcome


@pytest.mark.parametrize("seed", range(30))
async def test_what_counts_was_made_by_start_by_whatever_the_milliseconds(seed: int, world: World) -> None:
    choose = random.Random(seed)  # noqa: S311  no secret
    made_ms = NOW_MS + choose.randrange(40_000)
    start_by_ms = made_ms + choose.randrange(-1_500, 2_500)
    world.leases.now_ms = lambda: made_ms
    outcome = await claims_of(world).claim(claim_of(world, start_by_ms=max(start_by_ms, NOW_MS)))
    assert outcome in (Claimed.OURS, Claimed.TOO_LATE)
    if outcome is Claimed.OURS:
        assert made_ms <= max(start_by_ms, NOW_MS)
    elif made_ms >= NOW_MS:
        assert start_by_ms < made_ms + 1_000


async def test_a_claim_whose_reply_was_lost_is_still_ours(world: World) -> None:
    world.leases.after = raising(KubeUnavailableError("lost"), call="create", times=1)
    assert await claims_of(world).claim(claim_of(world)) is Claimed.OURS
    assert world.leases.writes == 1


async def test_anothers_claim_is_not_taken_for_ours_after_a_lost_reply(world: World) -> None:
    claim = claim_of(world)
    assert await claims_of(world, 0, "one").claim(claim) is Claimed.OURS
    world.leases.before = raising(KubeUnavailableError("lost"), call="create", times=1)
    assert await claims_of(world, 1, "one").claim(claim) is Claimed.TAKEN


async def test_an_api_server_that_is_away_until_start_by_makes_it_too_late(world: World) -> None:
    attempts = []

    def away(call: str, name: str) -> None:
        attempts.append(call)
        world.clock.ms += 5_000
        raise KubeUnavailableError("away")

    world.leases.before = away
    assert await claims_of(world).claim(claim_of(world)) is Claimed.TOO_LATE
    assert attempts == ["create"] * 5


async def test_an_api_server_that_refuses_claims_is_told(world: World) -> None:
    world.leases.before = raising(KubeRefusedError(422, "no"), call="create")
    with pytest.raises(ClaimRefusedError):
        await claims_of(world).claim(claim_of(world))
    assert world.leases.calls == ["create"]


@pytest.mark.parametrize("status", [401, 403])
async def test_an_api_server_that_restarts_and_refuses_everybody_is_asked_again(
    status: int, world: World
) -> None:
    world.leases.before = raising(KubeForbiddenError(status, "RBAC: not read yet"), call="create", times=3)
    assert await claims_of(world).claim(claim_of(world)) is Claimed.OURS
    assert world.leases.calls == ["create"] * 4


async def test_one_that_still_refuses_at_start_by_is_told(world: World) -> None:
    attempts: list[str] = []

    def refuse(call: str, name: str) -> None:
        attempts.append(call)
        world.clock.ms += 5_000
        raise KubeForbiddenError(403, "no")

    world.leases.before = refuse
    with pytest.raises(ClaimRefusedError):
        await claims_of(world).claim(claim_of(world))
    assert attempts == ["create"] * 5
    assert world.leases.claims == []


async def test_without_the_lead_nothing_is_claimed_found_or_removed(world: World) -> None:
    claims, claim = claims_of(world), claim_of(world)
    assert await claims.claim(claim) is Claimed.OURS
    world.clock.boot_s += 11
    with pytest.raises(NotLeadingError):
        await claims.claim(claim_of(world))
    with pytest.raises(NotLeadingError):
        await claims.inherit()
    claims.close(claim.minute, claims.open_requests(claim.minute))
    with pytest.raises(NotLeadingError):
        await claims.remove(claim.minute)
    assert len(world.leases.claims) == 1


async def test_open_claims_are_listed_until_it_works(world: World) -> None:
    await claims_of(world).claim(claim_of(world))
    world.leases.before = raising(KubeUnavailableError("away"), call="find", times=3)
    successor = claims_of(world, 1, "two")
    [found] = await successor.inherit()
    assert successor.knows(found.key)
    assert await successor.claim(found) is Claimed.KNOWN


FORGERIES: dict[str, Callable[[Lease], Lease]] = {
    "no claim in it": lambda lease: replace(lease, annotations={}),
    "no JSON": lambda lease: replace(lease, annotations={CLAIM: "{"}),
    "a list": lambda lease: replace(lease, annotations={CLAIM: "[]"}),
    "a number for a seal": lambda lease: replace(lease, annotations={CLAIM: '{"seal":1}'}),
    "another request's claim": lambda lease: replace(lease, name="daas-claim-" + "0" * 64),
    "another minute": lambda lease: replace(lease, labels={**lease.labels, MINUTE: "1"}),
    "more than a listener writes": lambda lease: replace(
        lease, annotations={CLAIM: lease.annotations[CLAIM][:-1] + ',"x":1}'}
    ),
    "a short request id": lambda lease: replace(
        lease, annotations={CLAIM: lease.annotations[CLAIM].replace('"requestId":"', '"requestId":"', 1)[:-3]}
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_lease_that_no_listener_wrote_is_passed_over_and_told(
    forgery: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await claims_of(world).claim(claim_of(world))
    [genuine] = world.leases.claims
    forged = FORGERIES[forgery](genuine)
    del world.leases.stored[genuine.name]
    world.leases.stored[forged.name] = forged
    assert await claims_of(world, 1, "two").inherit() == []
    assert "a Lease with the label of claims is none" in caplog.text


class Removing:
    """Three claims of one minute."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.claims = claims_of(world)
        self.commands = [world.command("DELETE", f"{POD}-{number}") for number in range(3)]
        self.removal = ClaimRemoval(self.claims, ContractReader(world.ledger, world.roots), world.clock)

    async def claim_all(self) -> None:
        for requested, event in self.commands:
            claim = Claim.of(requested, self.world.reply_key.public_bytes(), event)
            assert await self.claims.claim(claim) is Claimed.OURS

    async def look(self) -> int:
        await self.removal.look()
        return len(self.world.leases.claims)


async def test_claims_go_together_when_their_minute_is_over_and_all_are_answered(world: World) -> None:
    removing = Removing(world)
    await removing.claim_all()
    for requested, _ in removing.commands[:2]:
        world.answered_on_chain(requested)
    assert await removing.look() == 3, "the minute of start_by is not over"
    world.clock.ms = NOW_MS + 80_001
    assert await removing.look() == 3, "one is not answered"
    world.answered_on_chain(removing.commands[2][0])
    assert await removing.look() == 0
    assert world.leases.calls.count("remove") == 1
    # Two writes for each command: its claim, and its end.
    assert world.leases.writes == 2 * len(removing.commands)
    assert not removing.claims.knows((removing.commands[0][0].seal, removing.commands[0][0].request_id))


async def test_a_claim_without_an_answer_stays_until_answer_by(world: World) -> None:
    removing = Removing(world)
    await removing.claim_all()
    answer_by_ms = removing.commands[0][0].answer_by_ms
    for later_ms in (NOW_MS + 100_000, NOW_MS + 700_000, answer_by_ms):
        world.clock.ms = later_ms
        assert await removing.look() == 3
    world.clock.ms = answer_by_ms + 1
    assert await removing.look() == 0


@pytest.mark.parametrize("fault", ["chain", "garbage", "api server"])
async def test_what_cannot_be_asked_or_removed_is_tried_again(fault: str, world: World) -> None:
    removing = Removing(world)
    await removing.claim_all()
    for requested, _ in removing.commands:
        world.answered_on_chain(requested)
    world.clock.ms = NOW_MS + 80_001
    objects = dict(world.ledger.objects)
    if fault == "chain":
        world.ledger.away = True
    elif fault == "garbage":
        world.ledger.objects |= {
            key: replace(found, contents=b"\0")
            for key, found in objects.items()
            if "::Request>" in found.type_tag
        }
    else:
        world.leases.away()
    assert await removing.look() == 3
    world.ledger.away = False
    world.ledger.objects = objects
    world.leases.back()
    assert await removing.look() == 0
