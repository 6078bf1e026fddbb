"""A tiny server on this machine stands for the vision model, and the real client asks it."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, TCPServer
from typing import Any

import pytest
from PIL import Image

from dataprep.errors import ConfigError, MachineError
from dataprep.inference.endpoint import Endpoint, Pace, Refused, address_fault

PICTURE = Image.new("RGB", (64, 32), (200, 30, 30))


@dataclass
class Server:
    """Answers with `answers` in turn, then with the last for ever."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""


def sentence(text: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append((self.path, dict(self.headers), body))
            status, text = state.answers[min(len(state.asked), len(state.answers)) - 1]
            self.send_response(status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

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


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    monkeypatch.delenv("NO_KEY", raising=False)
    return []


def endpoint(url: str, slept: list[float], **other: Any) -> Endpoint:
    known = {
        "model": "tiny-vision", "prompt": "What is seen?", "key_variable": "NO_KEY", "most_tokens": 20,
        "retries": 2, "timeout_s": 5.0, "pace": Pace(1e6), "sleep": slept.append,
    }  # fmt: skip
    return Endpoint(base_url=url, **(known | other))


def test_the_picture_and_the_question_are_sent_and_the_sentence_comes_back(
    server: Server, slept: list[float]
) -> None:
    server.answers = [(200, sentence(" A red flag. \n"))]
    assert endpoint(server.url, slept).sentence(PICTURE) == "A red flag."
    ((path, headers, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny-vision", 20, 0)
    question, picture = body["messages"][0]["content"]
    assert question["text"] == "What is seen?"
    data = base64.b64decode(picture["image_url"]["url"].partition("base64,")[2])
    assert Image.open(io.BytesIO(data)).size == (64, 32)


def test_the_key_comes_from_the_environment(
    server: Server, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_KEY", "secret")
    server.answers = [(200, sentence("x"))]
    asking = endpoint(server.url, slept)
    asking.sentence(PICTURE)
    assert server.asked[0][1]["Authorization"] == "Bearer secret"
    assert "secret" not in repr(asking)


def test_what_may_pass_is_asked_again_after_waiting_longer(server: Server, slept: list[float]) -> None:
    server.answers = [(503, "busy"), (500, "busy"), (200, sentence("at last"))]
    assert endpoint(server.url, slept).sentence(PICTURE) == "at last"
    assert slept == [1.0, 2.0]


def test_the_servers_own_word_on_waiting_is_heeded(server: Server, slept: list[float]) -> None:
    server.answers, server.headers = [(429, "slow down"), (200, sentence("x"))], {"Retry-After": "7"}
    endpoint(server.url, slept).sentence(PICTURE)
    assert slept == [7.0]


def test_no_answer_after_all_attempts_is_the_machines_fault(server: Server, slept: list[float]) -> None:
    server.answers = [(503, "busy")]
    with pytest.raises(MachineError, match=r"3 attempts \(HTTP 503: busy\).*run again"):
        endpoint(server.url, slept).sentence(PICTURE)
    assert len(server.asked) == 3


def test_a_refusal_is_the_users_mistake_and_is_not_asked_again(server: Server, slept: list[float]) -> None:
    server.answers = [(401, "bad key")]
    with pytest.raises(ConfigError, match=r"HTTP 401: bad key.*\$NO_KEY"):
        endpoint(server.url, slept).sentence(PICTURE)
    assert len(server.asked) == 1


@pytest.mark.parametrize("text", ["<html>", "{}", '{"choices": []}'])
def test_an_answer_of_another_kind_is_named(server: Server, slept: list[float], text: str) -> None:
    server.answers = [(200, text)]
    with pytest.raises(MachineError, match="OpenAI-compatible"):
        endpoint(server.url, slept).sentence(PICTURE)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_is_refused_for_one_picture_is_that_pictures_outcome_in_the_servers_words(
    server: Server, slept: list[float], status: int
) -> None:
    server.answers = [(status, '{"error": {"code": "content_policy_violation"}}'), (200, sentence("a hat"))]
    asking = endpoint(server.url, slept)
    with pytest.raises(Refused, match=rf"HTTP {status}.*content_policy_violation") as caught:
        asking.sentence(PICTURE)
    assert caught.value.transient
    assert asking.sentence(PICTURE) == "a hat"
    assert len(server.asked) == 2


@pytest.mark.parametrize("error", [{"param": "max_tokens"}, {"code": "model_not_found"}])
def test_what_every_picture_would_be_refused_for_stops_at_once(
    server: Server, slept: list[float], error: dict[str, str]
) -> None:
    server.answers = [(400, json.dumps({"error": error}))]
    with pytest.raises(ConfigError, match="HTTP 400"):
        endpoint(server.url, slept).sentence(PICTURE)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_what_speaks_of_the_address_or_the_key_stops_at_once(
    server: Server, slept: list[float], status: int
) -> None:
    server.answers = [(status, "no")]
    with pytest.raises(ConfigError, match=rf"HTTP {status}: no"):
        endpoint(server.url, slept).sentence(PICTURE)
    assert len(server.asked) == 1


def test_an_error_within_an_answer_is_asked_again_and_then_this_pictures_own(
    server: Server, slept: list[float]
) -> None:
    overloaded = '{"error": {"message": "overloaded"}}'
    server.answers = [(200, overloaded), (200, sentence("at last")), (200, overloaded)]
    asking = endpoint(server.url, slept)
    assert asking.sentence(PICTURE) == "at last"
    with pytest.raises(Refused, match="overloaded"):
        asking.sentence(PICTURE)
    assert len(server.asked) == 2 + 3


def test_an_answer_without_a_sentence_is_told_with_its_reason(server: Server, slept: list[float]) -> None:
    answer = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}
    server.answers = [(200, json.dumps(answer))]
    with pytest.raises(Refused, match=r"without a sentence.*content_filter"):
        endpoint(server.url, slept).sentence(PICTURE)


@pytest.mark.parametrize(
    ("said", "reason", "kept"),
    [
        ("A girl waves. She is standing in the", "length", "A girl waves."),
        ("Version 1.5 of it. Then", "length", "Version 1.5 of it."),
        ("<think>What is this? A hat.</think>\nA hat.", "stop", "A hat."),
        ("What is this? A hat.</THINK> A hat.", "stop", "A hat."),
        ("<thinking>A cat?</thinking><thinking>A hat.</thinking>A hat.", "stop", "A hat."),
        ("A girl waves", "stop", "A girl waves"),
    ],
)
def test_a_caption_is_whole_sentences_and_no_thoughts(
    server: Server, slept: list[float], said: str, reason: str, kept: str
) -> None:
    answer = {"choices": [{"message": {"content": said}, "finish_reason": reason}]}
    server.answers = [(200, json.dumps(answer))]
    assert endpoint(server.url, slept).sentence(PICTURE) == kept


@pytest.mark.parametrize("said", ["A girl who is standing in the", "<think>What is this? A hat."])
def test_an_answer_without_one_whole_sentence_is_none(server: Server, slept: list[float], said: str) -> None:
    answer = {"choices": [{"message": {"content": said}, "finish_reason": "length"}]}
    server.answers = [(200, json.dumps(answer))]
    with pytest.raises(Refused, match=r"without a sentence.*length"):
        endpoint(server.url, slept).sentence(PICTURE)


def test_an_answer_in_parts_is_read(server: Server, slept: list[float]) -> None:
    parts = [{"type": "text", "text": "A hat."}, {"type": "reasoning", "text": "hm"}]
    server.answers = [(200, json.dumps({"choices": [{"message": {"content": parts}}]}))]
    assert endpoint(server.url, slept).sentence(PICTURE) == "A hat."


def test_white_space_around_the_key_is_no_part_of_it(
    server: Server, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_KEY", " secret\r\n")
    server.answers = [(200, sentence("x"))]
    endpoint(server.url, slept).sentence(PICTURE)
    assert server.asked[0][1]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("key", ["sec\nret", "sec ret", "secret\u2019", "s\u00e9cret", "sec\x7fret"])
def test_a_key_that_cannot_be_one_is_refused_and_never_shown(
    server: Server, slept: list[float], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("NO_KEY", key)
    with pytest.raises(ConfigError, match=r"\$NO_KEY") as caught:
        endpoint(server.url, slept).sentence(PICTURE)
    assert "cret" not in str(caught.value)
    assert key not in str(caught.value)
    assert server.asked == []


def test_a_server_that_repeats_the_key_is_quoted_without_it(
    server: Server, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_KEY", "secret123")
    server.answers = [(401, "bad key Bearer secret123")]
    with pytest.raises(ConfigError, match=r"bad key Bearer \*\*\*"):
        endpoint(server.url, slept).sentence(PICTURE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_its_goal_is_named(
    server: Server, slept: list[float], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("NO_KEY", "secret")
    goal = server.url.replace("127.0.0.1", "localhost") + "/steal"
    server.answers, server.headers = [(status, "")], {"Location": goal}
    with pytest.raises(ConfigError, match=r"sends on to 'http://localhost:\d+/v1/steal'"):
        endpoint(server.url, slept).sentence(PICTURE)
    assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    "url",
    [
        "http://[bad/v1",
        "http://",
        "http://h:99999/v1",
        "http://h:abc/v1",
        "http://h /v1",
        "http://h\n/v1",
        "h/v1",
    ],
)
def test_an_address_that_is_none_is_refused(slept: list[float], url: str) -> None:
    with pytest.raises(ConfigError, match=r"caption\.base_url"):
        endpoint(url, slept).sentence(PICTURE)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    assert "pass" in (fault := address_fault("http://me:hidden@h/v1") or "")
    assert "hidden" not in fault
    assert address_fault("HTTPS://h:8000/v1") is None


def test_nobody_there_is_told_after_the_retries(slept: list[float]) -> None:
    with pytest.raises(MachineError, match="2 attempts"):
        endpoint("http://127.0.0.1:9", slept, retries=1).sentence(PICTURE)


def test_other_addresses_than_http_are_refused(slept: list[float]) -> None:
    with pytest.raises(ConfigError, match="http://"):
        endpoint("file:///etc/passwd", slept).sentence(PICTURE)


def test_requests_are_spaced_evenly() -> None:
    now, waits = [0.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pace = Pace(30, clock=lambda: now[0], sleep=sleep)
    for _ in range(3):
        pace.wait()
    now[0] += 10
    pace.wait()
    assert waits == [2.0, 2.0]


def test_an_answer_that_breaks_off_or_is_no_http_is_asked_for_again() -> None:
    broken = [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", b"hello\r\n\r\n"]
    text = sentence("a girl").encode()
    replies = [*broken, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)]

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            request = self.request.makefile("rb")
            lines = [line for line in iter(request.readline, b"\r\n")]
            length = next(int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-l"))
            request.read(length)
            self.request.sendall(replies.pop(0))

    with TCPServer(("127.0.0.1", 0), Handler) as tcp:
        threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        url = f"http://127.0.0.1:{tcp.server_address[1]}/v1"
        patient = Endpoint(url, "m", "?", "NO_KEY", 10, 2, 5, Pace(6000), sleep=lambda _: None)
        assert patient.sentence(PICTURE) == "a girl"
        tcp.shutdown()
