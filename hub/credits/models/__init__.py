"""What was promised, what it is worth, the credits, and the decisions about them."""

from hub.credits.models.credit import Credit
from hub.credits.models.deciding import Approval, CreditComment, Delegation, Notice, SavedView
from hub.credits.models.policy import ApprovalRule, ApproverLimit, CreditPolicy, CreditRule, ExchangeRate, Reason
from hub.credits.models.terms import BusinessCalendar, SlaTerms

__all__ = [
    "Approval",
    "ApprovalRule",
    "ApproverLimit",
    "BusinessCalendar",
    "Credit",
    "CreditComment",
    "CreditPolicy",
    "CreditRule",
    "Delegation",
    "ExchangeRate",
    "Notice",
    "Reason",
    "SavedView",
    "SlaTerms",
]
