"""A new trigger or class word is no edit of captions that an editor merely saved again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataprep.curate.captions import Lead
from dataprep.curate.decisions import journal_file
from dataprep.curate.leads import Leads, known_leads, pairs
from dataprep.curate.taken import Taken, note_taken

SKS, WOMAN, ALONE, OHWX = Lead("sks", "girl"), Lead("sks", "woman"), Lead("sks"), Lead("ohwx", "girl")


@pytest.mark.parametrize(
    ("flags", "start"),
    [
        ({"class_word": "woman"}, "sks woman"),
        ({"class_word": None}, "sks"),
        ({"trigger": "ohwx"}, "ohwx girl"),
        ({"trigger": "ohwx", "class_word": "woman"}, "ohwx woman"),
    ],
)
@pytest.mark.parametrize("ending", ["\r\n", ""])
def test_captions_that_were_merely_saved_again_take_the_new_lead_and_nothing_else(
    hand_work: Any, flags: dict[str, str | None], start: str, ending: str
) -> None:
    plain = {f"00{i}.png": hand_work.text(f"00{i}.png").removeprefix("sks girl, ") for i in range(4)}
    for path, text in plain.items():
        hand_work.caption(path).write_bytes(f"sks girl, {text}{ending}".encode())
    more = hand_work.caption("003.png")
    more.write_bytes(f"sks girl, {plain['003.png']}, my hat{ending}".encode())
    hand_work.run(**flags)
    for path, text in plain.items():
        added = ", my hat" if path == "003.png" else ""
        assert hand_work.text(path) == f"{start}, {text}{added}"
    assert len(journal_file(hand_work.out).read_text().splitlines()) == 1


def test_a_sentence_that_says_an_earlier_trigger_word_is_told_of_every_time(hand_work: Any) -> None:
    hand_work.caption("000.png").write_text("A photo of sks girl, standing on a hill at dusk.")
    for _ in range(2):
        told = hand_work.run(trigger="ohwx")
        assert any("000.png: the caption written by hand still says 'sks'" in line for line in told)
    hand_work.caption("000.png").write_text("A photo of a girl, standing on a hill at dusk.")
    assert not any("still says" in line for line in hand_work.run())


LEADS = Leads(OHWX, (SKS, WOMAN, ALONE))


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ("sks girl, 1girl", SKS),
        ("sks woman, 1girl", WOMAN),
        ("sks, 1girl", ALONE),
        ("ohwx girl, 1girl", OHWX),
        ("SKS_GIRL,1girl", SKS),
        ("1girl, sks girl", OHWX),  # unknown: this run's
        ("", OHWX),
    ],
)
def test_a_text_tells_what_it_was_written_with(base: str, wanted: Lead) -> None:
    assert LEADS.of(base) == wanted


def test_tags_are_read_without_the_old_lead_and_the_new() -> None:
    assert LEADS.tags("ohwx girl, sks girl, 1girl", "train", SKS) == ("1girl",)
    assert LEADS.tags("sks girl, 1girl", "reg", SKS) == ("sks girl", "1girl")
    assert LEADS.prose("sks girl, She waves.", "train", SKS) == "She waves."
    assert LEADS.own("sks dress", SKS) == "dress"


def test_a_word_of_now_is_no_word_left_over() -> None:
    assert Leads(Lead("sks girl"), (ALONE,)).left_in("A photo of sks.") is None
    assert Leads(Lead(None), (ALONE,)).left_in("A photo of sks.") == "sks"


def test_leads_of_all_runs_are_known(tmp_path: Path) -> None:
    assert known_leads(tmp_path, SKS) == Leads(SKS)
    note_taken(tmp_path, Taken(leads=pairs([SKS, ALONE])))
    assert known_leads(tmp_path, OHWX).all == (OHWX, SKS, ALONE)
