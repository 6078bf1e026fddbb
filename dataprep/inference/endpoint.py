"""A vision model behind an OpenAI-compatible address: a picture and a question in, a sentence out.

Owns how often it is asked and asked again. The key comes from the environment and is written nowhere.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from PIL import Image

from dataprep.errors import ConfigError, MachineError

_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # HTTP states that may pass
_LONGEST_WAIT_S: Final = 60.0
_JPEG_QUALITY: Final = 95


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
            ConfigError: the address, the model or the key is refused.
            MachineError: no answer, also when asked again; or an answer that is none.
        """
        request = self._request(image)
        for attempt in range(self.retries + 1):
            self.pace.wait()
            answer, why, wait_s = self._asked(request)
            if answer is not None:
                return _content(answer, self.base_url)
            if attempt < self.retries:
                self.sleep(min(_LONGEST_WAIT_S, max(wait_s, float(2**attempt))))
        raise MachineError(
            f"caption: {self.base_url} gave no answer in {self.retries + 1} attempts ({why}); finished "
            'sentences are kept: run again, or set caption.by = "none"'
        )

    def _request(self, image: Image.Image) -> urllib.request.Request:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"caption.base_url: {self.base_url!r}: wanted http://... or https://...")
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
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        return urllib.request.Request(url, json.dumps(body).encode(), headers)

    def _asked(self, request: urllib.request.Request) -> tuple[bytes | None, str, float]:
        """The answer, or None with the reason and how long to wait before asking again, s."""
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                return response.read(), "", 0.0
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(300).decode("utf-8", "replace").strip()
                reason = f"HTTP {error.code}: {said}"
                if error.code not in _AGAIN:
                    raise ConfigError(
                        f"caption: {self.base_url} refuses: {reason}; look at caption.base_url, "
                        f"caption.model and the key in ${self.key_variable}"
                    ) from error
                return None, reason, _seconds(error.headers.get("Retry-After"))
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            return None, str(getattr(error, "reason", error)) or type(error).__name__, 0.0


def _seconds(text: str | None) -> float:
    """Seconds of a Retry-After header; 0 for none or for a date."""
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0


def _content(answer: bytes, url: str) -> str:
    try:
        data: Any = json.loads(answer)
        text = data["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise MachineError(
            f"caption: {url} answers otherwise than an OpenAI-compatible endpoint: {answer[:200]!r}"
        ) from error
    return text.strip() if isinstance(text, str) else ""
