"""The writes: the hub's block on an issue, and notes, each once."""

from __future__ import annotations

import hashlib

from canonical.commands import PostNote, WriteCase, Written
from connectors.sdk.errors import Busy, Refused
from connectors.sdk.http import Call
from connectors.vendors.roundup.client import Roundup, Row, Stale

SHOWN = ("credit_state", "credit_number", "credit_amount", "credit_currency")
"""The values that a case can show."""
OUR_TAGS = "tieout_"


def write_case(client: Roundup, request: WriteCase, call: Call) -> Written:
    """Set what differs from the request. Nothing is sent when nothing does, so that no webhook tells of it."""
    for _ in range(2):
        issue = client.issue(call, request.case)
        changes = _differences(client, issue, request)
        tags = _tags(issue, request)
        if tags is not None:
            changes["keyword"] = [_keyword(client, tag, call) for tag in tags]
        if not changes:
            return _shown(client, request)
        try:
            client.patch(call, "issue", request.case, changes, issue["@etag"])
        except Stale:
            continue
        return _shown(client, request)
    raise Busy(f"issue{request.case} keeps changing", code="stale")


def find_case(client: Roundup, request: WriteCase, call: Call) -> Written | None:
    """The write, when the issue shows all of it."""
    issue = client.issue(call, request.case)
    if _differences(client, issue, request) or _tags(issue, request) is not None:
        return None
    return _shown(client, request)


def post_note(client: Roundup, request: PostNote, call: Call) -> Written:
    """Staff's note, or a message that is mailed to everyone on the nosy list.

    Its message id comes from our key. A note is made with its issue in one call, and Roundup allows each id once. A
    message is made first and attached second: if only the first happened, the next run finds it and goes on; were two
    made, one is attached and the other stays invisible. Late calls do no harm: a message that nobody attaches
    is not shown, and an attachment that comes late meets an issue that has changed.
    """
    if not request.public:
        return _note(client, request, call)
    for _ in range(2):
        issue = client.issue(call, request.case)
        ours = _messages(client, request, call)
        messages = [row["id"] for row in issue["messages"]]
        if shown := _first(ours, messages):
            return _posted(client, request, shown)
        message = ours[0]
        # Saying the state keeps the tracker's own rule from reopening a resolved issue for a new message.
        changes = {"messages": [*messages, message], "status": issue["status"]["id"] if issue["status"] else None}
        try:
            client.patch(call, "issue", request.case, changes, issue["@etag"])
        except Stale:
            continue
        return _posted(client, request, message)
    raise Busy(f"issue{request.case} keeps changing", code="stale")


def find_note(client: Roundup, request: PostNote, call: Call) -> Written | None:
    """The note with our key; a message counts once it is attached to its issue."""
    ours = [str(row["id"]) for row in client.find(call, _kind(request), messageid=marker(request.key))]
    if ours and request.public:
        shown = _first(ours, [row["id"] for row in client.issue(call, request.case)["messages"]])
    else:
        shown = ours[0] if ours else ""
    return _posted(client, request, shown) if shown else None


def marker(key: str) -> str:
    """The message id (RFC 5322 §3.6.4) that carries our key."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@tieout.invalid>"


def _note(client: Roundup, request: PostNote, call: Call) -> Written:
    if written := find_note(client, request, call):
        return written
    client.issue(call, request.case)
    values = {"issue": request.case, "content": request.text, "messageid": marker(request.key)}
    try:
        return _posted(client, request, client.create(call, "note", values))
    except Refused:
        # Somebody with our key was faster.
        if written := find_note(client, request, call):
            return written
        raise


def _messages(client: Roundup, request: PostNote, call: Call) -> list[str]:
    """The ids of the messages with our key; one is made when there is none."""
    wanted = {"messageid": marker(request.key)}
    if found := client.find(call, "msg", **wanted):
        return [str(row["id"]) for row in found]
    return [client.create(call, "msg", {**wanted, "content": request.text, "author": client.own_id(call), "date": "."})]


def _first(ours: list[str], shown: list[str]) -> str:
    """The first of our messages that the issue shows; '' when it shows none."""
    return next((message for message in shown if message in ours), "")


def _kind(request: PostNote) -> str:
    return "msg" if request.public else "note"


def _posted(client: Roundup, request: PostNote, item: str) -> Written:
    return Written(external_id=f"{_kind(request)}{item}", url=client.page_of(request.case))


def _shown(client: Roundup, request: WriteCase) -> Written:
    return Written(external_id=request.case, url=client.page_of(request.case))


def _differences(client: Roundup, issue: Row, request: WriteCase) -> Row:
    """The properties that the request wants otherwise."""
    if unknown := sorted(set(request.values) - set(SHOWN)):
        raise Refused(f"an issue has no place for {', '.join(unknown)}", code="unknown_field")
    wanted = {"tieout_block": request.block, **request.values}
    named = {client.settings.property(name): _as_kept(value) for name, value in wanted.items()}
    return {name: value for name, value in named.items() if (issue[name] or "") != value}


def _as_kept(text: str) -> str:
    """Text as Roundup keeps it: newlines of one character, nothing blank around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _tags(issue: Row, request: WriteCase) -> list[str] | None:
    """The keywords the issue should have; None when it has them."""
    has = [row["name"] for row in issue["keyword"]]
    wanted = [*(name for name in has if not name.startswith(OUR_TAGS) or name in request.tags)]
    wanted += [tag for tag in request.tags if tag not in has]
    return None if wanted == has else wanted


def _keyword(client: Roundup, name: str, call: Call) -> str:
    """The id of a keyword, made when there is none. Their names are unique in Roundup."""
    if found := client.find(call, "keyword", name=name):
        return str(found[0]["id"])
    try:
        return client.create(call, "keyword", {"name": name})
    except Refused:
        if found := client.find(call, "keyword", name=name):
            return str(found[0]["id"])
        raise
