"""Whom a support platform means: a ladder from what is certain to what a person must say. No customer is made here.

In this order: the link there is, billing's own id of the customer (`same_as`), the tax id, a mapping that two people
approved, the exact name. A rung that points at several customers points at none. Names that are merely alike are
proposed to a person, and never linked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from django.db.models import F, Func, Q, QuerySet, Value
from django.db.models.functions import Now, Upper

from canonical import types, xref
from canonical.models import ExternalRef, Party

ALIKE = 0.6
"""Similarity of two names from which one is proposed."""
PROPOSED = 5
"""At most so many proposals."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A customer that might be meant: `code` is billing's id, `why` is for people."""

    code: str
    name: str
    why: str


class Unmatched(Exception):
    """Nothing certain says which customer this is. A person must; `proposals` are the likely ones, best first."""

    def __init__(self, said: types.Party, proposals: Sequence[Proposal]) -> None:
        super().__init__(f"nobody knows which customer {said.name or said.external_id} is")
        self.said, self.proposals = said, tuple(proposals)


def match(said: types.Party, billing: Sequence[int], mapped: Callable[[str], int | None] = lambda external_id: None) -> int:
    """Our id of the customer, among those of the billing connections `billing`. Raises Unmatched.

    `mapped` answers our id of a customer that an approved mapping names for this id, or None. That there is no link
    yet is the caller's knowledge.
    """
    if (certain := _same_as(said, billing) or _same_tax_id(said, billing) or mapped(said.external_id)) is not None:
        return certain
    namesakes = list(_namesakes(said, billing))
    exact = [party for party in namesakes if normal_name(party.name) == normal_name(said.name) and not _contradict(said, party)]
    # Who names a customer of billing that we do not know means that one, whatever others are called.
    if len(exact) == 1 and not said.same_as:
        return exact[0].pk
    raise Unmatched(said, _proposals(said, namesakes, billing))


def link(connection_id: int, external_id: str, party_id: int, *, provenance: str) -> None:
    """Say that a system means our customer by `external_id`.

    A system may have several ids for one customer, such as several people who write: all lead to the first.
    """
    first = xref.external("party", party_id, connection_id)
    if first is None:
        xref.link(connection_id, "party", external_id, "party", party_id, provenance=provenance)
        return
    ExternalRef.objects.create(
        connection_id=connection_id, kind="party", external_id=external_id, object_kind="party", object_id=party_id,
        state=ExternalRef.SUPERSEDED, superseded_by=first, valid_to=Now(), provenance=provenance,
    )  # fmt: skip


def normal_name(name: str) -> str:
    """A name without case, accents of form, punctuation and double blanks. Legal forms stay: they tell companies apart."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold()))


def normal_tax_id(tax_id: str) -> str:
    """Letters and digits, in upper case."""
    return re.sub(r"[^0-9A-Z]", "", tax_id.upper())


def _customers(billing: Sequence[int]) -> QuerySet[Party]:
    """The living customers of these billing connections."""
    theirs = ExternalRef.objects.filter(connection__in=billing, object_kind="party", kind="party", state=ExternalRef.ACTIVE)
    return Party.objects.filter(pk__in=theirs.values("object_id"), deleted_at_source=False)


def _same_as(said: types.Party, billing: Sequence[int]) -> int | None:
    found = {xref.find(connection_id, "party", said.same_as) for connection_id in billing} if said.same_as else set()
    return _only(found - {None})


def _same_tax_id(said: types.Party, billing: Sequence[int]) -> int | None:
    wanted = normal_tax_id(said.tax_id)
    if not wanted:
        return None
    letters = Func(Upper(F("tax_id")), Value("[^0-9A-Z]"), Value(""), Value("g"), function="regexp_replace")
    return _only(_customers(billing).annotate(letters=letters).filter(letters=wanted).values_list("pk", flat=True)[:2])


def _only(found: Any) -> int | None:
    unique = set(found)
    return unique.pop() if len(unique) == 1 else None


def _namesakes(said: types.Party, billing: Sequence[int]) -> Iterator[Party]:
    """Customers that share the first or the longest word of the name, or the e-mail address."""
    words, alike = re.findall(r"\w+", said.name), Q(pk=None)
    if words:
        alike |= Q(name__icontains=words[0]) | Q(name__icontains=max(words, key=len))
    if said.email:
        alike |= Q(email__iexact=said.email)
    return _customers(billing).filter(alike).order_by("pk").iterator()


def _contradict(said: types.Party, party: Party) -> bool:
    """Whether both tell a tax id, a country or an e-mail domain, and not the same."""
    told = (
        (normal_tax_id(said.tax_id), normal_tax_id(party.tax_id)),
        (said.address.country, str((party.address or {}).get("country") or "")),
        (said.email.rpartition("@")[2].lower(), party.email.rpartition("@")[2].lower()),
    )
    return any(theirs and ours and theirs != ours for theirs, ours in told)


def _alike(one: str, other: str) -> float:
    """How alike two normal names are, from 0 to 1: by letters, or at most 0.8 by the words of the shorter one."""
    words, others = set(one.split()), set(other.split())
    shared = len(words & others) / max(1, min(len(words), len(others)))
    return max(SequenceMatcher(None, one, other).ratio(), 0.8 * shared)


def _proposals(said: types.Party, namesakes: Sequence[Party], billing: Sequence[int]) -> list[Proposal]:
    wanted = normal_name(said.name)
    ranked: list[tuple[float, int, str]] = []
    for party in namesakes:
        alike = _alike(wanted, normal_name(party.name))
        if said.email and party.email.casefold() == said.email.casefold():
            ranked.append((2 + alike, party.pk, "the same e-mail address"))
        elif alike >= ALIKE:
            ranked.append((alike, party.pk, "the same name" if alike == 1 else f"a name that is {alike:.0%} alike"))
    best = sorted(ranked, key=lambda one: (-one[0], one[1]))[:PROPOSED]
    names = {party.pk: party.name for party in namesakes}
    refs = ExternalRef.objects.filter(
        connection__in=billing, object_kind="party", kind="party", state=ExternalRef.ACTIVE, object_id__in=[pk for _, pk, _ in best]
    )
    codes = dict(refs.values_list("object_id", "external_id"))
    return [Proposal(codes[pk] or "", names[pk], why) for _, pk, why in best if pk in codes]
