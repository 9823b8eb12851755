"""A fuzzing campaign: calls, how they ended, and whether the model of the rules says the same."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fuzz import (
    plans_cluster,
    plans_gateway,
    plans_seal,
    repairs,
    rules_cluster,
    rules_gateway,
    rules_seal,
)
from tests.fuzz.functions import public_functions
from tests.fuzz.model import ARGUMENT, Call, Rule, violations
from tests.fuzz.mutations import mutated
from tests.fuzz.planner import Plan, Planner
from tests.fuzz.shapes import DAY_MS
from tests.fuzz.stage import SUCCESS, Result, Stage

PLANS: dict[str, Plan] = {**plans_cluster.PLANS, **plans_seal.PLANS, **plans_gateway.PLANS}
RULES: dict[str, Rule] = {**rules_cluster.RULES, **rules_seal.RULES, **rules_gateway.RULES}
ACCOUNTS = 9
_AGING = 0.01
"""How often the clusters of other versions are made so again: one of them can be migrated."""
_REPAIRING = 0.7
_COMMANDS = {
    "k8s_gateway::execute_kubectl_command_with_id": 10,
    "k8s_gateway::execute_kubectl_command_by_reference": 5,
    "k8s_gateway::store_k8s_response": 5,
    "k8s_gateway::store_k8s_response_by_reference": 3,
    "k8s_gateway::reclaim": 4,
    "seal::stake": 2,
    "cluster::define_role": 2,
    "cluster::grant": 2,
    "cluster::pause": 2,
    "seal::withdraw": 2,
    "seal::open_session": 3,
}


@dataclass
class Report:
    """Counts of endings by function, and every disagreement between contract and model."""

    seed: int
    calls: int = 0
    seconds: float = 0.0
    endings: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def aborts(self) -> Counter[str]:
        """Name of an abort -> how often it was met."""
        total: Counter[str] = Counter()
        for counted in self.endings.values():
            total.update(counted)
        return Counter({name: n for name, n in total.items() if name not in (SUCCESS, ARGUMENT)})

    def lines(self) -> Iterator[str]:
        """A summary for a person."""
        yield f"seed {self.seed}: {self.calls} calls in {self.seconds:.0f} s"
        yield f"{'function':<52}{'calls':>7}{'success':>9}{'argument':>10}{'aborts':>8}  kinds"
        for path, counted in sorted(self.endings.items()):
            kinds = len(counted.keys() - {SUCCESS, ARGUMENT})
            aborted = counted.total() - counted[SUCCESS] - counted[ARGUMENT]
            yield (
                f"{path:<52}{counted.total():>7}{counted[SUCCESS]:>9}{counted[ARGUMENT]:>10}{aborted:>8}{kinds:>7}"
            )
        yield f"{len(self.aborts)} aborts met: " + ", ".join(
            f"{name} {count}" for name, count in sorted(self.aborts.items())
        )
        yield f"{len(self.findings)} disagreements with the model"
        yield from self.findings


class Campaign:
    """Plans, changes and performs calls, and compares each ending with the model's."""

    def __init__(self, seed: int) -> None:
        self.report = Report(seed)
        functions = public_functions()
        missing = functions.keys() ^ RULES.keys()
        assert not missing, f"the model and the contract differ in {sorted(missing)}"
        self._rng = random.Random(seed)
        self._stage = Stage(seed, ACCOUNTS)
        self._planner = Planner(self._stage, functions, self._rng, PLANS)

    def close(self) -> None:
        self._stage.close()

    def run(self, calls: int) -> Report:
        """Make that many calls, the setting's included."""
        began = time.monotonic()
        for call in repairs.setting(self._planner):
            self._perform(call)
        names = list(RULES)
        weights = [_COMMANDS.get(name, 1) for name in names]
        while self.report.calls < calls:
            if self._rng.random() < _AGING:
                repairs.age(self._planner)
            repair = repairs.repair(self._planner) if self._rng.random() < _REPAIRING else None
            [name] = self._rng.choices(names, weights)
            self._perform(repair or mutated(self._planner, self._planner.plan(name)))
            self._pass_time()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _perform(self, call: Call) -> Result:
        broken = violations(self._stage.view, call, RULES)
        result = self._stage.perform(call)
        self._compare(call, broken, result)
        self._planner.learn(call, result)
        return result

    def _compare(self, call: Call, broken: set[str], result: Result) -> None:
        report = self.report
        report.calls += 1
        report.endings.setdefault(call.function.path, Counter())[result.ending] += 1
        if result.ending in (broken or {SUCCESS}):
            return
        allowed = " or ".join(sorted(broken)) or SUCCESS
        report.findings.append(
            f"call {report.calls}, {call.function.path} by 0x{call.sender.hex()[:8]}: {result.ending}, but"
            f" the model says {allowed}; {result.detail}; {_shown(call)}"
        )

    def _pass_time(self) -> None:
        chance = self._rng.random()
        if chance < 0.6:
            return
        if chance < 0.9:
            step = self._rng.randint(1, 2_000)
        elif chance < 0.985:
            step = self._rng.randint(2_000, 90_000)
        else:
            step = self._rng.choice((DAY_MS // 24, DAY_MS, 31 * DAY_MS))
        self._stage.clock.advance(step)


def _shown(call: Call) -> str:
    """The arguments, long ones cut."""
    names = [parameter.name for parameter in call.function.parameters]
    pairs = zip([*names, *["?"] * len(call.arguments)], call.arguments, strict=False)
    return ", ".join(f"{name}={str(argument)[:90]}" for name, argument in pairs)
