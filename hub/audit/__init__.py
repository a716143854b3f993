"""The audit trail: one chained, insert-only entry for every decision, change of a rule, override and replay."""
