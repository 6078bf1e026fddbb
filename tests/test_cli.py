"""The commands: exit statuses, help that starts fast, errors in one message."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from dataprep.cli import app
from dataprep.run import Job

COMMANDS = [
    "run",
    "status",
    "explain",
    "show",
    "check",
    "report",
    "undo",
    "train",
    "sample",
    "inspect",
    "models",
]
runner = CliRunner()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    Image.effect_noise((300, 300), 90).convert("RGB").save(folder / "a.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    return folder


def run_until_bucket(raw: Path, *more: str) -> tuple[int, str]:
    result = runner.invoke(app, ["run", str(raw), "--models", "miniature", "--until", "bucket", *more])
    return result.exit_code, result.output


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['dataprep', '--help']\nfrom dataprep.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    status = end.code\n"
        "heavy = {'torch', 'pyarrow', 'numpy', 'PIL', 'onnxruntime', 'open_clip', 'diffusers', 'pydantic'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\nsys.exit(status)"
    )
    started = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "heavy: []" in result.stdout
    for command in COMMANDS:
        assert command in result.stdout
    assert time.perf_counter() - started < 5  # half a second when nothing else runs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere"], ["nowhere", "no such folder"]),
        (["show", "nowhere", "a.png"], ["nowhere", "no manifest.parquet"]),
        (["explain", "sieve"], ["sieve", "no such topic", "dedup"]),
    ],
)
def test_a_users_mistake_exits_with_2_and_says_what_to_do(arguments: list[str], words: list[str]) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    for word in ["error:", *words]:
        assert word in result.output
    assert "Traceback" not in result.output


def test_an_unknown_option_exits_with_2() -> None:
    assert runner.invoke(app, ["run", ".", "--triger", "sks"]).exit_code == 2


def test_no_trigger_where_one_is_needed_says_so(raw: Path) -> None:
    result = runner.invoke(app, ["run", str(raw), "--models", "miniature"])
    assert result.exit_code == 2
    assert "--trigger" in result.output


def test_a_setting_out_of_range_names_its_range(raw: Path) -> None:
    status, output = run_until_bucket(raw, "--set", "dedup.max_distance=99")
    assert status == 2
    assert "dedup.max_distance" in output
    assert "64" in output


def test_a_run_accounts_for_every_file_and_says_what_comes_next(raw: Path) -> None:
    status, output = run_until_bucket(raw)
    assert status == 0
    assert "broken.jpg" in output
    assert "next:" in output


def test_a_folder_without_a_picture_exits_with_2_and_says_where_to_look(raw: Path) -> None:
    (raw / "a.png").unlink()
    status, output = run_until_bucket(raw)
    assert status == 2
    assert "broken.jpg" in output
    assert "no picture is left to train on" in output
    assert "next:" not in output


def test_a_device_that_is_not_there_is_refused_before_any_work(raw: Path) -> None:
    for wanted in ("gpu", "cuda:99"):
        status, output = run_until_bucket(raw, "--device", wanted)
        assert status == 2
        assert f"error: --device {wanted}" in output
        assert not (raw.parent / "raw-prepared").exists()


def test_strict_exits_with_1_when_a_picture_is_quarantined(raw: Path) -> None:
    assert run_until_bucket(raw, "--strict")[0] == 1


def test_json_is_one_object_and_nothing_else(raw: Path) -> None:
    result = runner.invoke(
        app, ["run", str(raw), "--models", "miniature", "--until", "bucket", "--json"], catch_exceptions=False
    )
    outcome = json.loads(result.stdout)
    assert outcome["summary"]["files"] == 2
    assert outcome["summary"]["kept"] == 1


def test_a_run_with_differences_to_the_plan_exits_with_1_and_is_not_done(raw: Path) -> None:
    assert run_until_bucket(raw)[0] == 0
    picture = next((raw.parent / "raw-prepared" / "img").glob("*/*.png"))
    (picture.parent / "somebody's.png").write_bytes(picture.read_bytes())
    (picture.parent / "somebody's.txt").write_text("a picture that nobody planned", encoding="utf-8")
    status, output = run_until_bucket(raw)
    assert status == 1
    assert "WRONG: " in output
    assert "not as planned: " in output
    assert "done in" not in output
    assert "next:" not in output
    assert run_until_bucket(raw, "--json")[0] == 1


def test_check_prints_what_sd_scripts_will_see_as_text_and_as_json(raw: Path) -> None:
    run_until_bucket(raw)
    prepared = str(raw.parent / "raw-prepared")
    seen = "sd-scripts will see: 1 training pictures, 1 with repeats, in 1 buckets: 256x256 1"
    assert runner.invoke(app, ["check", prepared]).stdout.startswith(seen)
    told = json.loads(runner.invoke(app, ["check", prepared, "--json"]).stdout)
    assert told["sd_scripts"].startswith(seen)
    assert {"code", "severity", "title"} <= set(told["findings"][0])
    (raw.parent / "raw-prepared/dataset.toml").unlink()
    assert json.loads(runner.invoke(app, ["check", prepared, "--json"]).stdout)["sd_scripts"] is None


def test_a_dry_run_writes_nothing(raw: Path) -> None:
    before = sorted(raw.parent.rglob("*"))
    status, output = run_until_bucket(raw, "--dry-run")
    assert status == 0
    assert "fingerprint" in output
    assert sorted(raw.parent.rglob("*")) == before


def test_status_of_a_finished_run_has_nothing_to_compute(raw: Path) -> None:
    run_until_bucket(raw)
    result = runner.invoke(app, ["status", str(raw.parent / "raw-prepared"), "--json"])
    assert [step["to_compute"] for step in json.loads(result.stdout)] == [0] * 9


def test_raw_is_never_written(raw: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in raw.iterdir()}
    run_until_bucket(raw)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in raw.iterdir()} == before


def test_show_tells_where_a_picture_came_from(raw: Path) -> None:
    run_until_bucket(raw)
    result = runner.invoke(app, ["show", str(raw.parent / "raw-prepared"), "broken.jpg"])
    assert result.exit_code == 0
    assert "quarantined" in result.output


def test_the_report_accounts_for_every_file(raw: Path) -> None:
    run_until_bucket(raw)
    result = runner.invoke(app, ["report", str(raw.parent / "raw-prepared")])
    assert result.exit_code == 0
    page = (raw.parent / "raw-prepared" / "report.html").read_text(encoding="utf-8")
    assert "broken.jpg" in page
    assert "data:image/webp" in page
    assert "http" not in page


def test_an_out_that_cannot_be_written_exits_with_3(raw: Path) -> None:
    blocked = raw.parent / "blocked"
    blocked.mkdir()
    (blocked / ".dataprep").write_text("a file where a folder should be")
    assert run_until_bucket(raw, "--out", str(blocked))[0] in (2, 3)


def test_explain_shows_a_stages_settings_and_columns() -> None:
    result = runner.invoke(app, ["explain", "dedup"])
    assert result.exit_code == 0
    assert "max_distance" in result.output
    assert "duplicate_of" in result.output


def test_absorb_and_keep_lists_and_the_captioner_are_remembered_settings(raw: Path) -> None:
    flags = ["--absorb", "hat", "--absorb", "pink hair", "--keep", "smile", "--caption", "none"]
    assert run_until_bucket(raw, "--trigger", "sks", *flags)[0] == 0
    job = Job.load(raw.parent / "raw-prepared")
    assert job.overrides == ('prune.absorb=["hat", "pink hair"]', 'prune.keep=["smile"]', "caption.by=none")


def test_an_endpoint_without_an_address_is_the_users_mistake(raw: Path) -> None:
    status, text = run_until_bucket(raw, "--trigger", "sks", "--caption", "endpoint")
    assert status == 2
    assert "caption: caption by endpoint needs caption.base_url and caption.model" in text
