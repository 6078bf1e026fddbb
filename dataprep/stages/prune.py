"""Prune: decide which tags go into the caption, which the trigger word absorbs, and why. Infers nothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from dataprep.curate.captions import tag_key
from dataprep.digest import digest, file_sha256
from dataprep.manifest import BOX, SCORE, TAG
from dataprep.stage import Context, Stage, TableFunction
from dataprep.tags.absorb import Policy
from dataprep.tags.aliases import canonical
from dataprep.tags.assemble import says

Purpose = Literal["character", "style", "outfit", "pose", "object"]
Share = Annotated[float, Field(ge=0, le=1)]


class Prune(Stage):
    """Tags and caption of every picture, with the fate of every tag."""

    name: ClassVar[str] = "prune"
    version: ClassVar[int] = 8
    scope: ClassVar[Literal["source", "row", "table", "sink"]] = "table"
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("role", pa.string()),
            ("state", pa.string()),
            ("region", BOX),
            ("tag_scores", pa.list_(SCORE)),
            ("clip_scores", pa.list_(SCORE)),
            ("sentence", pa.string()),
            ("hand_added", pa.list_(pa.string())),
            ("hand_removed", pa.list_(pa.string())),
            ("hand_order", pa.list_(pa.string())),
            ("hand_caption", pa.string()),
            ("hand_history", pa.string()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("tags", pa.list_(TAG)),
            ("caption", pa.string()),
            ("caption_tokens", pa.int32()),  # of the CLIP tokenizer, without start and end
            ("clip_agrees", pa.list_(pa.string())),  # the tagger's kept tags that CLIP sees too
            ("clip_disagrees", pa.list_(pa.string())),
        ]
    )
    models: ClassVar[tuple[str, ...]] = ("tagger",)  # whose thresholds hold

    trigger: Annotated[str | None, Field(description="trigger word, first in every training caption")] = None
    class_word: Annotated[str | None, Field(description="what the subject is one of; after the trigger")] = (
        None
    )
    purpose: Annotated[Purpose, Field(description="what is learned; decides which tags may be absorbed")] = (
        "character"
    )
    general_threshold: Annotated[
        float | None, Field(ge=0, le=1, description="probability of general tags; default: the model's card")
    ] = None
    character_threshold: Annotated[
        float | None,
        Field(ge=0, le=1, description="probability of character tags; default: the model's card"),
    ] = None
    clip_threshold: Annotated[
        float, Field(ge=0, le=1, description="probability from which a concept of CLIP's becomes a tag")
    ] = 0.9
    absorbing: Annotated[bool, Field(description="whether the trigger absorbs anything at all")] = True
    absorb_from: Annotated[
        float,
        Field(ge=0, le=1, description="share of pictures, Wilson lower bound, that makes a tag constant"),
    ] = 0.5
    bleed_from: Annotated[
        float,
        Field(
            ge=0, le=1, description="the same, from which a constant that is not the subject's is reported"
        ),
    ] = 0.6
    fewest: Annotated[int, Field(ge=1, description="single-subject pictures needed to absorb anything")] = 8
    absorb: Annotated[
        tuple[str, ...],
        Field(
            description="tags to absorb whatever the counts say, also those of captions beside raw pictures; "
            "none of keep's, and where one was added by hand to a prepared caption, it stays"
        ),
    ] = ()
    keep: Annotated[
        tuple[str, ...],
        Field(
            description="tags never to absorb, overlap or blacklist; a score under the threshold stays "
            "unseen, the trigger and the class word stand once, and what was removed by hand stays so"
        ),
    ] = ()
    blacklist: Annotated[
        tuple[str, ...],
        Field(description="tags that no caption gets, * and ? are wildcards; added to the built-in"),
    ] = ()
    reg_captions: Annotated[
        Literal["matched", "tags", "class"],
        Field(
            description="captions of class images. matched: class word and tags, but of no sort that the "
            "trigger took over (where it absorbed pink hair, no hair colour), lest captions without such a "
            "tag mean the subject; tags: all of them; class: the class word alone"
        ),
    ] = "matched"
    max_tokens: Annotated[
        Literal[75, 150, 225], Field(description="token budget of a caption; longer ones are reported")
    ] = 75

    @field_validator("absorb", "keep")
    @classmethod
    def _names_in_use(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(canonical(tag) for tag in tags)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wanted = {tag_key(tag) for tag in self.absorb}
        both = [tag for tag in self.keep if tag_key(tag) in wanted]
        if both:
            raise ValueError(f"{both[0]!r} is in both absorb and keep; take it out of one of them")
        if self.trigger and self.class_word and says(self.class_word, self.trigger):
            raise ValueError(
                f"class_word {self.class_word!r} holds the trigger word {self.trigger!r}, which class images "
                f"must never have; the class word follows the trigger by itself: name the class alone"
            )
        return self

    def policy(self) -> Policy:
        """The settings that decide about absorbing."""
        return Policy(
            purpose=self.purpose,
            share_from=self.absorb_from,
            bleed_from=self.bleed_from,
            fewest=self.fewest,
            absorb=self.absorb,
            keep=self.keep,
        )

    def key(self) -> str:
        """As every stage's, and of the file that holds the models' own thresholds."""
        from dataprep.models import assets

        return digest(super().key(), file_sha256(assets() / "pins.toml"))

    def open(self, context: Context) -> TableFunction:
        """Read the tagger's thresholds; no model is loaded."""
        from dataprep.tags.captioning import captioned
        from dataprep.tags.thresholds import model_thresholds

        thresholds = model_thresholds(context.models.get("tagger")).chosen(
            self.general_threshold, self.character_threshold, self.purpose
        )

        def apply(table: pa.Table) -> pa.Table:
            return captioned(table, self, thresholds)

        return apply
