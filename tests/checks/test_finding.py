"""Every finding of the gate, each on a folder with its fault: images, why it matters, what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from dataprep.check import CODES, check
from dataprep.cli import app
from dataprep.curate.decisions import journal_file
from dataprep.curate.taken import Taken, note_taken
from dataprep.tags.kinds import kind_of
from tests.test_check import ABOUT, Row, good, prepared

__all__ = ["good", "prepared"]  # fixtures

Write = Callable[..., Path]
Fault = Callable[[Write, list[Row]], Path]
TRAIN = "img/1_sks girl"
# About the whole set, or about no picture at all.
OF_NO_PICTURE = frozenset(
    {
        "damaged-decisions",
        "many-pictures",
        "miniature-models",
        "model-licences",
        "models-of-unknown-origin",
        "no-class-images",
        "no-data-set",
        "too-few-pictures",
        "unfinished-run",
    }
)
# Made by other trainers, options and caches; their own tests have the folders for them.
ELSEWHERE = frozenset(
    {"data-set-options", "foreign-caches", "latents-stale", "texts-stale", "train-toml-differs"}
)
# A tag of each kind; what people there are is never counted as constant.
TAGS = {
    "hair": "pink hair", "eyes": "green eyes", "body": "freckles", "clothes": "camisole", "accessory": "hat",
    "expression": "smile", "pose": "sitting", "framing": "portrait", "background": "beach", "style": "sketch",
    "thing": "bow (weapon)", "other": "xyzzy",
}  # fmt: skip


def captioned(text: str, index: int = 3) -> Fault:
    def fault(write: Write, rows: list[Row]) -> Path:
        rows[index]["caption"] = text
        return write(rows)

    return fault


def about(**what: Any) -> Fault:
    return lambda write, rows: write(rows, **what)


def cell(name: str, value: Any) -> Fault:
    def fault(write: Write, rows: list[Row]) -> Path:
        rows[3][name] = value
        return write(rows)

    return fault


def some(part: slice) -> Fault:
    return lambda write, rows: write(rows[part])


def afterwards(harm: Callable[[Path], Any]) -> Fault:
    def fault(write: Write, rows: list[Row]) -> Path:
        directory = write(rows)
        harm(directory)
        return directory

    return fault


def in_all(tag: str, most: int = 16) -> Fault:
    def fault(write: Write, rows: list[Row]) -> Path:
        for row in rows[:most]:
            row["caption"] += f", {tag}"
        return write(rows)

    return fault


def constant(tag: str) -> Fault:
    def fault(write: Write, rows: list[Row]) -> Path:
        entry = {"tag": tag, "score": 0.9, "source": "tagger", "category": "general", "fate": "kept"}
        for row in rows[:16]:
            row["caption"] += f", {tag}"
            row["tags"] = [entry | {"rule": "kept, may bleed: in 16 of 16"}]
        return write(rows)

    return fault


def siblings(write: Write, rows: list[Row]) -> Path:
    score = {"tag": "red sky", "category": "general"}
    rows[0] |= {"phash": "00000000000000ff", "tag_scores": [score | {"score": 0.8}]}
    rows[1] |= {"phash": "00000000000000fe", "tag_scores": [score | {"score": 0.5}]}
    rows[0]["caption"], rows[1]["caption"] = "sks girl, red sky, hat", "sks girl, cap"
    return write(rows)


def many(write: Write, rows: list[Row]) -> Path:
    more = [rows[i % 16] | {"id": f"m{i}", "path": f"m{i}.png", "sha256": f"m{i}"} for i in range(201)]
    return write([*more, *rows[16:]])


def model(kind: str, name: str, **facts: Any) -> Fault:
    return about(models={kind: {"name": name, "path": "/x", "revision": None} | facts})


def raw_taken_away(out: Path) -> None:
    """A raw folder with all pictures but one."""
    raw = out.parent / "raw"
    raw.mkdir()
    for row in pq.read_table(out / "manifest.parquet", columns=["path"]).to_pylist()[1:]:
        (raw / row["path"]).touch()
    (out / ".dataprep" / "run.json").write_text(json.dumps({"raw": str(raw)}), encoding="utf-8")


FAULTS: dict[str, Fault] = {
    "captions-alike": lambda write, rows: captioned(rows[4]["caption"], 5)(write, rows),
    "empty-caption": afterwards(lambda out: (out / TRAIN / "train03.txt").write_bytes(b"")),
    "no-trigger": about(trigger=None),
    "odd-caption": captioned("sks girl, caf\ufffd"),
    "only-the-trigger": captioned("sks girl"),
    "similar-tags": captioned("sks girl, red shirts"),
    "several-tags-in-one": captioned("sks girl, 1girl solo smile hat"),
    "other-name": captioned("sks girl, blond hair"),
    "hand-over-list": cell(
        "tags",
        [
            {
                "tag": "hat",
                "score": None,
                "source": "hand",
                "category": "general",
                "fate": "added_by_hand",
                "rule": "added by hand; by hand it outranks your absorb list",
            }
        ],
    ),
    "not-used": lambda write, rows: (
        rows[3].update(state="dropped", reason="dedup:duplicate: of a; its caption was not used")
        or write(rows)
    ),
    "too-many-tokens": captioned("sks girl" + ", red hat" * 40),
    "trigger-in-class-images": captioned("sks girl, hat", -1),
    "trigger-missing": captioned("girl, red shirt"),
    "trigger-not-first": captioned("red shirt, sks girl"),
    "trigger-repeated": captioned("sks girl, red shirt, sks"),
    "trigger-unwise": about(trigger="quixotic"),
    "unknown-encoding": afterwards(
        lambda out: (out / TRAIN / "train03.txt").write_bytes("sks girl, 眼鏡".encode("euc_jp"))
    ),
    "fused-tags": in_all("scarf"),
    "nearly-fused-tags": in_all("scarf", 14),
    "missing-tags": siblings,
    **{f"constant-{kind}": constant(tag) for kind, tag in TAGS.items()},
    "enlarged": cell("scale", 1.5),
    "much-cut-off": cell("crop_loss", 0.5),
    "lone-buckets": about(settings=ABOUT["settings"] | {"export": {"batch_size": 17}}),  # type: ignore[operator]
    "few-class-images": some(slice(0, 17)),
    "unused-class-images": lambda write, rows: write(rows[:15] + rows[16:]),
    "no-class-images": some(slice(0, 16)),
    "too-few-pictures": lambda write, rows: write(rows[:3] + rows[16:]),
    "many-pictures": many,
    "unusable-files": lambda write, rows: (
        rows[3].update(state="quarantined", reason="scan:decode: truncated") or write(rows)
    ),
    "unfinished-run": afterwards(lambda out: note_taken(out, Taken(running=True))),
    "edited-since-the-run": afterwards(
        lambda out: (out / TRAIN / "train03.txt").write_text("sks girl, red shirt, cat", encoding="utf-8")
    ),
    "raw-changed": afterwards(raw_taken_away),
    "picture-edited": afterwards(
        lambda out: Image.new("RGB", (128, 64), "red").save(out / TRAIN / "train03.png")
    ),
    "damaged-decisions": afterwards(lambda out: journal_file(out).write_text("{half\n", encoding="utf-8")),
    "lost-edits": afterwards(
        lambda out: (out / ".dataprep" / "gone.json").write_text('[{"sha256": "a", "path": "gone.png"}]')
    ),
    "no-data-set": afterwards(lambda out: (out / "dataset.toml").unlink()),
    "training-stops": afterwards(lambda out: (out / TRAIN / "train03.txt").write_bytes(b"")),
    "trained-otherwise": afterwards(lambda out: (out / "reg/1_girl/reg03.png").unlink()),
    "miniature-models": model("tagger", "miniature"),
    "models-of-unknown-origin": model("vae", "/home/me/vae"),
    "model-licences": model("base", "sd15", used=False),
}


def test_every_code_has_a_fault_in_this_table() -> None:
    never = {"constant-name", "constant-people"}  # names are the subject's, and people are not counted
    assert CODES - ELSEWHERE - never == FAULTS.keys()
    assert all(kind_of(tag) == kind for kind, tag in TAGS.items())


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_a_finding_names_images_and_says_why_and_what_to_do_and_can_be_waived(
    code: str, prepared: Write, good: list[Row]
) -> None:
    directory = FAULTS[code](prepared, good)
    found = [finding for finding in check(directory) if finding.code == code]
    assert found, [finding.code for finding in check(directory)]
    for finding in found:
        assert bool(finding.images) != (code in OF_NO_PICTURE)
        assert all(image in str(finding) for image in finding.images[:5])
        assert len(finding.why) >= 20
        assert len(finding.what_to_do) > 10
        assert f"why: {finding.why}" in str(finding)
        assert f"do: {finding.what_to_do}" in str(finding)
    assert code not in {finding.code for finding in check(directory, frozenset({code}))}


@pytest.mark.parametrize("code", ["trigger-missing", "similar-tags"])
def test_the_command_gives_the_same_as_json_and_its_status_tells_serious_ones(
    code: str, prepared: Write, good: list[Row]
) -> None:
    directory = FAULTS[code](prepared, good)
    result = CliRunner().invoke(app, ["check", str(directory), "--json"])
    told = [entry for entry in json.loads(result.stdout)["findings"] if entry["code"] == code]
    assert [set(entry) for entry in told] == [{"code", "severity", "title", "images", "why", "what_to_do"}]
    assert result.exit_code == (1 if told[0]["severity"] == "serious" else 0)
