from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from dataprep.errors import MachineError
from dataprep.stage import Context
from dataprep.stages.caption import Caption
from tests.inference.test_captioner import write_coca

Make = Callable[..., dict[str, Any]]
Tabulate = Callable[[list[dict[str, Any]]], pa.Table]


@pytest.fixture
def address() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": "A hat."}}]}).encode())

        def log_message(self, *_: Any) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()
    http.server_close()
    thread.join()


def test_nobody_writes_sentences_and_no_picture_is_decoded_unless_asked(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([placed_row("a.png")])
    (context.raw / "a.png").unlink()
    result = Caption().open(context)(table)
    assert result["sentence"].to_pylist() == [None]
    assert result["error"].to_pylist() == [None]


def test_an_address_writes_a_sentence_and_a_damaged_picture_marks_only_itself(
    context: Context, placed_row: Make, as_table: Tabulate, address: str
) -> None:
    table = as_table([placed_row("a.png"), placed_row("bb.png")])
    (context.raw / "bb.png").unlink()
    result = Caption(by="endpoint", base_url=address, model="m").open(context)(table)
    assert result["sentence"].to_pylist() == ["A hat.", None]
    assert result["error"][1].as_py().startswith("io")


@dataclass
class Fussy:
    """A server that answers its requests with these states, then with 200; and how many it had."""

    states: list[int] = field(default_factory=list)
    asked: int = 0
    url: str = ""


@pytest.fixture
def fussy() -> Iterator[Fussy]:
    state = Fussy()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status = state.states[state.asked] if state.asked < len(state.states) else 200
            state.asked += 1
            self.send_response(status)
            self.end_headers()
            text = {"choices": [{"message": {"content": f"Hat {state.asked}."}}]}
            self.wfile.write(json.dumps(text if status == 200 else {"error": "unsafe"}).encode())

        def log_message(self, *_: Any) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/v1"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_picture_that_the_server_refuses_stays_is_told_and_is_asked_about_again(
    context: Context,
    placed_row: Make,
    as_table: Tabulate,
    fussy: Fussy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fussy.states = [200, 400, 200]
    table = as_table([placed_row(f"{name}.png") for name in "abc"])
    stage = Caption(by="endpoint", base_url=fussy.url, model="m", per_minute=6000)
    result = stage.open(context)(table)
    assert result["sentence"].to_pylist() == ["Hat 1.", None, "Hat 3."]
    assert result["error"].to_pylist() == [None] * 3
    assert result["transient"].to_pylist() == [False, True, False]
    assert "b.png stays in training without a sentence" in caplog.text
    assert "unsafe" in caplog.text


def test_answers_before_a_failure_are_not_asked_for_again(
    context: Context, placed_row: Make, as_table: Tabulate, fussy: Fussy
) -> None:
    fussy.states = [200, 400, 200, 503]
    table = as_table([placed_row(f"{name}.png", pixels_key=name) for name in "abcd"])
    stage = Caption(by="endpoint", base_url=fussy.url, model="m", per_minute=6000, retries=0)
    with pytest.raises(MachineError, match="HTTP 503"):
        stage.open(context)(table)
    assert fussy.asked == 4
    result = stage.open(context)(table)
    assert result["sentence"].to_pylist() == ["Hat 1.", "Hat 5.", "Hat 3.", "Hat 6."]
    assert fussy.asked == 6


@pytest.mark.parametrize("url", ["http://[bad/v1", "ftp://h/v1"])
def test_an_address_that_is_none_is_refused_with_the_settings(url: str) -> None:
    with pytest.raises(ValidationError, match=r"caption\.base_url"):
        Caption(by="endpoint", base_url=url, model="m")


def test_coca_writes_a_sentence(
    context: Context, placed_row: Make, as_table: Tabulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAPREP_CACHE", str(tmp_path / "cache"))
    stage = Caption(by="coca", model=str(write_coca(tmp_path / "coca")), max_tokens=4)
    result = stage.open(context)(as_table([placed_row("a.png")]))
    assert result["sentence"][0].as_py()
    assert stage.key() != Caption().key()


def test_an_address_needs_a_model() -> None:
    with pytest.raises(ValidationError, match=r"caption\.model"):
        Caption(by="endpoint", base_url="http://127.0.0.1/v1")


def test_patience_is_no_part_of_the_key_and_the_question_is() -> None:
    known = {"by": "endpoint", "base_url": "http://127.0.0.1/v1", "model": "m"}
    key = Caption(**known).key()
    assert Caption(**known, retries=9, per_minute=1, timeout_s=3, key_variable="OTHER").key() == key
    assert Caption(**known, prompt="?").key() != key
    assert Caption(prompt="?").key() == Caption().key()
