"""The demo says how it ended, and its people are not put off by a hub that is quicker than they are."""

from __future__ import annotations

import pytest

from connectors.vendors.roundup.fake import PASSWORD, RoundupTwin
from hub.demo.peers.roundup_people import Person
from hub.demo.stories import Seen, Story, Storyteller, wait_for


def ended(title: str) -> Story:
    return Story(title, "closed", lambda: title, lambda told: Seen("closed", told, True))


def test_the_last_lines_name_each_story_that_failed_and_why() -> None:
    lines: list[str] = []
    teller = Storyteller(lines.append)

    teller.tell([ended("sold"), Story("killed", "settled", lambda: wait_for(lambda: None, 0), lambda told: Seen("", "", True))])
    teller.tell([ended("scanned")])

    assert teller.sum_up() == 1
    assert lines[-2] == "2 of 3 stories are where they should be"
    assert lines[-1].startswith("NOT WHERE IT SHOULD BE: killed: should be settled, is could not be told: TimeoutError(")


def test_stories_that_all_ended_well_are_counted() -> None:
    lines: list[str] = []
    teller = Storyteller(lines.append)

    teller.tell([ended("sold"), ended("voided")])

    assert teller.sum_up() == 0
    assert lines[-1] == "2 of 2 stories are where they should be"


@pytest.mark.parametrize("change", ["say", "set"])
def test_a_person_whose_issue_was_changed_meanwhile_looks_again(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RoundupTwin() as twin:
        agent, hub = Person(twin.url, "agent", PASSWORD), Person(twin.url, "hub", PASSWORD)
        issue = agent.open("Down", "Since this morning.")
        call, quicker = agent._call, [lambda: hub.say(issue, "A credit is pending."), lambda: None]

        def interrupted(method: str, *asked: object) -> object:
            if method == "PATCH" and quicker:
                quicker.pop(0)()
            return call(method, *asked)  # type: ignore[arg-type]

        monkeypatch.setattr(agent, "_call", interrupted)
        if change == "say":
            agent.say(issue, "It works again.")
        else:
            agent.set(issue, status="resolved")

        assert len(agent.messages(issue)) == (3 if change == "say" else 2)
        assert change == "say" or agent.read("issue", issue)["status"]["name"] == "resolved"
        assert not quicker
