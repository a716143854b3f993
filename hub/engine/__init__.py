"""The engine: one claim, one retry rule, one dead end, for everything the hub does.

Read in this order: `flow` (what a workflow is), `store` (claim and settle in SQL), `perform` (one step, outside any
transaction), `settle` (what an outcome changes), `worker` (the loop), `pump` (who wakes the workers).
"""
