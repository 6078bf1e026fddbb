"""Clip: measure how well concepts' words fit the picture, and give the tagger a second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator

from dataprep.curate.captions import unique
from dataprep.digest import digest
from dataprep.manifest import SCORE
from dataprep.pictures.seen import NEEDS, seen
from dataprep.stage import Context, Row, Stage, TableFunction, per_batch
from dataprep.tags.concepts import CONCEPTS, NULL_PROMPTS, TEMPLATES, read_words
from dataprep.tags.vocabulary import GENERAL

if TYPE_CHECKING:
    from dataprep.models import Model

CONCEPT, OPINION = "concept", "opinion"  # category of a score: asked for, or about one of the tagger's tags


class Clip(Stage):
    """Probabilities of concepts, and of the tags that the tagger sees, by an open_clip model."""

    name: ClassVar[str] = "clip"
    version: ClassVar[int] = 2
    needs: ClassVar[pa.Schema] = pa.schema([*NEEDS, ("tag_scores", pa.list_(SCORE))])
    adds: ClassVar[pa.Schema] = pa.schema(
        [("clip_scores", pa.list_(SCORE)), ("clip_score_kind", pa.string())]
    )
    models: ClassVar[tuple[str, ...]] = ("clip", "tagger")  # the tagger's for its list of tags

    concepts: Annotated[
        tuple[str, ...] | None,
        Field(description="words to look for; one that is found becomes a tag; default: the model's"),
    ] = None
    vocabulary: Annotated[
        str | None,
        Field(
            description="more words to look for: a file with one a line or a selected_tags.csv (its general "
            "tags), relative to the settings file that names it, or `tagger`: all its general tags; costs "
            "minutes once"
        ),
    ] = None
    templates: Annotated[
        tuple[str, ...] | None,
        Field(
            min_length=1,
            description="phrases around a concept, {} is its place, averaged; default: the model's",
        ),
    ] = None
    null_prompts: Annotated[
        tuple[str, ...] | None,
        Field(
            min_length=1,
            description="phrases that say nothing, which a concept must beat; default: the model's",
        ),
    ] = None
    floor: Annotated[float, Field(ge=0, le=1, description="probability from which concepts are kept")] = 0.5
    opinions: Annotated[bool, Field(description="also score the tags that the tagger found")] = True
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(description="of the picture tower; auto: bf16 where a probe shows that it pays, else fp32"),
    ] = "auto"

    @field_validator("templates")
    @classmethod
    def _with_a_place(cls, templates: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for template in templates or ():
            if "{}" not in template:
                raise ValueError(
                    f"{template!r} has no {{}}, the concept's place: every concept would score alike"
                )
        return templates

    def key(self) -> str:
        """As every stage's, and of what pins.toml says of the models' own words."""
        from dataprep.models import pins

        known = {name: dict(pin.facts) for name, pin in pins("clip").items()}
        file = None if self.vocabulary in (None, "tagger") else self._words_of(None)
        # Where the words are is nothing that a result depends on.
        place = {} if file is None else {"vocabulary": "file"}
        return digest(super(Clip, self.model_copy(update=place)).key(), known, file)

    def _words_of(self, tagger: Model | None) -> tuple[str, ...]:
        """The words of `vocabulary`."""
        from dataprep.inference.tagger import read_labels

        if self.vocabulary == "tagger":
            labels = read_labels(tagger.path) if tagger else None
            pairs = zip(labels.tags, labels.categories, strict=True) if labels else ()
            return tuple(tag for tag, category in pairs if category == GENERAL)
        return read_words(Path(self.vocabulary)) if self.vocabulary else ()

    def open(self, context: Context) -> TableFunction:
        """Load the model once; words are encoded when they are first needed and kept."""
        from dataprep.inference.clip import Concepts, open_clip_model
        from dataprep.inference.pretrained import architecture_of
        from dataprep.model_files import cache_folder
        from dataprep.models import facts

        model = context.models["clip"]
        architecture = architecture_of(model.name, model.path)
        clip = open_clip_model(model.path, context.device, architecture, self.precision)
        known = facts(model)
        concepts = self.concepts if self.concepts is not None else tuple(known.get("concepts", CONCEPTS))
        concepts = unique([*concepts, *self._words_of(context.models.get("tagger"))])
        templates = self.templates or tuple(known.get("templates", TEMPLATES))
        nulls = self.null_prompts or tuple(known.get("null_prompts", NULL_PROMPTS))
        words = Concepts(clip, model.sha256, cache_folder() / "clip", templates, nulls)

        def load(row: Row) -> tuple[NDArray[np.float32], tuple[str, ...]]:
            return clip.prepare(seen(context, row)), self.opinion_tags(row)

        def infer(inputs: list[tuple[NDArray[np.float32], tuple[str, ...]]]) -> list[Mapping[str, Any]]:
            images = clip.encode_images([picture for picture, _ in inputs])
            wanted = tuple(dict.fromkeys([*concepts, *(tag for _, tags in inputs for tag in tags)]))
            scores = words.probabilities(images, wanted) if wanted else np.zeros((len(inputs), 0), np.float32)
            column = {word: i for i, word in enumerate(wanted)}
            return [
                {"clip_scores": self.scored(row, column, concepts, tags), "clip_score_kind": clip.score_kind}
                for row, (_, tags) in zip(scores, inputs, strict=True)
            ]

        return per_batch(self, load, infer)

    def opinion_tags(self, row: Row) -> tuple[str, ...]:
        """The tags of a row that get a second opinion."""
        if not self.opinions:
            return ()
        return tuple(s["tag"] for s in row["tag_scores"] or () if s["category"] == "general")

    def scored(
        self,
        scores: NDArray[np.float32],
        column: Mapping[str, int],
        concepts: tuple[str, ...],
        tags: tuple[str, ...],
    ) -> list[dict[str, Any]]:
        """SCORE structs of one picture: concepts from the floor, and all tags of the tagger; best first."""
        found = {tag: OPINION for tag in tags}
        found |= {word: CONCEPT for word in concepts if word in found or scores[column[word]] >= self.floor}
        every = [{"tag": t, "score": float(scores[column[t]]), "category": c} for t, c in found.items()]
        return sorted(every, key=lambda score: -score["score"])
