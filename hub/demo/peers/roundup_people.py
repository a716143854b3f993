"""What people do in a Roundup tracker, over its REST interface: in the real one and in the twin alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import requests


class Person:
    """A user of the tracker. Raises requests.HTTPError when the tracker refuses."""

    def __init__(self, base_url: str, user: str, password: str) -> None:
        self._rest = f"{base_url.rstrip('/')}/rest/"
        parts = urlsplit(base_url)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (user, password)
        origin = f"{parts.scheme}://{parts.netloc}"
        self._session.headers.update({"X-Requested-With": "rest", "Origin": origin, "Referer": f"{origin}/"})
        self.id = str(self._call("GET", f"data/user/username={user}?@fields=username")["id"])

    def open(self, title: str, text: str = "", **values: Any) -> str:
        """A new issue, with a first message when there is a text; its id."""
        if text:
            values["messages"] = [self._message(text)]
        return str(self._call("POST", "data/issue", {"title": title, **values})["id"])

    def say(self, issue: str, text: str) -> str:
        """A message on the issue, which Roundup mails to everyone on its nosy list; its id."""
        message = self._message(text)
        self._change("PATCH", issue, lambda before: {"messages": [*(row["id"] for row in before["messages"]), message]})
        return message

    def note(self, issue: str, text: str) -> str:
        """A note on the issue that customers do not read; its id."""
        values = {"issue": issue, "content": text, "messageid": uuid4().hex}  # REST asks for a key before any detector can give one
        return str(self._call("POST", "data/note", values)["id"])

    def set(self, issue: str, **values: Any) -> None:
        """Change properties of the issue: links by name or id."""
        self._change("PATCH", issue, lambda before: values)

    def retire(self, issue: str) -> None:
        """Delete the issue, as far as Roundup deletes. Only an administrator may."""
        self._change("DELETE", issue, lambda before: {})

    def messages(self, issue: str) -> list[str]:
        """The ids of the issue's messages."""
        return [row["id"] for row in self.read("issue", issue)["messages"]]

    def read(self, kind: str, item: str) -> dict[str, Any]:
        """All attributes of an item this user may see, names and texts included."""
        attributes: dict[str, Any] = self._call("GET", f"data/{kind}/{item}?@verbose=3")["attributes"]
        return attributes

    def _message(self, text: str) -> str:
        return str(self._call("POST", "data/msg", {"content": text, "author": self.id, "date": "."})["id"])

    def _change(self, method: str, issue: str, values: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change what was read. Somebody else, the hub say, may have been quicker: then read again, as a person would."""
        while True:
            before = self._call("GET", f"data/issue/{issue}?@verbose=3")
            try:
                self._call(method, f"data/issue/{issue}", values(before["attributes"]), {"If-Match": before["@etag"]})
            except requests.HTTPError as refused:
                if refused.response.status_code != requests.codes.precondition_failed:
                    raise
            else:
                return

    def _call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        answer = self._session.request(method, self._rest + path, json=body, headers=headers, timeout=10)
        if not answer.ok:
            raise requests.HTTPError(f"{answer.status_code}: {answer.text[:300]}", response=answer)
        data: dict[str, Any] = answer.json()["data"]
        return data
