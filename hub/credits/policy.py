"""What a miss is worth: a policy applied to the facts of a case, explained line by line with the ids of its rules. Pure.

Order of things: exclusions; one rule for each reason; stacking; what was asked for; caps per case, month and year, less
what was given already; the smallest credit. Amounts are net of tax, in the subscription's currency, rounded half to
even to its minor unit as soon as they are worked out, so that the lines add up to the amount. Caps round down. Nothing
is converted: where a rule or a value is in another currency, the decision is refused and says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any, Literal

from canonical.money import Money, quantum, round_money
from hub.credits.sla import plain

ZERO = Decimal(0)
UNITS = {"first_response": "min late", "resolution": "min late", "uptime": "percentage points below the target"}


@dataclass(frozen=True, slots=True)
class Rule:
    """For a miss within the band [at_least, below): percent of the monthly value, or a fixed amount."""

    code: str
    reason: str
    tier: str = ""
    at_least: Decimal = ZERO
    below: Decimal | None = None
    percent: Decimal | None = None
    fixed: Decimal | None = None
    fixed_currency: str = ""
    needs_evidence: bool = False

    def covers(self, measure: Decimal) -> bool:
        """Whether a miss of that size is in the band."""
        return self.at_least <= measure and (self.below is None or measure < self.below)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules and limits of one version. Caps are percent of the monthly value; None: no such cap.

    `monthly_value`: `listed`, the list price; or `billed`, what an invoice bills, and the list price where none says.
    """

    label: str
    name: str = ""
    rules: tuple[Rule, ...] = ()
    cap_case: Decimal | None = None
    cap_month: Decimal | None = None
    cap_year: Decimal | None = None
    stacking: str = "highest"
    excluded: tuple[Mapping[str, str], ...] = ()
    smallest: Decimal = ZERO
    smallest_currency: str = ""
    settlement: str = "credit_note"
    monthly_value: str = "listed"


@dataclass(frozen=True, slots=True)
class Billed:
    """What an invoice bills a month for a subscription, and the invoice's number, or its id without one."""

    value: Money
    invoice: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy is applied to.

    `missed`: reason → minutes late, or percentage points below. `reason`: what somebody asks a credit for, '' when it is
    for whatever was missed; `requested`: the amount they ask for, None: as much as the rules give. `given_*`: net
    amounts of earlier credits in `currency`: for the case, and for the customer in this calendar month and year.
    `monthly` is the list price of the subscription.
    """

    currency: str
    missed: Mapping[str, Decimal] = field(default_factory=dict)
    reason: str = ""
    tier: str = ""
    tags: frozenset[str] = frozenset()
    monthly: Money | None = None
    billed: Billed | None = None
    requested: Decimal | None = None
    has_evidence: bool = False
    given_case: Decimal = ZERO
    given_month: Decimal = ZERO
    given_year: Decimal = ZERO

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them."""
        return {
            "currency": self.currency, "missed": {reason: str(by) for reason, by in self.missed.items()},
            "reason": self.reason, "tier": self.tier, "tags": sorted(self.tags),
            "monthly": [str(self.monthly.amount), self.monthly.currency] if self.monthly else None,
            "billed": [str(self.billed.value.amount), self.billed.value.currency, self.billed.invoice] if self.billed else None,
            "requested": None if self.requested is None else str(self.requested), "has_evidence": self.has_evidence,
            "given_case": str(self.given_case), "given_month": str(self.given_month), "given_year": str(self.given_year),
        }  # fmt: skip

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Facts:
        """What `as_json` wrote, now or before facts told what is billed."""
        monthly, billed, requested = said["monthly"], said.get("billed"), said["requested"]
        return cls(
            currency=said["currency"], missed={reason: Decimal(by) for reason, by in said["missed"].items()},
            reason=said["reason"], tier=said["tier"], tags=frozenset(said["tags"]),
            monthly=Money(Decimal(monthly[0]), monthly[1]) if monthly else None,
            billed=Billed(Money(Decimal(billed[0]), billed[1]), billed[2]) if billed else None,
            requested=None if requested is None else Decimal(requested), has_evidence=said["has_evidence"],
            given_case=Decimal(said["given_case"]), given_month=Decimal(said["given_month"]),
            given_year=Decimal(said["given_year"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One step of the explanation. `amount`: what it adds or takes away; None: a remark."""

    text: str
    amount: Decimal | None = None
    rule: str = ""


Cap = Literal["", "case", "month", "year"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The amount, and why. `refused` says why nothing is given; `rules` are those the amount rests on.

    `needs_evidence`: a rule could not be used because nothing proves the claim.
    """

    amount: Decimal
    currency: str
    policy: str
    reason: str = ""
    rules: tuple[str, ...] = ()
    capped_by: Cap = ""
    lines: tuple[Line, ...] = ()
    refused: str = ""
    needs_evidence: bool = False

    @property
    def explanation(self) -> list[str]:
        """The lines as text."""
        return [line.text for line in self.lines]

    def as_json(self) -> dict[str, Any]:
        """Plain values, amounts as text."""
        return {
            "amount": str(self.amount), "currency": self.currency, "policy": self.policy, "reason": self.reason,
            "rules": list(self.rules), "capped_by": self.capped_by, "refused": self.refused,
            "needs_evidence": self.needs_evidence,
            "lines": [
                {"text": line.text, "amount": None if line.amount is None else str(line.amount), "rule": line.rule}
                for line in self.lines
            ],
        }  # fmt: skip


def calculation(facts: Facts, decision: Decision, assessment: Any = None) -> dict[str, Any]:
    """What `Credit.calculation` holds: enough to show the computation, and to apply another policy to the same facts.

    `assessment` is a `sla.Assessment`, None for a credit that was asked for without a missed promise.
    """
    said = {"facts": facts.as_json(), "decision": decision.as_json()}
    return said | ({"assessment": assessment.as_json()} if assessment is not None else {})


class _Refused(Exception):
    """Nothing is given; the message says why."""


@dataclass(frozen=True, slots=True)
class _Worth:
    rule: Rule
    amount: Decimal
    text: str


def decide(policy: Policy, facts: Facts) -> Decision:
    """Apply a policy. Never raises for facts of a known shape: what cannot be given is refused, with the reason."""
    return _Deciding(policy, facts).decide()


@dataclass(slots=True)
class _Deciding:
    policy: Policy
    facts: Facts
    lines: list[Line] = field(default_factory=list)
    used: list[_Worth] = field(default_factory=list)
    capped_by: Cap = ""
    needs_evidence: bool = False

    def decide(self) -> Decision:
        refused = ""
        try:
            self._exclude()
            self._stack(self._worths())
            self._request()
            self._cap()
            self._smallest()
        except _Refused as why:
            refused = str(why)
            self.lines.append(Line(f"nothing is given: {refused}", -self.amount if self.amount else None))
        best = max(self.used, key=lambda worth: worth.amount, default=None)
        return Decision(
            amount=self.amount, currency=self.facts.currency, policy=self.policy.label,
            reason=best.rule.reason if best else self.facts.reason, rules=tuple(worth.rule.code for worth in self.used),
            capped_by=self.capped_by, lines=tuple(self.lines), refused=refused, needs_evidence=self.needs_evidence,
        )  # fmt: skip

    @property
    def amount(self) -> Decimal:
        return sum((line.amount for line in self.lines if line.amount is not None), ZERO)

    def _exclude(self) -> None:
        for entry in self.policy.excluded:
            tag, tier = entry.get("tag"), entry.get("tier")
            if (tag or tier) and (not tag or tag in self.facts.tags) and (not tier or tier == self.facts.tier):
                named = " and ".join(f"{what} {value}" for what, value in (("tag", tag), ("tier", tier)) if value)
                raise _Refused(f"{named} is excluded by the policy")

    def _worths(self) -> list[_Worth]:
        """What each reason is worth on its own."""
        claims = {reason: by for reason, by in sorted(self.facts.missed.items()) if by > 0}
        if asked := self.facts.reason:
            if asked in UNITS and asked not in claims:
                raise _Refused(f"{asked.replace('_', ' ')} was not missed")
            claims = {asked: claims.get(asked, ZERO)}
        if not claims:
            raise _Refused("no promise was missed")
        worths = [worth for reason, by in claims.items() if (worth := self._worth(reason, by))]
        if not worths:
            raise _Refused("the claim needs evidence" if self.needs_evidence else "no rule of the policy covers it")
        return worths

    def _worth(self, reason: str, by: Decimal) -> _Worth | None:
        rule = rule_for(self.policy.rules, reason, self.facts.tier, by)
        size = f"{reason.replace('_', ' ')}, {plain(by)} {UNITS[reason]}" if reason in UNITS else reason.replace("_", " ")
        tier = f" on {self.facts.tier}" if self.facts.tier else ""
        if rule is None:
            self.lines.append(Line(f"{size}{tier}: no rule gives anything"))
            return None
        if rule.needs_evidence and not self.facts.has_evidence:
            self.needs_evidence = True
            self.lines.append(Line(f"{rule.code}: {size}{tier}: needs evidence, and there is none", None, rule.code))
            return None
        amount, how = self._value(rule)
        return _Worth(rule, amount, f"{rule.code}: {size}{tier}: {how}")

    def _value(self, rule: Rule) -> tuple[Decimal, str]:
        if rule.percent is not None:
            monthly = self._monthly(f"{rule.code} gives a share of it")
            amount = round_money(monthly * rule.percent / 100, self.facts.currency)
            return amount, f"{plain(rule.percent)} % of {self._money(monthly)} a month{self._source()} = {self._money(amount)}"
        if rule.fixed is None or rule.fixed_currency != self.facts.currency:
            raise _Refused(
                f"{rule.code} gives {rule.fixed_currency or 'an amount without a currency'}, "
                f"the subscription is in {self.facts.currency}, and policies do not convert"
            )
        amount = round_money(rule.fixed, self.facts.currency)
        return amount, f"{self._money(amount)} flat"

    def _stack(self, worths: Sequence[_Worth]) -> None:
        if self.policy.stacking == "sum":
            self.used = list(worths)
        else:
            self.used = [max(worths, key=lambda worth: worth.amount)]
        for worth in worths:
            counts = worth in self.used
            text = worth.text if counts else f"{worth.text}; not added, only the highest counts"
            self.lines.append(Line(text, worth.amount if counts else None, worth.rule.code))

    def _request(self) -> None:
        asked = self.facts.requested
        if asked is None:
            return
        if asked <= 0:
            raise _Refused("the amount asked for is not above zero")
        asked = asked.quantize(quantum(self.facts.currency), ROUND_DOWN)
        over = asked - self.amount
        if over < 0:
            self.lines.append(Line(f"asked for {self._money(asked)}, {self._money(-over)} less", over))
        elif over > 0:
            self.lines.append(Line(f"asked for {self._money(asked)}: {self._money(over)} more than the policy gives"))

    def _cap(self) -> None:
        policy, facts = self.policy, self.facts
        caps: list[tuple[Cap, str, Decimal | None, Decimal]] = [
            ("case", "a case", policy.cap_case, facts.given_case),
            ("month", "a customer and month", policy.cap_month, facts.given_month),
            ("year", "a customer and year", policy.cap_year, facts.given_year),
        ]
        for name, words, percent, given in caps:
            if percent is None:
                continue
            monthly = self._monthly("the caps are a share of it")
            most = (monthly * percent / 100).quantize(quantum(facts.currency), ROUND_DOWN)
            left = max(ZERO, most - given)
            if left < self.amount:
                before = f", {self._money(given)} of it given before" if given else ""
                text = f"at most {plain(percent)} % of the monthly value for {words}: {self._money(most)}{before}"
                self.lines.append(Line(text, left - self.amount))
                self.capped_by = name
            if not left:
                raise _Refused(f"the cap for {words} is used up")

    def _smallest(self) -> None:
        policy, currency = self.policy, self.facts.currency
        if self.amount <= 0:
            raise _Refused("it comes to nothing")
        if policy.smallest_currency in ("", currency) and self.amount < policy.smallest:
            raise _Refused(f"credits below {self._money(policy.smallest)} are not given")

    def _monthly(self, why: str) -> Decimal:
        billed = self._billed()
        monthly = billed.value if billed else self.facts.monthly
        if monthly is None:
            raise _Refused(f"no subscription with a monthly value is affected, and {why}")
        if monthly.currency != self.facts.currency:
            raise _Refused(f"the monthly value is in {monthly.currency}, the credit in {self.facts.currency}")
        return monthly.amount

    def _billed(self) -> Billed | None:
        return self.facts.billed if self.policy.monthly_value == "billed" else None

    def _source(self) -> str:
        """Where the monthly value is from, when the policy asks for what is billed."""
        if self.policy.monthly_value == "listed":
            return ""
        billed = self._billed()
        return f", as {billed.invoice} bills," if billed else ", the list price, as no invoice says,"

    def _money(self, amount: Decimal) -> str:
        return str(Money(round_money(amount, self.facts.currency), self.facts.currency))


def rule_for(rules: Sequence[Rule], reason: str, tier: str, measure: Decimal) -> Rule | None:
    """The rule for a miss: of the tier's own rules when it has any for the reason, else of those for every tier.

    Of overlapping bands the one that begins highest counts, then the one that gives more, then the first by code.
    """
    of_reason = [rule for rule in rules if rule.reason == reason and rule.tier in ("", tier)]
    own = [rule for rule in of_reason if rule.tier] or of_reason
    covering = sorted((rule for rule in own if rule.covers(measure)), key=lambda rule: rule.code)
    return max(covering, key=lambda rule: (rule.at_least, rule.percent or rule.fixed or ZERO), default=None)
