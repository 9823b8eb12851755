"""Who leads: at no moment two, and soon again one."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from k3s_daas.errors import ConfigurationError
from listener_service.kube_objects import (
    KubeForbiddenError,
    KubeUnavailableError,
    ObjectMissingError,
)
from listener_service.leadership import WATERMARK, Leadership, Term, lease_name
from listener_service.leases import Lease
from tests.unit import virtual_time
from tests.unit.contract_world import PACKAGE
from tests.unit.listener_world import World
from tests.unit.memory_leases import MemoryLeases

NAME = "daas-listener-x"
DURATION_S = 15


def time_s() -> float:
    return asyncio.get_running_loop().time()


class Election:
    """Several replicas over one store, in virtual time."""

    def __init__(self) -> None:
        self.clock = virtual_time.VirtualClock()
        self.leases = MemoryLeases(self.clock.now_ms)
        self.terms: list[Term] = []

    def replica(self, identity: str) -> Leadership:
        return Leadership(self.leases, NAME, identity, DURATION_S, self.clock, boot_s=time_s)

    async def lead(self, identity: str) -> Term:
        term = await self.replica(identity).acquire()
        self.terms.append(term)
        return term

    @property
    def leading(self) -> list[str]:
        return [term.holder for term in self.terms if term.is_current()]

    @property
    def lease(self) -> Lease:
        return self.leases.stored[NAME]


def no_watermark() -> int | None:
    return None


def test_the_first_one_leads_and_the_second_stands_by() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        keeping = asyncio.create_task(election.replica("one").keep(first, no_watermark))
        second = asyncio.create_task(election.lead("two"))
        await asyncio.sleep(3600)
        assert election.leading == ["one"]
        assert not second.done()
        for task in (keeping, second):
            task.cancel()

    virtual_time.run(main())


def test_a_standby_follows_a_leader_that_died_within_the_lease_and_not_before_it_stopped() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        keeping = asyncio.create_task(election.replica("one").keep(first, no_watermark))
        second = asyncio.create_task(election.lead("two"))
        await asyncio.sleep(100.1)
        keeping.cancel()
        died = time_s()
        while first.is_current():
            assert not second.done()
            await asyncio.sleep(0.01)
        await second
        assert time_s() - died <= DURATION_S
        assert second.result().number == first.number + 1

    virtual_time.run(main())


def test_a_leader_that_stops_in_order_is_followed_within_two_seconds() -> None:
    async def main() -> None:
        election = Election()
        one = election.replica("one")
        first = await one.acquire()
        second = asyncio.create_task(election.lead("two"))
        await asyncio.sleep(7)
        await one.release(first, 33)
        stopped = time_s()
        assert not first.is_current()
        assert (await second).watermark == 33
        assert time_s() - stopped <= 2

    virtual_time.run(main())


def test_a_lease_is_given_back_although_its_last_renewal_was_not_waited_for() -> None:
    """Or the next one would wait for it to run out."""

    async def main() -> None:
        election = Election()
        one = election.replica("one")
        first = await one.acquire()
        # The loop has ended the task that asked for it, and the thread has sent it all the same.
        await election.leases.replace(replace(first.lease, renewed_ms=election.clock.now_ms()))
        await one.release(first, 33)
        assert (election.lease.holder, election.lease.annotations[WATERMARK]) == ("", "33")
        second = await election.lead("two")
        await one.release(first, 34)
        assert election.lease == second.lease

    virtual_time.run(main())


def test_a_leader_that_cannot_renew_stops_before_anybody_may_follow() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        election.leases.away()
        began = time_s()
        await election.replica("one").keep(first, no_watermark)
        assert not first.is_current()
        assert DURATION_S / 2 < time_s() - began < DURATION_S * 5 / 6

    virtual_time.run(main())


def test_one_that_slept_through_its_lease_does_not_lead_when_it_wakes() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        await asyncio.sleep(DURATION_S * 4)  # nothing of "one" ran in the meantime
        assert not first.is_current()
        second = asyncio.create_task(election.lead("two"))
        await asyncio.sleep(DURATION_S)
        before = election.lease
        await election.replica("one").keep(first, no_watermark)
        await election.replica("one").release(first, 99)
        assert election.lease == before
        assert (await second).holder == election.lease.holder == "two"

    virtual_time.run(main())


@pytest.mark.parametrize("seed", range(6))
def test_never_two_lead_whatever_fails(seed: int) -> None:
    """Replies get lost, the API server goes away, replicas die and come again: one at a time leads."""

    async def main() -> None:
        choose = random.Random(seed)  # noqa: S311  no secret
        election = Election()

        def fault(call: str, name: str) -> None:
            if choose.random() < 0.2:
                raise KubeUnavailableError("lost")

        election.leases.before = election.leases.after = fault
        led: dict[str, int] = {}

        async def live(name: str) -> None:
            for life in itertools.count():
                identity = f"{name}-{life}"
                term = await election.lead(identity)
                led[name] = led.get(name, 0) + 1
                lifetime_s = choose.uniform(0, 120)
                with suppress(TimeoutError):
                    async with asyncio.timeout(lifetime_s):
                        await election.replica(identity).keep(term, itertools.count().__next__)
                if choose.random() < 0.3:
                    await election.replica(identity).release(term, None)
                await asyncio.sleep(choose.uniform(0, 30))

        lives = [asyncio.create_task(live(f"replica-{number}")) for number in range(3)]
        for _ in range(40_000):
            await asyncio.sleep(0.05)
            assert len(election.leading) <= 1
        for task in lives:
            task.cancel()
        assert min(led.values()) > 3
        numbers = [term.number for term in election.terms]
        assert numbers == sorted(set(numbers))

    virtual_time.run(main())


def test_a_renewal_whose_reply_was_lost_and_a_foreign_annotation_cost_nothing() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        keeping = asyncio.create_task(election.replica("one").keep(first, no_watermark))
        lost = [1]

        def lose_one(call: str, name: str) -> None:
            if call == "replace" and lost and lost.pop():
                raise KubeUnavailableError("lost")

        election.leases.after = lose_one
        await asyncio.sleep(6)
        await election.leases.replace(replace(election.lease, annotations={"by": "hand"}))
        await asyncio.sleep(60)
        assert election.leading == ["one"]
        assert election.lease.annotations == {"by": "hand"}
        assert not lost
        keeping.cancel()

    virtual_time.run(main())


def test_a_lease_that_is_deleted_ends_the_term() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        election.leases.stored.clear()
        await election.replica("one").keep(first, no_watermark)
        assert not first.is_current()
        assert time_s() < DURATION_S

    virtual_time.run(main())


def test_a_deleted_lease_that_the_api_server_makes_anew_keeps_term_and_watermark() -> None:
    async def main() -> None:
        election = Election()
        election.leases.recreates = True
        first = await election.lead("one")
        keeping = asyncio.create_task(election.replica("one").keep(first, lambda: 7))
        await asyncio.sleep(6)
        election.leases.stored.clear()
        await asyncio.sleep(60)
        assert election.leading == ["one"]
        assert (election.lease.transitions, election.lease.annotations) == (0, {WATERMARK: "7"})
        keeping.cancel()

    virtual_time.run(main())


def test_an_api_server_that_refuses_needs_a_person() -> None:
    async def main() -> None:
        election = Election()

        def refuse(call: str, name: str) -> None:
            raise KubeForbiddenError(403, "no")

        election.leases.before = refuse
        with pytest.raises(ConfigurationError, match="RBAC"):
            await election.lead("one")

    virtual_time.run(main())


def test_a_namespace_that_does_not_exist_needs_a_person() -> None:
    async def main() -> None:
        election = Election()

        def missing(call: str, name: str) -> None:
            if call == "create":
                raise ObjectMissingError(404, 'namespaces "daas-system" not found')

        election.leases.before = missing
        with pytest.raises(ConfigurationError, match=r"404.*manifests"):
            await asyncio.wait_for(election.lead("one"), 60)

    virtual_time.run(main())


def test_an_api_server_that_refuses_while_it_restarts_is_waited_for_a_minute_long() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        two = election.replica("two")
        standing_by = asyncio.create_task(two.acquire())
        await asyncio.sleep(1)

        def refuse(call: str, name: str) -> None:
            raise KubeForbiddenError(403, "RBAC: not read yet")

        election.leases.before = refuse
        await asyncio.sleep(50)
        election.leases.back()
        second = await standing_by
        assert second.number == first.number + 1
        keeping = asyncio.create_task(two.keep(second, no_watermark))
        await asyncio.sleep(300)
        election.leases.before = refuse
        began = time_s()
        await keeping
        with pytest.raises(ConfigurationError, match="RBAC"):
            await two.acquire()
        assert 50 < time_s() - began < 70

    virtual_time.run(main())


class SlowLeases(MemoryLeases):
    """A write goes on in its thread, whoever no longer waits for it."""

    takes_s = 0.5

    async def replace(self, lease: Lease) -> Lease:
        return await asyncio.shield(asyncio.ensure_future(self._replace_later(lease)))

    async def _replace_later(self, lease: Lease) -> Lease:
        await asyncio.sleep(self.takes_s)
        return await super().replace(lease)


@pytest.mark.parametrize("reply_lost", [False, True])
def test_a_standby_that_is_told_to_end_while_it_asks_for_the_lead_gives_it_back(reply_lost: bool) -> None:
    async def main() -> None:
        election = Election()
        election.leases = SlowLeases(election.clock.now_ms)
        election.leases.stored[NAME] = Lease(NAME, annotations={WATERMARK: "33"}, version="1")

        def lose(call: str, name: str) -> None:
            if call == "replace":
                election.leases.back()
                raise KubeUnavailableError("lost")

        if reply_lost:
            election.leases.after = lose
        asking = asyncio.create_task(election.lead("one"))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait({asking})
        await asyncio.sleep(1)
        assert asking.cancelled()
        assert (election.lease.holder, election.lease.transitions) == ("", 1)
        assert (await election.lead("two")).watermark == 33

    virtual_time.run(main())


@pytest.mark.parametrize("takes_s", [1.0, 3600.0])
def test_a_standby_that_is_told_to_end_waits_neither_for_the_lead_nor_for_an_api_server_that_hangs(
    takes_s: float,
) -> None:
    async def main() -> None:
        election = Election()
        election.leases = slow = SlowLeases(election.clock.now_ms)
        slow.takes_s = takes_s
        slow.stored[NAME] = Lease(NAME, version="1")
        asking = asyncio.create_task(election.lead("one"))
        await asyncio.sleep(0.1)
        asking.cancel()
        slow.stored[NAME] = Lease(NAME, holder="two", version="2")
        await asyncio.wait({asking})
        assert time_s() < 6
        assert election.lease.holder == "two"

    virtual_time.run(main())


def test_a_refusal_in_passing_does_not_cost_the_lead() -> None:
    async def main() -> None:
        election = Election()
        first = await election.lead("one")
        keeping = asyncio.create_task(election.replica("one").keep(first, no_watermark))
        await asyncio.sleep(5.5)

        def refuse(call: str, name: str) -> None:
            raise KubeForbiddenError(403, "RBAC: not read yet")

        election.leases.before = refuse
        await asyncio.sleep(6)
        assert first.is_current()
        election.leases.back()
        await asyncio.sleep(60)
        assert election.leading == ["one"]
        keeping.cancel()

    virtual_time.run(main())


def marks(progress: Callable[[], int | None]) -> list[tuple[float, int]]:
    """When the Lease got which watermark, in 30 s of a lease of 2 s (renewed every 0.67 s)."""
    seen: list[tuple[float, int]] = []

    async def main() -> None:
        clock = virtual_time.VirtualClock()
        leases = MemoryLeases(clock.now_ms)
        leadership = Leadership(leases, NAME, "one", 2, clock, boot_s=time_s)
        keeping = asyncio.create_task(leadership.keep(await leadership.acquire(), progress))
        for _ in range(3000):
            await asyncio.sleep(0.01)
            text = leases.stored[NAME].annotations.get(WATERMARK)
            if text is not None and (not seen or seen[-1][1] != int(text)):
                seen.append((time_s(), int(text)))
        keeping.cancel()

    virtual_time.run(main())
    return seen


def test_the_watermark_is_written_at_most_once_a_second_and_only_forward() -> None:
    growing = iter(range(100, 10_000))
    seen = marks(lambda: next(growing))
    assert len(seen) > 10
    assert min(later[0] - earlier[0] for earlier, later in itertools.pairwise(seen)) >= 0.99
    falling = iter(range(10_000, 0, -1))
    assert [mark for _, mark in marks(lambda: next(falling))] == [10_000]
    assert marks(no_watermark) == []


@pytest.mark.parametrize("text", ["", "-1", "soon", "٣", "9" * 5000], ids=lambda text: text[:8])
def test_a_watermark_that_is_no_number_counts_as_none(text: str) -> None:
    async def main() -> None:
        election = Election()
        election.leases.stored[NAME] = Lease(NAME, annotations={WATERMARK: text}, version="1")
        assert (await election.lead("one")).watermark is None

    virtual_time.run(main())


def test_each_executor_of_each_cluster_on_each_chain_has_a_lease_of_its_own() -> None:
    roots = World().roots
    names = {
        lease_name(roots, PACKAGE),
        lease_name(roots, bytes(32)),
        lease_name(replace(roots, cluster=bytes(32)), PACKAGE),
        lease_name(replace(roots, chain_id="other"), PACKAGE),
    }
    assert len(names) == 4
