from __future__ import annotations

from typing import Any

import pytest

from dataprep.errors import ConfigError
from dataprep.export.agreement import check_agreement
from dataprep.stages.export import Export
from dataprep.stages.latents import Latents
from dataprep.stages.texts import Texts


def check(texts: dict[str, Any], train: dict[str, Any]) -> None:
    given = {"cache": True, "family": "sdxl", **texts}
    export = Export.model_validate({"family": "sdxl", "train": train})
    check_agreement([Latents(family="sdxl"), Texts.model_validate(given), export])


def test_stages_of_two_families_are_refused() -> None:
    check_agreement([Latents(family="sdxl"), Export(family="sdxl")])
    with pytest.raises(ConfigError, match=r"latents.family = 'sdxl', export.family = 'sd1'.*one family"):
        check_agreement([Latents(family="sdxl"), Export(family="sd1")])


@pytest.mark.parametrize(
    "train",
    [{"shuffle_caption": True}, {"caption_dropout_rate": 0.1}, {"caption_tag_dropout_rate": 0.1}],
)
def test_captions_that_vary_are_refused_beside_cached_text_encoder_outputs(train: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"texts.cache = true forbids"):
        check({}, train)
    check({"cache": False}, train)
    check({}, dict.fromkeys(train, 0) if "rate" in str(train) else {"shuffle_caption": False})


def test_a_token_length_other_than_the_cached_outputs_is_refused() -> None:
    check({"max_tokens": 150}, {"max_token_length": 150})
    with pytest.raises(ConfigError, match=r"max_token_length = 225, but texts.max_tokens = 150"):
        check({"max_tokens": 150}, {"max_token_length": 225})


def test_masks_that_outputs_of_t5_were_not_made_with_are_refused() -> None:
    texts = Texts(cache=True, family="flux")
    check_agreement([Latents(family="flux"), texts, Export(family="flux")])
    masked = Export.model_validate({"family": "flux", "train": {"apply_t5_attn_mask": True}})
    with pytest.raises(ConfigError, match=r"apply_t5_attn_mask.*compute them anew"):
        check_agreement([Latents(family="flux"), texts, masked])
