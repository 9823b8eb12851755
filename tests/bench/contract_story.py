"""One run through everything that the contract announces, to see how large its events are."""

from __future__ import annotations

import re

from k3s_daas.contract import calls
from k3s_daas.ids import new_request_id
from tests.move.harness import ROOT, Chain
from tests.move.world import DAY_MS, ENOUGH, POLICY, WRITE, Seal, World, administering, issuing

EVENTS_SOURCE = ROOT / "move" / "sources" / "events.move"
_VERSION_AT = slice(32, 40)
"""Where the version stands in a cluster's contents."""


def event_sizes(chain: Chain) -> dict[str, int]:
    """Event -> bytes of its contents, at most, of every event that the sources declare."""
    before = set(chain.ledger.transactions)
    _tell(chain)
    sizes: dict[str, int] = {}
    for digest, executed in chain.ledger.transactions.items():
        if digest not in before and executed.numbers is not None:
            for event in executed.numbers.events:
                name = event.type_tag.rpartition("::")[2]
                sizes[name] = max(sizes.get(name, 0), event.bytes)
    declared = re.findall(r"^public struct (\w+) has copy, drop", EVENTS_SOURCE.read_text(), re.MULTILINE)
    assert sizes.keys() == set(declared), sizes.keys() ^ set(declared)
    return sizes


def _tell(chain: Chain) -> None:
    world = World.create(chain)
    _administer(world)
    _stake_and_sessions(world)
    _commands(world)


def _administer(world: World) -> None:
    chain, somebody = world.chain, world.chain.account().address
    extra = world.add_executor()
    issued = world.administer(issuing("pause", world.admin.address)).created("PauseCap")
    world.administer(
        administering(calls.revoke_capability, issued[0]),
        administering(calls.remove_executor, extra.address),
        administering(calls.add_gateway, somebody),
        administering(calls.remove_gateway, somebody),
        administering(calls.define_role, name="viewer", priority=0, stake=0, is_open=False),
        administering(calls.grant, holder=somebody, role="viewer", expires_at_ms=chain.now_ms + DAY_MS),
        administering(calls.remove_grant, holder=somebody, role="viewer"),
        administering(calls.remove_role, "viewer"),
        administering(calls.set_policy, POLICY),
        administering(calls.pause),
        administering(calls.resume),
    )
    contents = bytearray(chain.object(world.cluster.id).contents)
    contents[_VERSION_AT] = bytes(8)
    chain.forge(world.cluster.id, bytes(contents))
    world.administer(administering(calls.migrate))


def _stake_and_sessions(world: World) -> None:
    chain, package = world.chain, world.package
    seal = world.holder()
    owner = seal.owner
    chain.run(
        owner,
        lambda builder: calls.add_stake(
            builder, package, seal.ref, coin=chain.owned(builder, owner.coin), amount=ENOUGH
        ),
    )
    chain.run(owner, lambda b: calls.start_unstaking(b, package, seal.ref, amount=ENOUGH))
    chain.clock.advance(POLICY.unbonding_ms)
    chain.run(owner, lambda b: calls.withdraw(b, package, seal.ref, recipient=owner.address))
    chain.run(owner, lambda b: calls.close_session(b, package, seal.ref, session_key=seal.session_key))
    world.open_session(seal)
    chain.run(owner, lambda b: calls.close_all_sessions(b, package, seal.ref))
    world.administer(
        administering(
            calls.slash, seal.ref, amount=1, reason="the key was stolen", recipient=world.admin.address
        )
    )
    heir = chain.account()
    chain.run(owner, world.transferring(seal, heir.address))
    world.revoke(Seal(heir, seal.ref, seal.session), "the key was stolen")


def _commands(world: World) -> None:
    chain = world.chain
    seal = world.holder()
    answered = world.execute(seal, world.command(seal, attributes=WRITE))
    world.answer(seal, answered.request_id)
    world.answer(seal, new_request_id(chain.now_ms))
    unanswered = world.execute(seal)
    chain.clock.advance(DAY_MS)
    chain.run(world.gateway, world.reclaiming(seal, answered.request_id, unanswered.request_id))
