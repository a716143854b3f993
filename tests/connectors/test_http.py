"""Failures before and during a request are one of the four errors, and never show what was in a header."""

from __future__ import annotations

import time

import pytest

from connectors.sdk.errors import Busy, Misconfigured, Unknown
from connectors.sdk.http import Call, Http

UNSENDABLE = ["key_with\nnewline", "key_with_ключ", " key_with_space"]
BAD_URLS = ["ftp://127.0.0.1", "http://", "no scheme", "http://[::1", "http://127.0.0.1:99999"]


@pytest.mark.parametrize("key", UNSENDABLE)
def test_a_key_that_cannot_be_sent_is_misconfigured_and_not_shown(key: str) -> None:
    call = Call()
    with pytest.raises(Misconfigured) as raised:
        Http().send(call, "POST", "http://127.0.0.1:9", headers={"Authorization": key})
    assert key.strip() not in repr(raised.value) + repr(call)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_cannot_be_used_is_misconfigured(url: str) -> None:
    with pytest.raises(Misconfigured):
        Http().send(Call(), "POST", url, "/path")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_a_write_that_was_never_sent_is_busy_and_not_unknown(url: str) -> None:
    with pytest.raises(Busy) as raised:
        Http(connect_timeout=2).send(Call(timeout=2), "POST", url)
    assert raised.value.code == "unreachable"


def test_a_call_whose_time_is_up_sends_nothing_more() -> None:
    call = Call(deadline=time.monotonic() - 1)
    with pytest.raises(Busy, match="used up its time"):
        Http().send(call, "POST", "http://127.0.0.1:9/")
    assert call.exchanges == []
    call.wrote = True
    with pytest.raises(Unknown):
        Http().send(call, "GET", "http://127.0.0.1:9/")
