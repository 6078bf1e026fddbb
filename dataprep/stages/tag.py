"""Tag: measure every tag's probability on the picture that is trained. Thresholds are prune's business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from dataprep.manifest import SCORE
from dataprep.pictures.seen import NEEDS, seen
from dataprep.stage import Context, Row, Stage, TableFunction, per_batch


class Tag(Stage):
    """Scores of a WD or DeepDanbooru tagger above a low floor, so that a new threshold infers nothing."""

    name: ClassVar[str] = "tag"
    version: ClassVar[int] = 2
    needs: ClassVar[pa.Schema] = pa.schema(NEEDS)
    adds: ClassVar[pa.Schema] = pa.schema([("tag_scores", pa.list_(SCORE))])
    models: ClassVar[tuple[str, ...]] = ("tagger",)

    floor: Annotated[
        float, Field(ge=0, le=1, description="probability from which scores are kept in the manifest")
    ] = 0.05

    def open(self, context: Context) -> TableFunction:
        """Load the tagger once."""
        from dataprep.inference.tagger import open_tagger
        from dataprep.models import facts

        model = context.models["tagger"]
        tagger = open_tagger(model.path, facts(model), context.device, context.threads)

        def load(row: Row) -> NDArray[np.float32]:
            return tagger.prepare(seen(context, row, tagger.size_px))

        def infer(pictures: list[NDArray[np.float32]]) -> list[Mapping[str, Any]]:
            labels = tagger.labels
            return [
                {"tag_scores": scored(row, labels.tags, labels.categories, self.floor)}
                for row in tagger.scores(pictures)
            ]

        return per_batch(self, load, infer)


def scored(
    scores: NDArray[np.float32], tags: tuple[str, ...], categories: tuple[str, ...], floor: float
) -> list[dict[str, Any]]:
    """SCORE structs of all tags with at least `floor`, highest score first, ties in the model's order."""
    order = np.argsort(-scores, kind="stable")
    return [
        {"tag": tags[i], "score": float(scores[i]), "category": categories[i]}
        for i in order[: int((scores >= floor).sum())]
    ]
