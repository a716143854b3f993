"""What the hub costs, measured beside what it could cost: every figure has its reference from the same run.

`manage.py bench ingest engine workflow` measures and prints. Absolute figures belong to the machine and the hour; the
ratios are what to compare. Contestants take turns (hub, reference, hub, …), and the median turn counts.

`ingest` and `engine` and `workflow` are the benches; `report` says what a figure is; `lab` runs contestants as child
processes; `contenders` holds what works inside those, the hand-written references included.
"""
