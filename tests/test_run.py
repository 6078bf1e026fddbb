"""The whole chain on the miniature family: real formats, real stages, tiny weights."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataprep import __version__
from dataprep.check import check
from dataprep.curate.decisions import append, decision
from dataprep.errors import ConfigError, InputError, ModelError
from dataprep.export.kohya_reader import differences, read_folder
from dataprep.forecast import forecast
from dataprep.progress import Observer
from dataprep.run import Job, Outcome, read_manifest, run
from models.miniature.world import random_drawing, render, signature_drawing

SIZES = ((400, 400), (320, 512), (512, 320))
FLAGS = {"trigger": "sks", "class_word": "girl", "models": "miniature"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAW: twelve drawings of the signature character, a smaller copy, a broken file; and class images."""
    home = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    for folder, draw, count in (("raw", signature_drawing, 12), ("class", random_drawing, 6)):
        (home / folder).mkdir()
        for i in range(count):
            render(draw(rng), *SIZES[i % 3]).save(home / folder / f"{folder}{i:02d}.png")
    render(signature_drawing(np.random.default_rng(3)), 200, 200).save(home / "raw" / "small copy.png")
    (home / "raw" / "broken.jpg").write_bytes(b"not a picture")
    return home


@pytest.fixture(scope="module")
def prepared(pictures: Path) -> tuple[Job, Outcome]:
    """A finished run."""
    job = Job(pictures / "raw", pictures / "out", flags={**FLAGS, "reg": str(pictures / "class")})
    return job, run(job, Observer(), threads=2)


@pytest.fixture
def copy(prepared: tuple[Job, Outcome], tmp_path: Path) -> Job:
    """The finished run's folders, copied so that a test may change them."""
    job = prepared[0]
    for name in ("raw", "class", "out"):
        shutil.copytree(job.raw.parent / name, tmp_path / name)
    return Job(tmp_path / "raw", tmp_path / "out", flags={**FLAGS, "reg": str(tmp_path / "class")})


def computed(outcome: Outcome, *stages: str) -> dict[str, int]:
    return {report.name: report.computed for report in outcome.stages if report.name in stages}


MODELS = ("fingerprint", "tag", "clip", "latents")


def test_every_file_is_accounted_for(prepared: tuple[Job, Outcome]) -> None:
    job, outcome = prepared
    train = [row for row in outcome.table.to_pylist() if row["role"] == "train"]
    assert sorted(row["path"] for row in train) == sorted(path.name for path in job.raw.iterdir())
    states = {row["path"]: row["state"] for row in train}
    assert states["broken.jpg"] == "quarantined"
    assert states["small copy.png"] == "dropped"
    assert list(states.values()).count("active") == 12


def test_a_folder_without_pictures_says_so_and_a_floor_over_the_models_threshold_stops_before_work(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "raw"
    (raw / "later").mkdir(parents=True)
    (raw / "dataprep.toml").write_text("[dedup]\nmax_distance = 5\n", encoding="utf-8")
    with pytest.raises(InputError, match="no pictures in it; put the raw pictures into it"):
        run(Job(raw, tmp_path / "out", flags=FLAGS), Observer())
    with pytest.raises(ConfigError, match=r"--set: tag\.floor: 0\.9 is above the threshold of general tags"):
        run(Job(raw, tmp_path / "other", flags=FLAGS, overrides=("tag.floor=0.9",)), Observer())
    assert not (tmp_path / "other").exists()


def test_sd_scripts_sees_what_the_manifest_says(prepared: tuple[Job, Outcome]) -> None:
    job, outcome = prepared
    view = read_folder(job.out)
    assert differences(view, outcome.table) == []
    assert all(picture.cache is not None for picture in view.pictures)


def test_the_trigger_stands_first_in_every_caption_and_never_in_a_class_images(
    prepared: tuple[Job, Outcome],
) -> None:
    job, outcome = prepared
    for row in outcome.table.to_pylist():
        if row["state"] != "active":
            continue
        text = (job.out / row["caption_file"]).read_text(encoding="utf-8")
        assert text == row["caption"] + "\n"
        assert text.split().count("sks") + text.split().count("sks,") == (1 if row["role"] == "train" else 0)
        assert text.startswith("sks girl" if row["role"] == "train" else "girl")


def test_the_constant_features_are_absorbed_and_the_varying_ones_kept(prepared: tuple[Job, Outcome]) -> None:
    fates: dict[str, set[str]] = {}
    for row in prepared[1].table.to_pylist():
        if row["state"] == "active" and row["role"] == "train":
            for tag in row["tags"]:
                fates.setdefault(tag["tag"], set()).add(tag["fate"])
    assert "absorbed" in fates["green eyes"]
    assert "kept" in fates["smile"]


def test_a_second_run_computes_nothing_and_writes_nothing(prepared: tuple[Job, Outcome]) -> None:
    job, _ = prepared
    before = {path: path.stat().st_mtime_ns for path in (job.out / "img").rglob("*") if path.is_file()}
    again = run(job, Observer(), threads=2)
    assert computed(again, *MODELS, "dedup", "bucket", "prune", "reg") == dict.fromkeys(
        [*MODELS, "dedup", "bucket", "prune", "reg"], 0
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert all(step.to_compute == 0 for step in forecast(job))


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_threads(
    prepared: tuple[Job, Outcome], tmp_path: Path
) -> None:
    job, outcome = prepared
    other = run(Job(job.raw, tmp_path / "out", flags=job.flags), Observer(), threads=1)
    assert other.table.equals(outcome.table)


def test_a_new_threshold_infers_nothing(copy: Job) -> None:
    job = Job(copy.raw, copy.out, flags=copy.flags, overrides=("prune.general_threshold=0.8",))
    assert computed(run(job, Observer(), threads=2), *MODELS) == dict.fromkeys(MODELS, 0)


def test_a_renamed_file_decodes_nothing(copy: Job) -> None:
    (copy.raw / "raw05.png").rename(copy.raw / "new name.png")
    outcome = run(copy, Observer(), threads=2)
    assert computed(outcome, *MODELS) == dict.fromkeys(MODELS, 0)
    files = [row["image_file"] for row in outcome.table.to_pylist() if row["path"] == "new name.png"]
    assert (copy.out / files[0]).is_file()
    assert not list(copy.out.rglob("raw05*"))


def test_a_changed_picture_is_done_again_alone(copy: Job) -> None:
    drawing = random_drawing(np.random.default_rng(77))
    render(drawing, 400, 400).save(copy.raw / "raw00.png")
    done = computed(run(copy, Observer(), threads=2), *MODELS)
    assert done["fingerprint"] == 1
    # The bucket plan is made for the whole set, so a neighbour may move to another bucket with it.
    assert 1 <= done["latents"] <= 3


def test_a_prepared_picture_changed_by_hand_loses_its_latents_and_check_says_so(copy: Job) -> None:
    run(copy, Observer(), threads=2)
    picture = sorted((copy.out / "img").rglob("*.png"))[0]
    with Image.open(picture) as image:
        size = image.size
    Image.new("RGB", size, "red").save(picture)
    file = picture.relative_to(copy.out).as_posix()
    assert "picture-edited" in {finding.code for finding in check(copy.out)}
    outcome = run(copy, Observer(), threads=2)
    assert outcome.wrong == []
    assert any(file in message and "changed by hand" in message for message in outcome.messages)
    assert not list(picture.parent.glob(f"{picture.stem}_*.npz"))
    assert "picture-edited" in {finding.code for finding in check(copy.out)}
    picture.unlink()  # as the advice says
    after = run(copy, Observer(), threads=2)
    assert picture.is_file()
    assert after.wrong == []
    assert after.table["state"].to_pylist() == outcome.table["state"].to_pylist()
    assert "picture-edited" not in {finding.code for finding in check(copy.out)}


def test_a_picture_that_nobody_planned_ends_the_run_as_not_done(copy: Job) -> None:
    folder = next(path for path in (copy.out / "img").iterdir())
    Image.new("RGB", (512, 512)).save(folder / "stranger.png")
    outcome = run(copy, Observer(), threads=2)
    assert any("stranger.png" in difference for difference in outcome.wrong)
    assert outcome.ending.startswith("not as planned")


def test_a_dataset_toml_edited_on_purpose_is_wrong_until_it_is_accepted(copy: Job) -> None:
    file = copy.out / "dataset.toml"
    run(copy, Observer(), threads=2)  # it names the copied folder now
    file.write_text("[general]\ncaption_dropout_rate = 0.5\n" + file.read_text("utf-8"), "utf-8")
    outcome = run(copy, Observer(), threads=2)
    (wrong,) = outcome.wrong
    assert "caption_dropout_rate = 0.5, planned 0.0" in wrong
    assert "caption_dropout_rate = 0.5" in file.read_text("utf-8")
    assert [finding.code for finding in check(copy.out)].count("data-set-options") == 1
    (copy.raw / "dataprep.toml").write_text('waive = ["data-set-options"]\n', "utf-8")
    assert run(copy, Observer(), threads=2).wrong == []


def test_latents_that_a_trainer_encoded_over_ours_are_found_and_written_anew(copy: Job) -> None:
    run(copy, Observer(), threads=2)
    row = next(r for r in read_manifest(copy.out)[0].to_pylist() if r["latents_key"])
    shipped = copy.out / row["latents_file"]
    with np.load(shipped) as file:
        arrays = {name: file[name] for name in file.files}
    zeros = np.zeros_like(arrays["latents"])
    np.savez(shipped, **(arrays | {"latents": zeros}))  # keeps the other arrays, as sd-scripts does
    assert "latents-stale" in [finding.code for finding in check(copy.out)]
    assert run(copy, Observer(), threads=2).wrong == []
    with np.load(shipped) as file:
        assert np.array_equal(file["latents"], arrays["latents"])


def test_two_families_are_refused_before_any_work(copy: Job) -> None:
    job = replace(copy, out=copy.out.parent / "other", overrides=("latents.family=sdxl",))
    with pytest.raises(ConfigError, match=r"latents.family = 'sdxl', .*export.family = 'sd1'"):
        run(job, Observer())
    assert not job.out.exists()


def test_tags_edited_in_a_caption_file_survive_another_threshold(copy: Job) -> None:
    row = next(
        r for r in read_manifest(copy.out)[0].to_pylist() if r["state"] == "active" and r["role"] == "train"
    )
    file = copy.out / row["caption_file"]
    tags = file.read_text(encoding="utf-8").strip().split(", ")
    gone = tags[-1]
    file.write_text(", ".join([*tags[:-1], "holding a cup"]), encoding="utf-8")
    run(
        Job(copy.raw, copy.out, flags=copy.flags, overrides=("prune.general_threshold=0.6",)),
        Observer(),
        threads=2,
    )
    after = file.read_text(encoding="utf-8").strip().split(", ")
    assert "holding a cup" in after
    assert gone not in after


@pytest.mark.parametrize("harm", ["gone", "one bit"])
def test_lost_or_damaged_latents_in_the_store_are_encoded_again_alone(copy: Job, harm: str) -> None:
    row = next(r for r in read_manifest(copy.out)[0].to_pylist() if r["latents_key"])
    shipped = copy.out / row["latents_file"]
    with np.load(shipped) as file:
        before = file["latents"]
    (blob,) = (copy.out / ".dataprep" / "blobs").rglob(f"{row['latents_key']}.npz")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    if harm == "gone":
        blob.unlink()
    shipped.unlink()
    outcome = run(copy, Observer(), threads=2)
    assert computed(outcome, "tag", "latents") == {"tag": 0, "latents": 1}
    assert any("made anew" in message for message in outcome.messages)
    with np.load(shipped) as file:
        assert np.allclose(file["latents"], before, atol=1e-5)
    assert differences(read_folder(copy.out), outcome.table) == []


def test_a_picture_left_out_by_hand_stays_out(copy: Job) -> None:
    row = next(r for r in read_manifest(copy.out)[0].to_pylist() if r["path"] == "raw03.png")
    append(copy.out, [decision((row["sha256"], ""), "page", state="drop")])
    outcome = run(copy, Observer(), threads=2)
    after = next(r for r in outcome.table.to_pylist() if r["path"] == "raw03.png")
    assert (after["state"], after["reason"]) == ("dropped", "curate:by-hand: left out by hand")
    assert not (copy.out / row["image_file"]).exists()


def test_stopping_at_tag_leaves_captions_to_edit_with_nothing_absorbed(copy: Job, tmp_path: Path) -> None:
    outcome = run(Job(copy.raw, tmp_path / "early", flags=FLAGS, until="tag"), Observer(), threads=2)
    fates = {tag["fate"] for row in outcome.table.to_pylist() for tag in row["tags"] or ()}
    assert "absorbed" not in fates
    captions = [path.read_text("utf-8") for path in (tmp_path / "early" / "img").rglob("*.txt")]
    assert any("green eyes" in caption for caption in captions)


def test_stopping_before_captions_takes_nothing_away_that_a_longer_run_wrote(copy: Job) -> None:
    def content() -> dict[str, bytes]:
        files = [*(copy.out / "img").rglob("*"), *(copy.out / "reg").rglob("*"), *copy.out.glob("*.*")]
        return {str(path): path.read_bytes() for path in files if path.is_file()}

    before, request = content(), Job.load(copy.out)
    for stage in ("curate", "bucket"):
        outcome = run(replace(copy, until=stage), Observer(), threads=2)
        assert content() == before
        assert outcome.messages[-1].startswith(f"stopped after {stage}, before captions are made")
    assert Job.load(copy.out) == request
    assert "unfinished-run" not in {finding.code for finding in check(copy.out)}
    caption = next((copy.out / "img").rglob("*.txt"))
    text = caption.read_text("utf-8").strip() + ", hat\n"
    caption.write_text(text, "utf-8")
    run(replace(copy, until="curate"), Observer(), threads=2)
    assert caption.read_text("utf-8") == text
    run(copy, Observer(), threads=2)
    assert caption.read_text("utf-8") == text
    assert len(content()) == len(before) + 1  # decisions.jsonl


def test_the_manifest_names_settings_models_and_version(prepared: tuple[Job, Outcome]) -> None:
    _, metadata = read_manifest(prepared[0].out)
    assert metadata["trigger"] == "sks"
    assert set(metadata["models"]) >= {"tagger", "clip", "vae", "base"}
    assert len(metadata["models"]["tagger"]["sha256"]) == 64
    assert set(metadata["stage_keys"]) >= {"scan", "prune", "export"}


TOLD = [
    "image_file",
    "caption_file",
    "latents_file",
    "caption",
    "bucket_width",
    "bucket_height",
    "repeats",
    "role",
]


def read_with(reader: str, path: Path) -> list[tuple[Any, ...]]:
    """The cells TOLD of every file that is in the folder, as another program reads them."""
    if reader == "pyarrow":
        rows = pq.read_table(path, columns=TOLD).to_pylist()
        return [tuple(row.values()) for row in rows if row["image_file"] is not None]
    program = pytest.importorskip(reader)
    if reader == "duckdb":
        query = f"select {', '.join(TOLD)} from read_parquet(?) where image_file is not null"
        return program.execute(query, [str(path)]).fetchall()
    if reader == "polars":
        return program.read_parquet(path).drop_nulls("image_file").select(TOLD).rows()
    frame = program.read_parquet(path).dropna(subset="image_file")[TOLD]
    return list(frame.astype(object).itertuples(index=False, name=None))


@pytest.mark.parametrize("reader", ["pyarrow", "pandas", "polars", "duckdb"])
def test_every_file_caption_bucket_and_repeat_can_be_rebuilt_from_the_manifest_alone(
    prepared: tuple[Job, Outcome], reader: str
) -> None:
    out = prepared[0].out
    texts, sizes, caches, subsets = {}, {}, set(), set()
    for image, text, latents, caption, width, height, repeats, role in read_with(
        reader, out / "manifest.parquet"
    ):
        texts[text] = caption + "\n"
        sizes[image] = (width, height)
        caches.add(latents)
        subsets.add((image.rpartition("/")[0], repeats, role == "reg"))
    there = {path.relative_to(out).as_posix(): path for path in out.glob("[!.]*/*/*")}
    assert set(there) == {*texts, *sizes, *caches}
    assert {name: path.read_text("utf-8") for name, path in there.items() if name in texts} == texts
    for name, size in sizes.items():
        with Image.open(there[name]) as picture:
            assert picture.size == size
    (dataset,) = tomllib.loads((out / "dataset.toml").read_text("utf-8"))["datasets"]
    told = {(s["image_dir"], s["num_repeats"], s.get("is_reg", False)) for s in dataset["subsets"]}
    assert told == {((out / folder).as_posix(), int(n), reg) for folder, n, reg in subsets}


def test_other_programs_find_settings_models_and_hashes_in_the_manifests_metadata(
    prepared: tuple[Job, Outcome],
) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = prepared[0].out / "manifest.parquet"
    query = "select value from parquet_kv_metadata(?) where key = 'dataprep'"
    ((value,),) = duckdb.execute(query, [str(path)]).fetchall()
    told = json.loads(value)
    assert told == read_manifest(prepared[0].out)[1]
    assert told["version"] == __version__
    assert told["settings"]["latents"]["precision"] == "auto"
    assert set(told["settings"]) - {"project"} == set(told["stage_keys"])
    for model in ("tagger", "clip", "vae"):
        assert {"name", "path", "revision", "sha256"} == set(told["models"][model])


def test_a_model_that_cannot_be_found_says_what_was_tried_and_what_would_work(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"(?s)Tried:.*--models miniature"):
        run(Job(pictures / "raw", tmp_path / "out", flags={"trigger": "sks", "models": "sd15"}), Observer())
    assert not (tmp_path / "out").exists()
