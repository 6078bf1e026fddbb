"""Caption: a sentence per picture, by CoCa or a vision model behind an address. Off unless asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from dataprep.digest import digest
from dataprep.errors import DataprepError
from dataprep.pictures.seen import NEEDS, seen
from dataprep.stage import TRANSIENT, Context, Row, Stage, TableFunction, per_batch, per_row

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)
SUFFIX = ".sentence.txt"  # of the blobs
COCA = "coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k"


class Caption(Stage):
    """A sentence per picture, kept like every result; `prune` puts it behind the tags."""

    name: ClassVar[str] = "caption"
    needs: ClassVar[pa.Schema] = pa.schema(NEEDS)
    adds: ClassVar[pa.Schema] = pa.schema([("sentence", pa.string())])

    by: Annotated[
        Literal["none", "coca", "endpoint"],
        Field(description="who writes it: nobody, open_clip's CoCa, or an OpenAI-compatible address"),
    ] = "none"
    model: Annotated[
        str | None,
        Field(description=f"coca: as models.clip, default {COCA}; endpoint: the model's name there"),
    ] = None
    base_url: Annotated[
        str | None, Field(description="endpoint: its address with version, such as http://127.0.0.1:8000/v1")
    ] = None
    prompt: Annotated[str, Field(description="endpoint: what it is asked about each picture")] = (
        "Describe this picture in one plain sentence of at most 25 words: what is seen, not how good it is."
    )
    key_variable: Annotated[
        str, Field(description="endpoint: environment variable that holds the key; settings never do")
    ] = "DATAPREP_CAPTION_KEY"
    max_tokens: Annotated[int, Field(ge=1, le=1000, description="of a sentence")] = 60
    per_minute: Annotated[float, Field(gt=0, le=6000, description="endpoint: requests a minute at most")] = 60
    retries: Annotated[int, Field(ge=0, le=20, description="endpoint: of a request that failed")] = 4
    timeout_s: Annotated[float, Field(gt=0, le=3600, description="endpoint: of one request, seconds")] = 120

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.by == "endpoint" and not (self.base_url and self.model):
            raise ValueError("caption by endpoint needs caption.base_url and caption.model")
        if self.by == "endpoint":
            from dataprep.inference.endpoint import address_fault

            if (fault := address_fault(self.base_url or "")) is not None:
                raise ValueError(f"caption.base_url: {fault}")
        return self

    def key(self) -> str:
        """Of what a sentence depends on: who writes it, asked what. Patience and keys change nothing."""
        asked: list[str | int | None] = []
        if self.by == "coca":
            from dataprep.models import find

            asked = [find("clip", self.model or COCA).sha256, self.max_tokens]
        elif self.by == "endpoint":
            asked = [self.base_url, self.model, self.prompt, self.max_tokens]
        return digest(self.name, self.version, self.by, asked, str(self.adds))

    def open(self, context: Context) -> TableFunction:
        """Load the model, or make ready to ask the address, once."""
        opened: Mapping[str, Callable[[Context], TableFunction]] = {
            "none": lambda _: per_row(self, lambda _: {"sentence": None}),
            "coca": self._coca,
            "endpoint": self._endpoint,
        }
        return opened[self.by](context)

    def _coca(self, context: Context) -> TableFunction:
        from dataprep.inference.captioner import Captioner
        from dataprep.inference.clip import open_clip_model
        from dataprep.inference.pretrained import architecture_of
        from dataprep.models import find

        model = find("clip", self.model or COCA)
        architecture = architecture_of(model.name, model.path)
        captioner = Captioner(open_clip_model(model.path, context.device, architecture), self.max_tokens)

        def infer(pictures: list[Any]) -> list[Mapping[str, Any]]:
            return [{"sentence": text or None} for text in captioner.sentences(pictures)]

        return per_batch(self, lambda row: captioner.prepare(seen(context, row)), infer)

    def _endpoint(self, context: Context) -> TableFunction:
        from dataprep.inference.endpoint import Endpoint, Pace

        endpoint = Endpoint(
            base_url=self.base_url or "",
            model=self.model or "",
            prompt=self.prompt,
            key_variable=self.key_variable,
            most_tokens=self.max_tokens,
            retries=self.retries,
            timeout_s=self.timeout_s,
            pace=Pace(self.per_minute),
        )
        endpoint.check()
        key = self.key()

        def ask(table: pa.Table) -> pa.Table:
            batch = _Batch(endpoint.sentence, key, context)
            try:
                result = per_row(self, batch.ask)(table)
            except DataprepError:
                batch.keep()
                raise
            again = [row_id in batch.refused for row_id in table["id"].to_pylist()]
            place = result.schema.get_field_index(TRANSIENT.name)
            transient = [a or b for a, b in zip(again, result[TRANSIENT.name].to_pylist(), strict=True)]
            return result.set_column(place, TRANSIENT, pa.array(transient, TRANSIENT.type))

        return ask


class _Batch:
    """Sentences for some rows. A batch that ends early leaves its answers in the store: they may be paid."""

    def __init__(self, ask: Callable[[Image.Image], str], key: str, context: Context) -> None:
        self._ask = ask
        self._key = key
        self._context = context
        self._answers: dict[str, str] = {}  # key of the question -> sentence
        self.refused: set[Any] = set()  # ids

    def ask(self, row: Row) -> Mapping[str, Any]:
        """A row's sentence. None where the server refuses the picture, which stays, and is asked about again.

        Raises:
            RowError: the picture cannot be decoded.
            ConfigError, MachineError: nothing can be asked.
        """
        from dataprep.inference.endpoint import Refused

        key = digest(self._key, *(row[name] for name, _ in NEEDS))
        kept = self._context.blobs.path(key, SUFFIX)
        if kept.is_file():
            return {"sentence": kept.read_text(encoding="utf-8")}
        picture = seen(self._context, row)
        try:
            self._answers[key] = self._ask(picture)
        except Refused as error:
            self.refused.add(row["id"])
            log.warning(
                "caption: %s stays in training without a sentence; the next run asks again: %s",
                row["path"],
                error.detail,
            )
            return {"sentence": None}
        return {"sentence": self._answers[key]}

    def keep(self) -> None:
        """Put what was answered into the store, where the next run finds it. Raises DiskError."""
        for key, sentence in self._answers.items():

            def write(path: Path, text: str = sentence) -> None:
                path.write_text(text, encoding="utf-8")

            self._context.blobs.put(key, SUFFIX, write)
