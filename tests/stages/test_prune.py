from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataprep.curate.captions import tag_key
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.stages.prune import Prune
from dataprep.store import Blobs
from dataprep.tags.assemble import says
from dataprep.tags.frequency import wilson_lower
from models.miniature.drawing import VOCABULARY as WORLD
from models.miniature.drawing import random_drawing, random_situation, tags

CONTEXT = Context(Path(), Path(), PixelCache(PixelPolicy(), 0), Blobs(Path()))
Tagged = Mapping[str, float]


def scores(tagged: Tagged, category: str = "general") -> list[dict[str, Any]]:
    return [{"tag": tag, "score": score, "category": category} for tag, score in tagged.items()]


def picture(tagged: Tagged, concepts: Tagged | None = None, **cells: object) -> dict[str, Any]:
    return {
        "role": "train",
        "state": "active",
        "tag_scores": scores(tagged),
        "clip_scores": scores(concepts or {}, "concept"),
        **cells,
    }


def pruned(pictures: Sequence[Mapping[str, Any]], **options: object) -> pa.Table:
    rows = [{"id": str(i), "path": f"{i}.png", **row} for i, row in enumerate(pictures)]
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in Prune.needs]
    stage = Prune.model_validate({"trigger": "sks", "class_word": "girl", **options})
    result = stage.open(CONTEXT)(pa.table(columns, schema=Prune.needs))
    assert result.schema.equals(Prune.adds)
    return result


def captions(pictures: Sequence[Mapping[str, Any]], **options: object) -> list[str]:
    return pruned(pictures, **options)["caption"].to_pylist()


def fates(result: pa.Table, row: int = 0) -> dict[str, str]:
    return {tag["tag"]: tag["fate"] for tag in result["tags"][row].as_py()}


def rules(result: pa.Table, row: int = 0) -> dict[str, str]:
    return {tag["tag"]: tag["rule"] for tag in result["tags"][row].as_py()}


CONSTANT = {"1girl": 0.99, "solo": 0.98, "pink hair": 0.9, "long hair": 0.8}


def a_set(count: int = 12, **cells: object) -> list[dict[str, Any]]:
    """Pictures of one character whose expression varies."""
    return [picture({**CONSTANT, ("smile", "frown", "blush")[i % 3]: 0.7}, **cells) for i in range(count)]


def test_the_constant_is_absorbed_and_the_varying_stays() -> None:
    result = pruned(a_set())
    assert result["caption"][0].as_py() == "sks girl, 1girl, solo, smile"
    assert fates(result) == {
        "1girl": "kept",
        "solo": "kept",
        "smile": "kept",
        "pink hair": "absorbed",
        "long hair": "absorbed",
    }
    assert "in 12 of 12" in rules(result)["pink hair"]


def test_nothing_is_absorbed_where_absorbing_is_off_or_there_is_no_trigger() -> None:
    everything = "1girl, solo, pink hair, long hair, smile"
    assert captions(a_set(), absorbing=False)[0] == f"sks girl, {everything}"
    assert captions(a_set(), trigger=None)[0] == f"girl, {everything}"


def test_what_would_be_absorbed_or_bleed_is_told_also_where_nothing_is_absorbed() -> None:
    rows = [picture({**CONSTANT, "beach": 0.9}) for _ in range(12)]
    for options in ({"absorbing": False}, {"trigger": None}):
        said = rules(pruned(rows, **options))
        assert "; else absorbed: in 12 of 12" in said["pink hair"]
        assert said["beach"].startswith("kept, may bleed")
        assert set(fates(pruned(rows, **options)).values()) == {"kept"}


def test_views_cut_from_one_picture_count_once() -> None:
    box = {"left": 0, "top": 0, "right": 8, "bottom": 8}
    rows = []
    for i in range(5):
        whole = picture({**CONSTANT, ("smile", "frown", "blush")[i % 3]: 0.7})
        rows += [whole, {**whole, "region": box}, {**whole, "region": box}]
    assert "in 5 of 5 single-subject pictures, 8 needed" in rules(pruned(rows))["pink hair"]
    dropped = [{**row, "state": "active" if row.get("region") else "dropped"} for row in rows]
    assert "in 5 of 5" in rules(pruned(dropped), 1)["pink hair"]
    many = pruned(rows, fewest=5)
    assert [fates(many, row)["pink hair"] for row in range(15)] == ["absorbed"] * 15


def test_every_tag_has_a_fate_and_a_rule() -> None:
    result = pruned(a_set())
    for row in result["tags"].to_pylist():
        assert all(tag["fate"] and tag["rule"] for tag in row)


def test_rows_that_are_not_active_stay_null_and_count_for_nothing() -> None:
    dropped = [picture({**CONSTANT, "hat": 0.9}, state="dropped") for _ in range(30)]
    result = pruned([*a_set(), *dropped])
    assert result["caption"][20].as_py() is None
    assert result["tags"][20].as_py() is None
    assert "of 12 single" in rules(result)["pink hair"]


def test_tags_under_their_threshold_are_pruned_with_the_number() -> None:
    result = pruned([picture({"1girl": 0.9, "hat": 0.3499})])
    assert fates(result) == {"1girl": "kept", "hat": "pruned"}
    assert rules(result)["hat"] == "threshold: under 0.35"


def test_a_score_equal_to_the_threshold_counts() -> None:
    assert "hat" in captions([picture({"hat": 0.5})], general_threshold=0.5)[0]


def test_character_tags_have_their_own_threshold() -> None:
    row = picture({})
    row["tag_scores"] = scores({"saber (fate)": 0.8, "miku": 0.9}, "character") + scores({"hat": 0.4})
    assert captions([row])[0] == "sks girl, miku, hat"


def test_ratings_and_unwanted_tags_never_reach_a_caption() -> None:
    row = picture({"watermark": 0.9, "hat": 0.9})
    row["tag_scores"] += scores({"general": 0.99}, "rating")
    result = pruned([row], blacklist=["h?t"])
    assert result["caption"][0].as_py() == "sks girl"
    assert all(rule.startswith("blacklist") for rule in rules(result).values())


def test_a_kept_tag_outranks_blacklist_overlap_and_absorbing() -> None:
    pictures = [picture({**CONSTANT, "watermark": 0.9, "very long hair": 0.9}) for _ in range(12)]
    caption = captions(pictures, keep=["watermark", "long_hair", "Pink Hair"])[0]
    assert {"watermark", "long hair", "pink hair"} <= set(caption.split(", "))


def test_an_absorb_list_needs_no_counts() -> None:
    result = pruned([picture({"1girl": 0.9, "hat": 0.9}), picture({"1girl": 0.9})], absorb=["hat"])
    assert fates(result)["hat"] == "absorbed"


def test_overlap_names_what_says_it() -> None:
    result = pruned([picture({"dress": 0.9, "red dress": 0.6, "v": 0.8, "gloves": 0.7})])
    assert result["caption"][0].as_py() == "sks girl, v, gloves, red dress"
    assert rules(result)["dress"] == "overlap: 'red dress' says it already"


def test_a_tag_under_its_threshold_overlaps_nothing() -> None:
    assert "dress" in captions([picture({"dress": 0.9, "red dress": 0.2})])[0]


def test_people_and_names_come_first_then_the_surest() -> None:
    row = picture({"smile": 0.99, "hat": 0.5, "1girl": 0.4, "beach": 0.7})
    assert captions([row])[0] == "sks girl, 1girl, smile, beach, hat"


def test_a_rival_of_what_the_subject_has_is_the_taggers_error() -> None:
    doubtful = picture({**CONSTANT, "medium hair": 0.6, "red hair": 0.5, "red dress": 0.9})
    other = picture({"1girl": 0.9, "medium hair": 0.9})
    two_toned = picture({**CONSTANT, "red hair": 0.5, "two-tone hair": 0.9})
    result = pruned([*a_set(30), doubtful, other, two_toned])
    assert result["caption"].to_pylist()[30:] == [
        "sks girl, 1girl, solo, red dress",
        "sks girl, 1girl, medium hair",
        "sks girl, 1girl, solo, two-tone hair, red hair",
    ]
    assert rules(result, 30)["medium hair"] == "contradicts 'long hair', which the subject has"
    kept = pruned([*a_set(30), doubtful], keep=["medium hair"])
    assert fates(kept, 30)["medium hair"] == "kept"


def test_several_people_keep_what_may_be_anothers() -> None:
    two = picture({"2girls": 0.9, "pink hair": 0.9, "long hair": 0.9})
    result = pruned([*a_set(), two])
    assert fates(result, 12)["pink hair"] == "kept"
    assert "another's" in rules(result, 12)["pink hair"]
    assert "of 12 single" in rules(result, 0)["pink hair"]
    assert fates(pruned([*a_set(), two], absorb=["pink hair"]), 12)["pink hair"] == "absorbed"


@pytest.mark.parametrize("by_hand", [{"hand_added": ["2girls"]}, {"hand_caption": "2girls, by the sea"}])
def test_how_many_people_there_are_is_said_by_hand_before_the_tagger(by_hand: dict[str, Any]) -> None:
    result = pruned([*a_set(), picture(CONSTANT, **by_hand)])
    assert (
        "another's" in rules(result, 12)["pink hair"]
        or "not in the caption" in rules(result, 12)["pink hair"]
    )
    assert "of 12 single" in rules(result, 0)["pink hair"]
    couple = picture(CONSTANT, hand_added=["1boy"], hand_removed=["solo"])  # beside the tagger's 1girl
    assert "of 12 single" in rules(pruned([*a_set(), couple]), 0)["pink hair"]
    two = picture({"2girls": 0.9, "pink hair": 0.9}, hand_removed=["2girls"])
    assert "of 13 single" in rules(pruned([*a_set(), two]), 0)["pink hair"]


def test_a_class_image_keeps_its_tags_and_never_has_the_trigger() -> None:
    pictures = [*a_set(), picture({**CONSTANT, "sks dress": 0.9}, role="reg", hand_added=["sks"])]
    caption = captions(pictures, reg_captions="tags")[12]
    assert caption == "girl, 1girl, solo, pink hair, long hair"
    assert captions(pictures, reg_captions="class")[12] == "girl"


def test_class_images_are_silent_about_what_the_trigger_absorbed_and_its_rivals() -> None:
    girl = {"1girl": 0.9, "solo": 0.9, "blue hair": 0.9, "short hair": 0.9, "green eyes": 0.9, "smile": 0.9}
    result = pruned([*a_set(), picture(girl, role="reg"), picture({**girl, "pink hair": 0.9}, role="reg")])
    assert fates(result)["pink hair"] == fates(result)["long hair"] == "absorbed"
    assert result["caption"][12].as_py() == "girl, 1girl, solo, green eyes, smile"
    assert result["caption"][13].as_py() == "girl, 1girl, solo, green eyes, smile"
    assert rules(result, 12)["blue hair"].startswith("matched")
    listed = pruned([*a_set(), picture(girl, role="reg")], keep=["blue hair"])
    assert listed["caption"][12].as_py() == "girl, 1girl, solo, blue hair, green eyes, smile"
    kept = pruned([*a_set(), picture({**girl, "pink hair": 0.9}, role="reg")], absorbing=False)
    assert "blue hair" in kept["caption"][12].as_py()


def test_class_images_are_the_contrast() -> None:
    girls = [picture({"1girl": 0.9, "long hair": 0.9}, role="reg") for _ in range(10)]
    result = pruned([*a_set(), *girls])
    assert fates(result)["long hair"] == "kept"
    assert fates(result)["pink hair"] == "absorbed"
    assert "0% in class images" in rules(result)["pink hair"]


def test_a_concept_becomes_a_tag_when_clip_is_sure() -> None:
    result = pruned([picture({"hat": 0.9}, {"beach": 0.95, "forest": 0.6, "hat": 0.99})])
    assert result["caption"][0].as_py() == "sks girl, beach, hat"
    sources = {tag["tag"]: tag["source"] for tag in result["tags"][0].as_py()}
    assert sources == {"beach": "clip", "hat": "tagger", "forest": "clip"}
    assert rules(result)["forest"] == "threshold: under 0.9, by CLIP"


def test_clips_second_opinion_is_told_apart() -> None:
    row = picture({"hat": 0.9, "smile": 0.9, "scarf": 0.8})
    row["clip_scores"] = scores({"hat": 0.97, "smile": 0.02, "scarf": 0.4}, "opinion")
    result = pruned([row])
    assert result["clip_agrees"][0].as_py() == ["hat"]
    assert result["clip_disagrees"][0].as_py() == ["smile"]
    assert result["caption"][0].as_py() == "sks girl, hat, smile, scarf"


def test_a_hand_tag_is_spelled_by_its_author_but_like_the_taggers_where_that_knows_it() -> None:
    hand = {"hand_added": ["score_9", "my_token", "pink_hair", "T_T"]}
    result = pruned([*a_set(), picture({"1girl": 0.9}, **hand)])
    added = result["caption"][12].as_py().split(", ")[2:]
    assert added == ["score_9", "my_token", "pink hair", "T_T"]  # pink hair: the tagger's, in other pictures


def test_what_people_added_and_removed_outranks_every_rule() -> None:
    hand = {"hand_added": ["pink hair", "my_pendant", "rating:safe"], "hand_removed": ["1girl", "smile"]}
    result = pruned([*a_set(), picture({**CONSTANT, "smile": 0.9}, **hand)])
    assert result["caption"][12].as_py() == "sks girl, solo, pink hair, my_pendant, rating:safe"
    by_tag = fates(result, 12)
    assert by_tag["pink hair"] == by_tag["my_pendant"] == "added_by_hand"
    assert by_tag["smile"] == by_tag["1girl"] == "removed_by_hand"


def test_a_tag_removed_by_hand_stays_removed_even_if_the_raw_caption_has_it() -> None:
    row = picture({"hat": 0.9}, raw_caption="hat, scarf", hand_added=["scarf"], hand_removed=["hat"])
    assert captions([row])[0] == "sks girl, scarf"


def test_an_order_made_by_hand_holds_and_new_tags_follow() -> None:
    row = picture({"hat": 0.9, "smile": 0.8, "1girl": 0.99}, hand_order=["smile", "HAT"])
    assert captions([row])[0] == "sks girl, smile, hat, 1girl"


def test_a_caption_written_by_hand_is_used_as_it_is() -> None:
    text = "sks stands on a hill, Laughing; 100% (really)."
    assert captions([picture({"hat": 0.9}, hand_caption=text)])[0] == text


def test_a_caption_written_by_hand_has_the_trigger_first_and_once_and_a_class_images_never() -> None:
    cells = {"hand_caption": "A portrait of sks, sks girl and a hat."}
    train, reg = captions([picture({}, **cells), picture({}, role="reg", **cells)])
    assert train == "sks, A portrait of girl, girl and a hat."
    assert reg == "A portrait of girl, girl and a hat."


def test_a_caption_written_by_hand_without_the_trigger_gets_it() -> None:
    row = picture({}, hand_caption="A girl on a hill.")
    assert captions([row])[0] == "sks, A girl on a hill."
    assert captions([picture({}, hand_caption="On a hill.")])[0] == "sks girl, On a hill."


def test_tags_beside_a_raw_picture_say_where_they_came_from() -> None:
    tags = ["my tag", "red scarf"]
    rows = [picture({"hat": 0.9}, hand_added=tags, hand_history=json.dumps([[-1, {"added": tags}]]))]
    assert captions(rows)[0] == "sks girl, hat, my tag, red scarf"
    sources = {tag["tag"]: tag["source"] for tag in pruned(rows)["tags"][0].as_py()}
    assert sources == {"hat": "tagger", "my tag": "raw", "red scarf": "raw"}


def test_over_the_token_budget_hand_made_tags_stand_before_what_falls_off() -> None:
    many = {f"unusual background object {i}": 0.9 - i / 100 for i in range(30)}
    raw = {"raw_caption": "my_tag, red scarf", "hand_added": ["my tag", "red scarf"]}
    start = "sks girl, 1girl, solo, my tag, red scarf, unusual background object 0"
    assert captions([picture({"1girl": 0.9, "solo": 0.8, **many}, **raw)])[0].startswith(start)
    ordered = captions([picture(many, **raw, hand_order=["unusual background object 0", "my tag"])])[0]
    assert not ordered.startswith("sks girl, my tag")
    roomy = captions([picture(many, **raw)], max_tokens=225)[0]
    assert roomy.endswith("my tag, red scarf")


def test_tags_that_a_caption_written_by_hand_does_not_say_are_not_in_it() -> None:
    row = picture({"hat": 0.9, "smile": 0.8}, hand_caption="She wears a hat.")
    result = pruned([row])
    assert fates(result) == {"hat": "kept", "smile": "pruned"}
    assert rules(result)["smile"] == "not in the caption that was written by hand"


def test_lines_of_a_caption_written_by_hand_are_parted_in_its_one_line() -> None:
    row = picture({}, hand_caption="1girl, hat\nShe stands.\n\nIt rains")
    assert captions([row])[0] == "sks girl, 1girl, hat, She stands. It rains"


def test_tokens_are_counted() -> None:
    result = pruned([picture({"hat": 0.9, "white background": 0.8})])
    assert result["caption_tokens"][0].as_py() == len(["sks", "girl", ",", "hat", ",", "white", "background"])


def test_no_rows_and_no_scores_are_fine() -> None:
    assert pruned([]).num_rows == 0
    assert captions([picture({}), {"role": "train", "state": "active"}]) == ["sks girl", "sks girl"]


def test_thresholds_are_part_of_the_key_and_pixels_are_not_needed() -> None:
    assert Prune(trigger="sks").key() != Prune(trigger="sks", general_threshold=0.4).key()
    assert "pixels_key" not in Prune.needs.names


words = st.sampled_from(
    ["hat", "smile", "sks", "sks girl", "girl", "pink hair", "SKS_hat", "my tag", "1girl", "a, b"]
)


@settings(max_examples=60, deadline=None)
@given(
    tagged=st.dictionaries(words, st.floats(0, 1, width=32), max_size=6),
    added=st.lists(words, max_size=3),
    removed=st.lists(words, max_size=3),
    raw=st.one_of(
        st.none(), st.lists(st.sampled_from(["sks", "hat", "sks girl", "scarf"]), min_size=1, max_size=3)
    ),
    order=st.one_of(st.none(), st.lists(words, max_size=3)),
)
def test_the_trigger_stands_first_and_exactly_once(
    tagged: dict[str, float],
    added: list[str],
    removed: list[str],
    raw: list[str] | None,
    order: list[str] | None,
) -> None:
    hand = {"hand_added": added or None, "hand_removed": removed or None, "hand_order": order}
    row = picture(tagged, raw_caption=None if raw is None else ", ".join(raw), **hand)
    train, reg = captions([row, {**row, "role": "reg"}])
    assert train.startswith("sks girl")
    assert sum(says(word, "sks") for word in train.split()) == 1
    assert not says(reg, "sks")


@settings(max_examples=60, deadline=None)
@given(
    tagged=st.dictionaries(words, st.floats(0, 1, width=32), max_size=6),
    added=st.lists(st.sampled_from(["my tag", "hat", "new"]), unique=True, max_size=3),
    removed=st.lists(st.sampled_from(["smile", "pink hair", "1girl"]), max_size=3),
    threshold=st.floats(0, 1),
)
def test_no_setting_undoes_a_hand_edit(
    tagged: dict[str, float], added: list[str], removed: list[str], threshold: float
) -> None:
    row = picture(tagged, hand_added=added, hand_removed=removed)
    caption = captions([row], general_threshold=threshold, absorb=added, blacklist=["*"])[0]
    tags_now = {tag_key(tag) for tag in caption.split(", ")}
    assert {tag_key(tag) for tag in added} <= tags_now
    assert not {tag_key(tag) for tag in removed} & tags_now


# The world whose truth is known: a random character in random situations, seen by a tagger that errs.
MISSED, IMAGINED = 0.05, 0.01
NEVER_ABSORBED = {"1girl", "1boy", "solo"}


def seen(truth: Sequence[str], rng: np.random.Generator) -> Tagged:
    """The tagger's scores: a true tag is missed, or another imagined, now and then."""
    true = {tag for tag in truth if rng.random() > MISSED}
    imagined = {tag for tag in WORLD if tag not in truth and rng.random() < IMAGINED}
    return {tag: float(rng.uniform(0.5, 1)) for tag in sorted(true | imagined)}


def one_character(seed: int, count: int) -> tuple[list[dict[str, Any]], set[str]]:
    """Pictures of one character, and the tags that are the character's."""
    rng = np.random.default_rng(seed)
    character = random_drawing(rng)
    keep = ("count", "hair_colour", "hair_length", "hair_style", "ahoge", "eye_colour", "accessories", "skin")
    constant = {name: getattr(character, name) for name in keep}
    drawings = []
    for _ in range(count):
        situation = random_situation(rng, ("portrait", "upper body", "full body")[int(rng.integers(3))])
        drawings.append(type(character)(**{**vars(situation), **constant}))
    own = {f"{character.hair_colour} hair", character.hair_length, f"{character.eye_colour} eyes"}
    own |= character.accessories | ({character.hair_style} if character.hair_style else set())
    own |= {"ahoge"} if character.ahoge and "hat" not in character.accessories else set()
    return [picture(seen(truth, rng)) for truth in map(tags, drawings)], own


@pytest.mark.parametrize("count", [10, 20, 40])
def test_a_known_world_is_absorbed_rightly(count: int) -> None:
    right, constants, wrong, varying = 0, 0, 0, 0
    for seed in range(20):
        pictures, own = one_character(seed, count)
        result = pruned(pictures)
        absorbed = {
            tag for row in range(count) for tag, fate in fates(result, row).items() if fate == "absorbed"
        }
        right, constants = right + len(absorbed & own), constants + len(own)
        others = set(WORLD) - own - NEVER_ABSORBED
        wrong, varying = wrong + len(absorbed & others), varying + len(others)
    assert constants > 70
    print(f"{count} pictures: {right}/{constants} constant absorbed, {wrong}/{varying} varying")  # noqa: T201
    assert right / constants >= 0.95
    assert wrong / varying <= 0.02


def test_what_a_tag_removed_by_hand_had_hidden_stays_out_and_the_reason_is_told() -> None:
    seen = {"1girl": 0.9, "red dress": 0.9, "dress": 0.9}
    pictures = [picture(seen, hand_removed=["red dress"]), picture(seen)]
    result = pruned(pictures)
    assert result["caption"].to_pylist() == ["sks girl, 1girl", "sks girl, 1girl, red dress"]
    said = rules(result)["dress"]
    assert said == "overlap: 'red dress' says it already, and was removed by hand: write it if it holds"
    back = picture(seen, hand_removed=["red dress"], hand_added=["dress"])
    assert captions([back]) == ["sks girl, 1girl, dress"]


def test_a_tag_on_the_blacklist_hides_nothing() -> None:
    seen = {"1girl": 0.9, "red dress": 0.9, "dress": 0.9}
    assert captions([picture(seen)], blacklist=["red *"]) == ["sks girl, 1girl, dress"]


def test_an_emptied_caption_gets_no_machines_tag_whatever_the_machine_says_now() -> None:
    row = picture({"1girl": 0.9, "smile": 0.9}, hand_removed=["blush", "*"], hand_added=["hat"])
    result = pruned([row], general_threshold=0.1)
    assert result["caption"][0].as_py() == "sks girl, hat"
    assert fates(result) == {"1girl": "removed_by_hand", "smile": "removed_by_hand", "hat": "added_by_hand"}
    assert rules(result)["smile"] == "removed by hand: the caption was emptied ('*' undoes it)"


def test_a_general_tag_that_is_absorbed_stays_out_where_the_special_one_was_removed() -> None:
    pictures = a_set(hand_removed=["long hair"])
    assert fates(pruned(pictures))["long hair"] == "removed_by_hand"
    assert "hair" not in captions(pictures)[0]


def test_every_counted_tag_has_its_share_and_its_bound() -> None:
    first = {tag["tag"]: tag for tag in pruned(a_set())["tags"][0].as_py()}
    assert first["pink hair"]["frequency"] == 1
    assert first["smile"]["frequency"] == pytest.approx(1 / 3)
    assert first["smile"]["bound"] == pytest.approx(wilson_lower(4, 12), abs=1e-6)
    added = pruned([picture({"1girl": 0.9}, hand_added=["hat"])])["tags"][0].as_py()
    assert {tag["tag"]: tag["frequency"] for tag in added} == {"1girl": 1, "hat": None}


def test_what_is_not_known_to_belong_to_the_subject_is_kept_and_reported() -> None:
    pictures = [picture({**CONSTANT, "couch": 0.9, "bicycle": 0.9}) for _ in range(20)]
    result = pruned(pictures)
    assert fates(result)["couch"] == fates(result)["bicycle"] == "kept"
    assert "constant, but not known to belong to a character: --absorb takes it" in rules(result)["bicycle"]
    assert "may bleed" in rules(result)["couch"]
    assert fates(pruned(pictures, absorb=["bicycle"]))["bicycle"] == "absorbed"


def test_a_tag_on_both_lists_and_a_class_word_with_the_trigger_are_refused() -> None:
    with pytest.raises(ValidationError, match="'long hair' is in both absorb and keep"):
        Prune(absorb=("long_hair",), keep=("long hair",))
    with pytest.raises(ValidationError, match="'sks girl' holds the trigger word 'sks'"):
        Prune(trigger="sks", class_word="sks girl")
