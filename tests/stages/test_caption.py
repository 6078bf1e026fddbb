from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

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
