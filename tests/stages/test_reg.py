from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageOps

from dataprep.class_plan import reg_plan
from dataprep.copies.likeness import thumb
from dataprep.errors import ConfigError
from dataprep.export.kohya_rules import reg_uses
from dataprep.stages.fingerprint import Fingerprint
from dataprep.stages.reg import Reg
from dataprep.tags.tokens import caption_tokens

FILE = {"width": 256, "height": 256, "bytes": 9000, "format": "png"}


def hashes(value: int, mirrored: int = 0xAAAA << 30) -> dict[str, str]:
    """Of a picture without borders; a mirror image is far from everything unless said."""
    names = {"phash": value, "trim_phash": value, "mirror_phash": mirrored, "mirror_trim_phash": mirrored}
    return {name: f"{bits:016x}" for name, bits in names.items()}


def picture(seed: int, size: tuple[int, int] = (384, 384)) -> Image.Image:
    """A scene of its own: shapes on a ground that runs from one colour to another, and some grain."""
    random = np.random.default_rng(seed)
    a, b = random.integers(40, 220, (2, 3))
    ground = np.linspace(a, b, size[1])[:, None, :] + random.normal(0, 6, (size[1], size[0], 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = random.integers(0, 330, 2).tolist()
        w, h = random.integers(25, 160, 2).tolist()
        draw.ellipse([x, y, x + w, y + h], fill=tuple(random.integers(0, 255, 3).tolist()))
    return image


def seen(number: int, role: str, image: Image.Image) -> dict[str, Any]:
    measured = Fingerprint(crops=True).measured(image)
    size = {"width": image.width, "height": image.height}
    return row(number, role, None) | measured | size


def row(number: int, role: str, phash: int | None, state: str = "active") -> dict[str, Any]:
    gradient = Image.linear_gradient("L").convert("RGB")
    measured = {} if phash is None else Fingerprint().measured(gradient) | hashes(phash)
    return {
        **measured,
        **FILE,
        "id": f"{number:032x}",
        "path": f"{number}.png",
        "role": role,
        "state": state,
        "reason": None if state == "active" else "dedup:duplicate: of x",
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
    rows = [row(1, "train", None), row(2, "train", 0), row(3, "reg", 0xFF), row(4, "reg", 0x1FF)]
    table = decide(rows, class_word="girl")
    assert table["state"].to_pylist() == ["active", "active", "dropped", "active"]
    assert table["reason"][2].as_py() == "reg:near-duplicate: of training picture 2.png, distance 8"


def test_a_class_image_of_other_colours_is_no_near_duplicate() -> None:
    rows = [row(1, "train", 0), row(2, "reg", 0)]
    rows[1]["thumb"] = rows[1]["trim_thumb"] = thumb(Image.radial_gradient("L").convert("RGB"))
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


def test_the_plan_counts_in_the_order_in_which_sd_scripts_reads_the_files() -> None:
    rows = [row(i, "train", None) for i in range(8)] + [row(10 + i, "reg", None) for i in range(5)]
    table = decide(rows, repeats=3)
    assert "128x64: 12 training, 10 class" in reg_plan(table)  # 10 and 12 are shown once more than 11 and 13
    files = [None] * 8 + [f"reg/1_class/{name}.png" for name in ("a", "e", "b", "d", "c")]
    placed = table.append_column("image_file", pa.array(files, pa.string()))
    text = reg_plan(placed)
    uses = dict(zip("abcde", reg_uses(24, [1] * 5), strict=True))
    assert f"128x64: 12 training, {uses['e'] + uses['d']} class" in text
    assert f"128x128: 12 training, {uses['a'] + uses['b'] + uses['c']} class" in text


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
    scene = picture(1)
    flipped = ImageOps.mirror(scene)
    table = decide([seen(1, "train", scene), seen(2, "reg", flipped), seen(3, "reg", picture(2))])
    assert table["state"].to_pylist() == ["active", "dropped", "active"]
    assert table["reason"][1].as_py().startswith("reg:near-duplicate: mirrored, of training picture 1.png")


def watermarked(image: Image.Image) -> Image.Image:
    marked = image.copy()
    ImageDraw.Draw(marked).text((20, 320), "WATERMARK", fill="white", font_size=40)
    return marked


ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a little cut off": lambda image: image.crop((12, 12, 372, 372)),
    "a border": lambda image: ImageOps.expand(image, 50, "white"),
    "a watermark": watermarked,
    "larger": lambda image: image.resize((800, 800)),
    "darker": lambda image: image.point(lambda value: value * 0.7),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("change", ALTERED)
def test_an_altered_training_picture_is_no_class_image(change: str, seed: int) -> None:
    rows = [seen(1, "train", picture(seed)), seen(2, "train", picture(9))]
    rows += [seen(3, "reg", ALTERED[change](picture(seed))), seen(4, "reg", picture(10))]
    table = decide(rows)
    assert table["state"].to_pylist() == ["active", "active", "dropped", "active"]
    assert table["reason"][2].as_py().startswith("reg:near-duplicate: of training picture 1.png, distance ")


def test_a_class_image_of_a_class_image_of_a_training_picture_is_refused_too() -> None:
    chain = [row(1, "train", 0), row(2, "reg", 0b11111), row(3, "reg", 0b1111111)]
    reasons = decide(chain)["reason"].to_pylist()[1:]
    assert [reason.partition("training")[2] for reason in reasons] == [
        " picture 1.png, distance 5",
        " picture 1.png, distance 7",
    ]


def test_a_class_image_that_was_kept_by_hand_stays() -> None:
    rows = [row(1, "train", 0), row(2, "reg", 0) | {"hand_state": "keep"}]
    assert decide(rows)["state"].to_pylist() == ["active", "active"]


def test_cut_outs_are_refused_where_crops_are_looked_for() -> None:
    scene, other = picture(1), picture(5)
    cut, whole = scene.crop((60, 60, 320, 320)), other
    rows = [seen(1, "train", scene), seen(2, "train", other.crop((60, 60, 320, 320)))]
    rows += [seen(3, "reg", cut), seen(4, "reg", whole), seen(5, "reg", picture(7))]
    assert decide(rows)["state"].to_pylist() == ["active"] * 5
    table = decide(rows, crops=True)
    assert table["state"].to_pylist() == ["active", "active", "dropped", "dropped", "active"]
    reasons = table["reason"].to_pylist()
    assert reasons[2].startswith("reg:near-duplicate: cut out of training picture 1.png, shows 4")
    assert reasons[3] == "reg:near-duplicate: training picture 2.png is cut out of it"
    with pytest.raises(ConfigError, match=r"reg\.crops"):
        decide([each | {"features": None} for each in rows], crops=True)


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({"purpose": "style"}, ["style", "class"]),
        ({"trigger": "sks", "class_word": "girl"}, ["sks, girl", "girl"]),
    ],
)
def test_an_empty_caption_gets_the_words_that_its_file_will_have(
    settings: dict[str, Any], texts: list[str]
) -> None:
    rows = [row(1, "train", None) | {"caption": " "}, row(2, "reg", None)]
    rows += [
        row(3, "train", None) | {"caption": "sks, smile", "caption_tokens": 4},
        row(4, "reg", 0, "dropped"),
    ]
    table = decide(rows, **settings)
    assert table["caption"].to_pylist() == [*texts, "sks, smile", None]
    assert table["caption_tokens"].to_pylist()[2] == 4
    assert table["caption_tokens"][1].as_py() == caption_tokens(texts[1])
