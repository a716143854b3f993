"""The engine's tables: facts that came in, work to do, what people must decide, and how documents are booked."""

from hub.models.inbox import InboxEvent, RejectedDelivery
from hub.models.people import ReviewItem
from hub.models.rules import AccountingRule, CodeMapping
from hub.models.schedule import Slot
from hub.models.work import Attempt, Run, Step

__all__ = [
    "AccountingRule",
    "Attempt",
    "CodeMapping",
    "InboxEvent",
    "RejectedDelivery",
    "ReviewItem",
    "Run",
    "Slot",
    "Step",
]
