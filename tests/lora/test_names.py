from __future__ import annotations

import pytest

from dataprep.lora.names import BLOCKS, block_of, block_values, sgm_path


def test_there_are_25_blocks_in_kohyas_order() -> None:
    assert len(BLOCKS) == 25
    assert (BLOCKS[0], BLOCKS[12], BLOCKS[24]) == ("IN00", "MID", "OUT11")


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("conv_in", "IN00"),
        ("down_blocks.0.resnets.0.conv1", "IN01"),
        ("down_blocks.0.downsamplers.0.conv", "IN03"),
        ("down_blocks.3.resnets.1.conv2", "IN11"),
        ("mid_block.attentions.0.proj_in", "MID"),
        ("up_blocks.0.resnets.0.conv1", "OUT00"),
        ("up_blocks.0.upsamplers.0.conv", "OUT02"),
        ("up_blocks.3.attentions.2.proj_out", "OUT11"),
        ("conv_out", None),
        ("time_embedding.linear_1", None),
    ],
)
def test_modules_belong_to_their_block(module: str, block: str | None) -> None:
    assert block_of(module) == block


def test_values_come_by_name_or_as_25_numbers() -> None:
    assert block_values({"MID": 4}, "block_ranks") == {"MID": 4}
    assert block_values(",".join(["2"] * 25), "block_rates") == dict.fromkeys(BLOCKS, 2.0)
    assert block_values(None, "block_rates") is None
    with pytest.raises(ValueError, match="unknown block"):
        block_values({"IN12": 1}, "block_ranks")


def test_sgm_names_of_the_places_that_differ() -> None:
    pairs = {
        "down_blocks.1.attentions.0.proj_in": "input_blocks.4.1.proj_in",
        "down_blocks.0.resnets.1.conv2": "input_blocks.2.0.out_layers.3",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
        "mid_block.resnets.1.time_emb_proj": "middle_block.2.emb_layers.1",
        "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
        "up_blocks.2.resnets.0.conv_shortcut": "output_blocks.6.0.skip_connection",
    }
    assert {name: sgm_path(name) for name in pairs} == pairs
