"""The gate before training: each finding on a folder that has its fault, none on a folder that has none."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from dataprep.check import CHECKS, CODES, Finding, check, seen, waived
from dataprep.curate.decisions import journal_file
from dataprep.curate.taken import Taken, note_taken
from dataprep.errors import ConfigError, InputError
from dataprep.export.kohya import caption, config, dataset_toml
from dataprep.export.sync import Wanted, sync
from dataprep.manifest import BASE, SCORE, TAG
from dataprep.run import Job
from dataprep.store import write_table

FOLDERS = {"train": "img/1_sks girl", "reg": "reg/1_girl"}
EXTRA = pa.schema(
    [
        ("phash", pa.string()),
        ("bucket_width", pa.int32()),
        ("bucket_height", pa.int32()),
        ("caption", pa.string()),
        ("repeats", pa.int32()),
        ("image_file", pa.string()),
        ("caption_file", pa.string()),
        ("tags", pa.list_(TAG)),
        ("tag_scores", pa.list_(SCORE)),
        ("hand_removed", pa.list_(pa.string())),
        ("caption_tokens", pa.int32()),
        ("scale", pa.float32()),
        ("crop_loss", pa.float32()),
    ]
)
COLOURS = "red blue green white black pink grey brown orange purple yellow teal lime navy gold silver".split()  # noqa: SIM905

Row = dict[str, Any]


def black_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (128, 64)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = black_picture()
ABOUT = {
    "trigger": "sks",
    "class_word": "girl",
    "settings": {"project": {"purpose": "character"}, "export": {"batch_size": 1}},
    "models": {},
}


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # hundreds of files; nothing here survives a power cut


@pytest.fixture
def good() -> list[Row]:
    """Sixteen pictures with captions that differ, and as many class images."""

    def row(i: int, role: str, caption: str) -> Row:
        blank = dict.fromkeys([*BASE.names, *EXTRA.names])
        name = f"{role}{i:02}"
        return blank | {
            "id": name, "path": f"{name}.png", "view": "", "role": role, "sha256": name, "state": "active",
            "bucket_width": 128, "bucket_height": 64, "caption": caption, "repeats": 1,
        }  # fmt: skip

    captions = [
        f"{colour} shirt, {COLOURS[i - 1]} sky, {COLOURS[i - 5]} hat" for i, colour in enumerate(COLOURS)
    ]
    train = [row(i, "train", f"sks girl, {text}") for i, text in enumerate(captions)]
    return train + [row(i, "reg", f"girl, {text}") for i, text in enumerate(captions)]


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes rows as a prepared folder, as a run does."""

    def write(rows: list[Row], **about: Any) -> Path:
        wanted: list[Wanted] = []
        for row in rows:
            row |= dict.fromkeys(["image_file", "caption_file"])
            if row["state"] == "active":
                stem = f"{FOLDERS[row['role']]}/{row['id']}"
                row |= {"image_file": f"{stem}.png", "caption_file": f"{stem}.txt"}
                wanted.append(Wanted(row["image_file"], "image", "black", lambda: PICTURE, row))
                wanted.append(caption(row, row["caption_file"], row["caption"]))
        roles = {row["role"] for row in rows if row["state"] == "active"}
        subsets = {FOLDERS[role]: (1, role == "reg") for role in roles}
        text = dataset_toml(tmp_path, subsets, [(128, 64)], 96, 1, "sd1")
        sync(tmp_path, [*wanted, config("dataset.toml", text)], lambda *_: True)
        table = pa.Table.from_pylist(rows, schema=pa.schema([*BASE, *EXTRA]))
        metadata = {b"dataprep": json.dumps(ABOUT | about).encode()}
        write_table(tmp_path / "manifest.parquet", table.replace_schema_metadata(metadata))
        return tmp_path

    return write


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def one(findings: list[Finding], code: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.code == code]
    return finding


def test_a_good_folder_has_no_findings(prepared: Callable[..., Path], good: list[Row]) -> None:
    assert check(prepared(good)) == []


def test_a_folder_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.parquet"):
        check(tmp_path)


def test_a_waived_finding_is_left_out_and_an_unknown_waiver_is_refused(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    few = prepared(good[:4])
    assert {"too-few-pictures", "no-class-images"} <= set(codes(check(few)))
    assert "too-few-pictures" not in codes(check(few, frozenset({"too-few-pictures"})))
    with pytest.raises(ConfigError, match="there is no finding too-few; there are"):
        check(few, frozenset({"too-few"}))


def test_serious_findings_come_first_and_say_why_and_what_to_do(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    found = check(prepared(good[:4]))
    order = ["serious", "warning", "note"]
    assert [finding.severity for finding in found] == sorted((f.severity for f in found), key=order.index)
    for finding in found:
        assert finding.code in CODES
        assert finding.why in str(finding)
        assert finding.what_to_do in str(finding)
        assert json.loads(json.dumps(finding.as_dict()))["code"] == finding.code


@pytest.mark.parametrize(
    ("text", "code", "severity"),
    [
        ("girl, red shirt", "trigger-missing", "serious"),
        ("sks girl, red shirt, sks", "trigger-repeated", "warning"),
        ("sks girl", "only-the-trigger", "note"),
        ("sks girl, caf\ufffd", "odd-caption", "warning"),
        ("sks girl, kaga, (azur lane)", "odd-caption", "warning"),
        (r"sks girl, kaga \(azur lane\)", "odd-caption", "warning"),
        ("sks girl, red shirts", "similar-tags", "note"),
    ],
)
def test_a_bad_caption_is_found_and_named(
    prepared: Callable[..., Path], good: list[Row], text: str, code: str, severity: str
) -> None:
    good[3]["caption"] = text
    finding = one(check(prepared(good)), code)
    assert finding.severity == severity
    assert "img/1_sks girl/train03.png" in finding.images


def test_a_word_that_holds_the_trigger_word_is_not_the_trigger_word(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    good[3]["caption"] = "sks girl, sksy, red shirt"
    assert codes(check(prepared(good))) == []


def test_the_trigger_word_in_a_class_image_is_serious(prepared: Callable[..., Path], good: list[Row]) -> None:
    good[-1]["caption"] = "sks girl, hat"
    assert one(check(prepared(good)), "trigger-in-class-images").images == ("reg/1_girl/reg15.png",)


def test_a_character_without_a_trigger_word_is_warned_of(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    assert "no-trigger" in codes(check(prepared(good, trigger=None)))
    style = {"project": {"purpose": "style"}}
    assert "no-trigger" not in codes(check(prepared(good, trigger=None, settings=style)))


@pytest.mark.parametrize("trigger", ["beach", "xqzvkjwqplmn", "smile"])
def test_a_trigger_word_that_means_something_or_is_many_tokens_is_unwise(
    prepared: Callable[..., Path], good: list[Row], trigger: str
) -> None:
    finding = one(check(prepared(good, trigger=trigger)), "trigger-unwise")
    assert "free and rare" in finding.what_to_do


def test_a_caption_edited_beyond_the_token_budget_is_counted_anew(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    good[0]["caption_tokens"] = 6
    directory = prepared(good)
    (directory / "img/1_sks girl/train00.txt").write_text("sks girl" + ", red hat" * 30, encoding="utf-8")
    finding = one(check(directory), "too-many-tokens")
    assert finding.images == ("img/1_sks girl/train00.png",)


def test_captions_over_the_token_budget_are_named(prepared: Callable[..., Path], good: list[Row]) -> None:
    good[2]["caption_tokens"] = 80
    assert "the longest has 80" in one(check(prepared(good)), "too-many-tokens").title
    roomy = ABOUT["settings"] | {"prune": {"max_tokens": 150}}  # type: ignore[operator]
    assert codes(check(prepared(good, settings=roomy))) == []


def test_tags_that_the_trainer_cuts_off_are_named_and_its_own_limit_counts(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    good[2]["caption"] += ", red hat" * 30 + ", forgotten"
    roomy = ABOUT["settings"] | {"prune": {"max_tokens": 150}}  # type: ignore[operator]
    directory = prepared(good, settings=roomy)
    assert "too-many-tokens" not in codes(check(directory))
    (directory / "train.toml").write_text("[captions]\nkeep_tokens = 1\n", encoding="utf-8")
    finding = one(check(directory), "too-many-tokens")
    assert finding.title.startswith("1 caption over 75 tokens")
    assert finding.why == "what stands after token 75 is cut off and is not trained: red hat, forgotten"
    (directory / "train.toml").write_text("max_token_length = 150\n", encoding="utf-8")
    assert "too-many-tokens" not in codes(check(directory))
    tight = prepared(good, settings=ABOUT["settings"])
    assert "the trainer reads 150 tokens" in one(check(tight), "too-many-tokens").why


def test_captions_that_are_alike_are_grouped(prepared: Callable[..., Path], good: list[Row]) -> None:
    for row in good[4:10]:
        row["caption"] = "sks girl, white shirt, red sky"
    finding = one(check(prepared(good)), "captions-alike")
    assert (finding.severity, len(finding.images)) == ("warning", 6)


def test_two_identical_captions_are_a_finding_and_two_similar_ones_are_not(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    tags = ", ".join(f"thing {i}" for i in range(12))
    good[4]["caption"], good[5]["caption"] = f"sks girl, {tags}", f"sks girl, {tags}, hat"
    assert "captions-alike" not in codes(check(prepared(good)))
    good[5]["caption"] = good[4]["caption"]
    assert len(one(check(prepared(good)), "captions-alike").images) == 2


def test_a_constant_that_prune_kept_as_not_the_subjects_is_reported(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    for row in good[:16]:
        row["caption"] += ", couch"
        tag = {"tag": "couch", "score": 0.9, "source": "tagger", "category": "general", "fate": "kept"}
        row["tags"] = [tag | {"rule": "kept: a background is no part of the character; in 16", "bound": 0.85}]
    assert codes(check(prepared(good))) == ["constant-background"]
    for row in good[:16]:
        row["tags"][0]["bound"] = 0.3
    assert "constant-background" not in codes(check(prepared(good)))


def test_a_tag_in_nearly_every_caption_is_fused_and_the_exceptions_are_named(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    for row in good[:16]:
        row["caption"] += ", scarf, solo"
    assert one(check(prepared(good)), "fused-tags").title.endswith("more: scarf")
    good[5]["caption"] = "sks girl, teal shirt"
    finding = one(check(prepared(good)), "nearly-fused-tags")
    assert finding.images == ("img/1_sks girl/train05.png",)


def test_a_constant_background_is_reported_as_bleed_and_not_as_fused(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    for row in good[:16]:
        row["caption"] += ", beach"
        tag = {"tag": "beach", "score": 0.9, "source": "tagger", "category": "general", "fate": "kept"}
        row["tags"] = [tag | {"rule": "kept, may bleed: in 16 of 16 single-subject pictures"}]
    found = check(prepared(good))
    assert codes(found) == ["constant-background"]
    assert "16 of 16 pictures (100%)" in found[0].title


def test_a_tag_that_a_sibling_has_and_the_tagger_nearly_saw_is_missing(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    def score(value: float) -> list[Row]:
        return [{"tag": "red sky", "score": value, "category": "general"}]

    good[0] |= {"phash": "00000000000000ff", "tag_scores": score(0.8), "caption": "sks girl, red sky, hat"}
    good[1] |= {"phash": "00000000000000fe", "tag_scores": score(0.5), "caption": "sks girl, cap"}
    good[2] |= {"phash": "ffffffffffffff00", "tag_scores": score(0.5), "caption": "sks girl, glove"}
    finding = one(check(prepared(good)), "missing-tags")
    assert finding.images == ("img/1_sks girl/train01.png",)
    good[1]["hand_removed"] = ["red_sky"]
    assert codes(check(prepared(good))) == []


@pytest.mark.parametrize(("number", "severity"), [(3, "serious"), (10, "warning")])
def test_too_few_pictures_for_the_purpose(
    prepared: Callable[..., Path], good: list[Row], number: int, severity: str
) -> None:
    assert one(check(prepared(good[:number] + good[16:])), "too-few-pictures").severity == severity


@pytest.mark.parametrize(
    ("cell", "value", "code"), [("scale", 1.5, "enlarged"), ("crop_loss", 0.5, "much-cut-off")]
)
def test_pictures_that_are_enlarged_or_much_cut(
    prepared: Callable[..., Path], good: list[Row], cell: str, value: float, code: str
) -> None:
    good[7][cell] = value
    assert one(check(prepared(good)), code).images == ("img/1_sks girl/train07.png",)


def test_buckets_smaller_than_a_batch_are_named(prepared: Callable[..., Path], good: list[Row]) -> None:
    settings = ABOUT["settings"] | {"export": {"batch_size": 17}}  # type: ignore[operator]
    assert (
        "1 bucket with fewer pictures than a batch (17): 128x64"
        in one(check(prepared(good, settings=settings)), "lone-buckets").title
    )


def test_few_and_unused_class_images(prepared: Callable[..., Path], good: list[Row]) -> None:
    assert one(check(prepared(good[:17])), "few-class-images").images == ("reg/1_girl/reg00.png",)
    assert len(one(check(prepared(good[:15] + good[16:])), "unused-class-images").images) == 1


def test_files_put_aside_are_listed_by_reason(prepared: Callable[..., Path], good: list[Row]) -> None:
    good[0] |= {"state": "quarantined", "reason": "scan:decode: truncated"}
    finding = one(check(prepared(good)), "unusable-files")
    assert (finding.title, finding.images) == ("1 file put aside: scan:decode", ("train00.png",))


def test_an_edit_since_the_run_is_one_finding(prepared: Callable[..., Path], good: list[Row]) -> None:
    directory = prepared(good)
    (directory / "img/1_sks girl/train00.txt").write_text("sks girl, red shirt, cat\n", encoding="utf-8")
    found = check(directory)
    assert codes(found) == ["edited-since-the-run"]
    assert found[0].images == ("img/1_sks girl/train00.txt",)


def test_an_empty_caption_file_stops_the_trainer(prepared: Callable[..., Path], good: list[Row]) -> None:
    directory = prepared(good)
    (directory / "img/1_sks girl/train00.txt").write_bytes(b"")
    assert {"training-stops", "empty-caption", "edited-since-the-run"} <= set(codes(check(directory)))


def test_a_foreign_picture_and_a_missing_dataset_file_are_found(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    directory = prepared(good)
    source = directory / "img/1_sks girl/train00.png"
    source.with_name("stranger.png").write_bytes(source.read_bytes())
    found = one(check(directory), "trained-otherwise")
    assert found.severity == "serious"
    assert "img/1_sks girl/stranger.png" in found.images
    (directory / "dataset.toml").unlink()
    assert one(check(directory), "no-data-set").severity == "serious"


def test_a_run_that_was_killed_and_a_damaged_journal_are_found(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    directory = prepared(good)
    note_taken(directory, Taken(running=True))
    journal_file(directory).write_text("{half\n", encoding="utf-8")
    assert {"unfinished-run", "damaged-decisions"} <= set(codes(check(directory)))


def test_models_are_spoken_of(prepared: Callable[..., Path], good: list[Row]) -> None:
    models = {
        "tagger": {"name": "miniature", "path": "/x", "revision": None},
        "vae": {"name": "/home/me/vae", "path": "/home/me/vae", "revision": None},
        "clip": {"name": "clip-vit-b-32", "path": "/y", "revision": "abc"},
    }
    found = check(prepared(good, models=models))
    assert codes(found) == ["miniature-models", "models-of-unknown-origin", "model-licences"]
    assert "clip clip-vit-b-32: MIT" in one(found, "model-licences").title
    assert "tagger" in found[0].title
    assert "vae /home/me/vae" in found[1].title
    assert "clip" not in found[1].title
    unused = {"base": {"name": "sd15", "used": False}}
    assert codes(check(prepared(good, models=unused))) == ["model-licences"]


def test_every_check_says_what_it_looks_for() -> None:
    assert all(one_check.__doc__ for one_check in CHECKS)


def test_waivers_stand_in_the_data_sets_settings_and_count_at_once(
    prepared: Callable[..., Path], good: list[Row], tmp_path: Path
) -> None:
    settings = {"project": {"purpose": "character", "waive": ["enlarged"]}}
    folder = prepared(good, settings=settings)
    assert waived(folder) == {"enlarged"}  # no raw folder is known: as the last run had it
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataprep.toml").write_text('waive = ["lone-buckets"]', encoding="utf-8")
    Job(raw, folder).save()
    assert waived(folder) == {"lone-buckets"}


def other_repeats(directory: Path) -> None:
    file = directory / "dataset.toml"
    file.write_text(file.read_text().replace("num_repeats = 1", "num_repeats = 3"))


@pytest.mark.parametrize(
    "harm",
    [
        other_repeats,
        lambda directory: shutil.rmtree(directory / "reg"),
        lambda directory: (directory / "reg/1_girl/reg03.png").unlink(),
        lambda directory: (directory / "img/1_sks girl").rename(directory / "img/5_sks girl"),
        lambda directory: Image.new("RGB", (128, 64)).save(directory / "reg/1_girl/z.png"),
    ],
)
def test_any_difference_to_the_plan_is_serious(
    prepared: Callable[..., Path], good: list[Row], harm: Callable[[Path], Any]
) -> None:
    directory = prepared(good)
    harm(directory)
    assert one(check(directory), "trained-otherwise").severity == "serious"
    assert "trained-otherwise" not in codes(check(directory, frozenset({"trained-otherwise"})))


def test_a_prepared_picture_changed_by_hand_is_serious_before_the_next_run(
    prepared: Callable[..., Path], good: list[Row]
) -> None:
    directory = prepared(good)
    picture = directory / "img/1_sks girl/train03.png"
    Image.new("RGB", (128, 64), "red").save(picture)
    found = one(check(directory), "picture-edited")
    assert (found.severity, found.images) == ("serious", ("img/1_sks girl/train03.png",))
    assert "latents do not belong" in found.title
    picture.write_bytes(PICTURE)  # as it was, only later
    assert check(directory) == []


def test_what_sd_scripts_will_see_is_told(prepared: Callable[..., Path], good: list[Row]) -> None:
    directory = prepared(good)
    told = seen(directory) or ""
    assert "sd-scripts will see: 16 training pictures" in told
    assert "held against CLIP's tokens" in told
    (directory / "dataset.toml").unlink()
    assert seen(directory) is None
