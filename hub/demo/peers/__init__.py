"""Real systems, written by others, that the demo and the tests install and run: none of them is part of the hub.

A peer lives in a virtual environment of its own under the state directory, listens on loopback only, and ends
with the process that started it.
"""


class PeerUnavailable(Exception):
    """The peer cannot be installed or does not start here; the message says why. Callers fall back on the twin."""
