"""The hub under fire: real processes are killed and real connections break while money flows, and then the books are
compared. `manage.py chaos` runs it; nothing may be lost, and nothing done twice.

Read in this order: `stage` (what runs), `load` (what happens in billing), `monkey` (what breaks), `oracle` (what must be
true in the end), `story` (one run from beginning to verdict).
"""

QUIET_SECONDS = 6
"""Quiet period of the connections under fire; the twins let a held request land after half of it."""
