"""Tells the hub that an issue was created, changed, retired or restored. A file of the tracker's `detectors/`.

A note by anybody but the hub changes its issue: `last_note` names it. So one notice tells of both, and a sweep by
activity finds both.

`tieout.ini` in the tracker's home says where to and with which secret, and is read for every delivery:

    [webhook]
    url = https://hub.example.com/...
    secret = ...

A delivery is sent once the change is committed, tried once, and holds no text of the issue: the hub reads the issue.
The change waits for it, two seconds at most. What gets lost is found by the hub's next sweep.
"""

from __future__ import annotations

import configparser
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.request
import uuid
from typing import Any

TIMEOUT = 2.0


def init(db: Any) -> None:
    """Roundup's entry point of a detector."""
    for event, kind in (("create", "created"), ("set", "changed"), ("retire", "retired"), ("restore", "restored")):
        db.issue.react(event, _reactor(f"issue.{kind}"))
    db.note.audit("create", _name)
    db.note.react("create", _noted)


def _name(db: Any, cl: Any, nodeid: str | None, newvalues: dict[str, Any]) -> None:
    """Notes are told apart by `messageid`, which the hub gives to its own, and people need not."""
    if not newvalues.get("messageid"):
        newvalues["messageid"] = f"<{uuid.uuid4().hex}@note.invalid>"


def _noted(db: Any, cl: Any, nodeid: str, oldvalues: Any) -> None:
    issue, roles = cl.get(nodeid, "issue"), db.user.get(db.getuid(), "roles") or ""
    if issue and "tieout" not in {role.strip().lower() for role in roles.split(",")}:
        db.issue.set(issue, last_note=nodeid)


def _reactor(kind: str) -> Any:
    def tieout(db: Any, cl: Any, nodeid: str, oldvalues: Any) -> None:
        # Reactors run before the commit; what stands in this list is called after it, and dropped with a rollback.
        db.transactions.append((_deliver, (db.config.HOME, kind, nodeid)))

    return tieout


def _deliver(home: str, kind: str, issue: str) -> None:
    now = int(time.time())
    told = {"id": uuid.uuid4().hex, "kind": kind, "issue": issue, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))}
    body = json.dumps(told).encode()
    try:
        settings = configparser.ConfigParser(interpolation=None)
        if not settings.read(os.path.join(home, "tieout.ini")):
            return
        url, secret = settings.get("webhook", "url"), settings.get("webhook", "secret")
        signature = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Roundup-Signature": f"t={now},v1={signature}"}
        request = urllib.request.Request(url, body, headers)  # noqa: S310
        urllib.request.urlopen(request, timeout=TIMEOUT).close()  # noqa: S310
    except Exception as error:
        # The change is committed: whatever goes wrong here is not the user's business.
        sys.stderr.write(f"tieout: {kind} of issue{issue} was not delivered: {type(error).__name__}\n")
