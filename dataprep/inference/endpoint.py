"""A vision model behind an OpenAI-compatible address: a picture and a question in, a sentence out.

Owns how often it is asked and asked again, and what is one picture's fault and what everybody's. The key
comes from the environment, is written nowhere, and goes to no other address than the one in the settings.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPMessage
from typing import IO, Any, Final

from PIL import Image

from dataprep.errors import ConfigError, MachineError, RowError

_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # HTTP states that may pass
_OF_ONE_PICTURE: Final = frozenset({400, 413, 415, 422})  # refused for what was sent, not for who asks
# Where a 400 names one of these, every picture would get it.
_OF_ALL_FIELDS: Final = frozenset({"model", "max_tokens", "temperature"})
_OF_ALL_CODES: Final = frozenset(
    {"model_not_found", "invalid_api_key", "unsupported_parameter", "unsupported_value"}
)
_LONGEST_WAIT_S: Final = 60.0
_LONGEST_QUOTE: Final = 300  # characters of what the server says
_JPEG_QUALITY: Final = 95
# Of models that reason aloud; a chat template may have taken the start.
_THOUGHTS: Final = re.compile(r"(?:^.*</think(?:ing)?>|<think(?:ing)?>.*\Z)", re.DOTALL | re.IGNORECASE)
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)|[。！？]")


class Refused(RowError):
    """The server gives no sentence for this one picture; another run may get one."""

    def __init__(self, detail: str) -> None:
        super().__init__("refused", detail, transient=True)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A moved address is an error: following it would hand the key and the picture to whoever is there."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirects)


@dataclass
class Pace:
    """At most so many requests a minute, whichever thread makes them. Evenly spaced."""

    per_minute: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _next: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self) -> None:
        """Return when the next request may be made."""
        with self._lock:
            now = self.clock()
            start = max(now, self._next)
            self._next = start + 60.0 / self.per_minute
        if start > now:
            self.sleep(start - now)


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, what, and how patiently. `sentence` may be called by several threads at once.

    Attributes:
        base_url: up to and with the version, such as http://127.0.0.1:8000/v1.
        model: its name there.
        prompt: the question.
        key_variable: environment variable with the key; sent as a bearer token where it is set.
        most_tokens: of the answer.
        retries: how often a request that failed is made again.
        timeout_s: of one request.
        pace: shared by all requests.
        sleep: waits between retries, s.
    """

    base_url: str
    model: str
    prompt: str
    key_variable: str
    most_tokens: int
    retries: int
    timeout_s: float
    pace: Pace
    sleep: Callable[[float], None] = time.sleep

    def sentence(self, image: Image.Image) -> str:
        """What the model says of a picture.

        Raises:
            ConfigError: the address, the model or the key is refused, or cannot be one.
            MachineError: no answer, also when asked again; or an answer that is none.
            Refused: none for this picture.
        """
        request = self._request(image)
        for attempt in range(self.retries + 1):
            self.pace.wait()
            answer, why, wait_s = self._asked(request)
            said = None if answer is None else self._read(answer)
            if said is not None and said.sentence:
                return said.sentence
            if said is not None and not said.may_pass:
                break
            if attempt < self.retries:
                self.sleep(min(_LONGEST_WAIT_S, max(wait_s, float(2**attempt))))
        if said is not None:
            raise Refused(said.fault)
        raise MachineError(
            f"caption: {self.base_url} gave no answer in {self.retries + 1} attempts ({why}); finished "
            'sentences are kept: run again, or set caption.by = "none"'
        )

    def key(self) -> str | None:
        """The bearer token; None where the environment has none.

        Raises:
            ConfigError: it has characters that no key has; they are not shown.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not all("!" <= letter <= "~" for letter in key):
            raise ConfigError(
                f"${self.key_variable}: a blank, a line break or a letter outside ASCII stands within the "
                "key; set it to the key alone (it is not shown here)"
            )
        return key or None

    def check(self) -> None:
        """Raise ConfigError where the address or the key cannot be one, before anything is asked."""
        if (fault := address_fault(self.base_url)) is not None:
            raise ConfigError(f"caption.base_url: {fault}")
        self.key()

    def _request(self, image: Image.Image) -> urllib.request.Request:
        self.check()
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        picture = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
        content = [
            {"type": "text", "text": self.prompt},
            {"type": "image_url", "image_url": {"url": picture}},
        ]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.most_tokens,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        if key := self.key():
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        return urllib.request.Request(url, json.dumps(body).encode(), headers)

    def _asked(self, request: urllib.request.Request) -> tuple[bytes | None, str, float]:
        """The answer, or None with the reason and how long to wait before asking again, s."""
        try:
            with _OPENER.open(request, timeout=self.timeout_s) as response:
                return response.read(), "", 0.0
        except urllib.error.HTTPError as error:
            with error:
                said = _body(error)
                reason = f"HTTP {error.code}: {self._quoted(said)}"
                if error.code not in _AGAIN:
                    raise self._refusal(error, said, reason) from error
                return None, reason, _seconds(error.headers.get("Retry-After"))
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            return None, str(getattr(error, "reason", error)) or type(error).__name__, 0.0

    def _refusal(self, error: urllib.error.HTTPError, said: str, reason: str) -> ConfigError | Refused:
        """Whose fault it is that the server says no: this picture's, or everybody's."""
        if error.code in _OF_ONE_PICTURE and not _is_of_all(said):
            return Refused(reason)
        if 300 <= error.code < 400:
            return ConfigError(
                f"caption: {self.base_url} sends on to {error.headers.get('Location')!r} ({error.code}), "
                "which is not followed: it would get the key and the pictures. If it is right, name it in "
                "caption.base_url"
            )
        return ConfigError(
            f"caption: {self.base_url} refuses: {reason}; look at caption.base_url, caption.model and the "
            f"key in ${self.key_variable}"
        )

    def _quoted(self, said: str) -> str:
        """What the server says, short, and without the key where it repeats it."""
        key = self.key()
        return (said.replace(key, "***") if key else said)[:_LONGEST_QUOTE]

    def _read(self, answer: bytes) -> _Said:
        """What an answer says.

        Raises:
            MachineError: it is none of an OpenAI-compatible endpoint.
        """
        try:
            data: Any = json.loads(answer)
            if data.get("error") and not data.get("choices"):
                return _Said("", self._quoted(json.dumps(data["error"], ensure_ascii=False)), may_pass=True)
            choice = data["choices"][0]
            message = choice["message"]
            text = _THOUGHTS.sub("", _text(message.get("content"))).strip()
            if choice.get("finish_reason") == "length":
                text = _whole_sentences(text)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise MachineError(
                f"caption: {self.base_url} answers otherwise than an OpenAI-compatible endpoint: "
                f"{self._quoted(answer[:200].decode('utf-8', 'replace'))!r}"
            ) from error
        why = message.get("refusal") or f"finish_reason {choice.get('finish_reason')!r}"
        return _Said(text, self._quoted(f"an answer without a sentence: {why}"), may_pass=False)


@dataclass(frozen=True)
class _Said:
    """An answer: its sentence, or what it says instead and whether that may pass when asked again."""

    sentence: str
    fault: str
    may_pass: bool


def _whole_sentences(text: str) -> str:
    """The sentences of an answer that was cut off at its longest; "" if not even the first is whole."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def address_fault(url: str) -> str | None:
    """What is wrong with an address, for people; None if one can be asked at it."""
    wanted = "wanted http://HOST/v1 or https://HOST/v1"
    if not url.isprintable() or " " in url:
        return f"{url!r}: a blank or a line break stands in it; {wanted}"
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # is read, and refused, when it is asked for
    except ValueError as error:
        return f"{url!r}: no address ({error}); {wanted}"
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
        return f"{url!r}: {wanted}"
    if "@" in parts.netloc:
        return f"a name and password for {parts.hostname} stand in it; a key comes from the environment"
    return None


def _is_of_all(said: str) -> bool:
    """Whether a refusal's own words, as OpenAI writes them, say that every picture would be refused."""
    try:
        error: Any = json.loads(said)["error"]
        return error.get("param") in _OF_ALL_FIELDS or error.get("code") in _OF_ALL_CODES
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _body(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(2**14).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        return "(the answer breaks off)"


def _seconds(text: str | None) -> float:
    """Seconds of a Retry-After header; 0 for none or for a date."""
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0


def _text(content: Any) -> str:  # noqa: ANN401 - from JSON
    """The text of a message's content, which is a text or a list of parts."""
    if isinstance(content, list):
        content = " ".join(part["text"] for part in content if part.get("type") == "text")
    return content.strip() if isinstance(content, str) else ""
