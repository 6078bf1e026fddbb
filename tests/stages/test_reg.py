from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from dataprep.class_plan import reg_plan
from dataprep.likeness import thumb
from dataprep.stages.reg import Reg


def row(number: int, role: str, phash: int | None, state: str = "active") -> dict[str, Any]:
    return {
        "id": f"{number:032x}",
        "path": f"{number}.png",
        "role": role,
        "state": state,
        "reason": None if state == "active" else "dedup:duplicate: of x",
        "phash": None if phash is None else f"{phash:016x}",
        "thumb": None if phash is None else thumb(Image.linear_gradient("L").convert("RGB")),
        "bucket_width": 128,
        "bucket_height": 64 if number % 2 else 128,
    }


def decide(rows: list[dict[str, Any]], **settings: Any) -> pa.Table:
    table = pa.Table.from_pylist(rows, schema=Reg.needs)
    result = Reg(**settings).decide(table)
    for name in result.schema.names:
        index = table.schema.get_field_index(name)
        table = (
            table.append_column(name, result[name])
            if index < 0
            else table.set_column(index, name, result[name])
        )
    return table


@pytest.mark.parametrize(
    ("images", "goal", "repeats"), [(10, 200, 20), (30, 200, 7), (1, 500, 100), (900, 200, 1)]
)
def test_repeats_bring_an_epoch_near_its_goal(images: int, goal: int, repeats: int) -> None:
    assert Reg(target_samples_per_epoch=goal).train_repeats(images) == repeats


def test_repeats_balance_training_pictures_with_class_images() -> None:
    rows = [row(i, "train", None) for i in range(4)] + [row(10 + i, "reg", None) for i in range(12)]
    rows += [row(30, "train", 0), row(31, "reg", 0)]  # one more, refused as a near-duplicate
    table = decide(rows, goal="balance")
    assert {each["repeats"] for each in table.to_pylist() if each["role"] == "train"} == {2}
    assert decide(rows[:4], goal="balance")["repeats"].to_pylist() == [50] * 4  # none: the other goal


def test_folders_carry_repeats_and_words() -> None:
    table = decide(
        [row(1, "train", 0), row(2, "reg", 2**64 - 1)], trigger="sks", class_word="girl", repeats=10
    )
    assert table["folder"].to_pylist() == ["10_sks girl", "1_girl"]
    assert table["repeats"].to_pylist() == [10, 1]


def test_without_words_the_folder_is_named_by_purpose() -> None:
    assert decide([row(1, "train", 0)], purpose="style", repeats=2)["folder"].to_pylist() == ["2_style"]


def test_a_class_image_near_a_training_picture_is_refused() -> None:
    rows = [row(1, "train", None), row(2, "train", 0), row(3, "reg", 0b1111), row(4, "reg", 0b11111)]
    table = decide(rows, class_word="girl")
    assert table["state"].to_pylist() == ["active", "active", "dropped", "active"]
    assert table["reason"][2].as_py() == "reg:near-duplicate: of training picture 2.png, distance 4"


def test_a_class_image_of_other_colours_is_no_near_duplicate() -> None:
    rows = [row(1, "train", 0), row(2, "reg", 0)]
    rows[1]["thumb"] = thumb(Image.radial_gradient("L").convert("RGB"))
    assert decide(rows, class_word="girl")["state"].to_pylist() == ["active", "active"]


def test_dropped_rows_stay_dropped_and_count_for_nothing() -> None:
    table = decide([row(1, "train", 0, "dropped"), row(2, "reg", 0)], class_word="girl")
    assert table["state"].to_pylist() == ["dropped", "active"]
    assert table["reason"][0].as_py() == "dedup:duplicate: of x"
    assert table["folder"].to_pylist() == [None, "1_girl"]


def test_the_plan_tells_how_often_class_images_are_used() -> None:
    rows = [row(i, "train", None) for i in range(8)] + [row(10 + i, "reg", None) for i in range(5)]
    text = reg_plan(decide(rows, repeats=3))
    assert "8 training pictures x repeats = 24" in text
    assert "5 class images are each shown 4 to 5 times" in text
    assert "128x128: 12 training, 14 class" in text


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "2 repeats, since reg.target_samples_per_epoch is 200"),
        ({"goal": "balance"}, "2 repeats, to balance the class images (reg.goal)"),
        ({"repeats": 2}, "2 repeats, as reg.repeats says"),
    ],
)
def test_the_plan_says_for_which_goal_repeats_were_chosen(settings: dict[str, Any], why: str) -> None:
    table = decide([row(i, "train", None) for i in range(8)], repeats=2)
    told = {"settings": {"reg": Reg.model_validate(settings).model_dump(mode="json")}}
    assert why in reg_plan(table.replace_schema_metadata({"dataprep": json.dumps(told)}))


def test_class_images_that_no_epoch_comes_to_are_left_out_in_proportion() -> None:
    rows = [row(i, "train", None) for i in range(4)] + [row(10 + i, "reg", None) for i in range(12)]
    table = decide(rows, repeats=2)
    stayed = [each for each in table.to_pylist() if each["role"] == "reg" and each["state"] == "active"]
    assert len(stayed) == 8
    assert sorted(each["bucket_height"] for each in stayed) == [64] * 4 + [128] * 4
    left_out = [each for each in table.to_pylist() if each["state"] == "dropped"]
    assert {each["reason"].partition(":")[2].partition(":")[0] for each in left_out} == {"surplus"}
    assert "8 class images are each shown 1 times: together 8 too; 4 more are left out" in reg_plan(table)


def test_the_plan_says_what_a_set_without_class_images_lacks() -> None:
    assert "no class images" in reg_plan(decide([row(1, "train", None)]))


def test_a_mirrored_copy_of_a_training_picture_is_no_class_image() -> None:
    picture = Image.linear_gradient("L").rotate(90).convert("RGB")  # dark to bright from side to side
    flipped = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    rows = [row(1, "train", 0xF0F0), row(2, "reg", 0xFF << 40), row(3, "reg", 0xFF << 40)]
    rows[0] |= {"thumb": thumb(picture)}
    rows[1] |= {"thumb": thumb(flipped), "mirror_phash": f"{0xF0F0:016x}"}
    rows[2] |= {"thumb": thumb(picture), "mirror_phash": f"{0xF0F0:016x}"}  # mirrored it is another picture
    table = decide(rows)
    assert table["state"].to_pylist() == ["active", "dropped", "active"]
    assert table["reason"][1].as_py() == "reg:near-duplicate: mirrored, of training picture 1.png, distance 0"
