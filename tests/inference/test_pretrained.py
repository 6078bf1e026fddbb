from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.inference.pretrained import architecture_of, layouts, pretrained
from dataprep.inference.torch_compat import prepare_torch


def test_every_pretrained_tag_of_open_clip_is_looked_for_as_safetensors() -> None:
    prepare_torch()
    import open_clip

    for architecture, tag in open_clip.list_pretrained():
        found = pretrained(f"{architecture}/{tag}")
        assert found is not None, (architecture, tag)
        assert found.repo.count("/") == 1
        for files in found.layouts:
            assert files[-1].endswith(".safetensors")


def test_a_tag_that_names_a_pickle_means_the_safe_file_beside_it_first() -> None:
    found = pretrained("ViTamin-L/datacomp1b")
    assert found is not None
    assert found.repo == "jienengchen/ViTamin-L-224px"
    assert [files for files in found.layouts] == [
        ("pytorch_model.safetensors",), ("open_clip_model.safetensors",), ("model.safetensors",)
    ]  # fmt: skip
    assert layouts("") == (("open_clip_config.json", "open_clip_model.safetensors"),)


@pytest.mark.parametrize("name", ["someone/repository", "ViT-B-32", "ViT-B-32/no-such-tag"])
def test_what_is_no_tag_is_none(name: str) -> None:
    assert pretrained(name) is None


def test_weights_alone_are_of_the_architecture_that_the_name_says(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"")
    assert architecture_of(f"ViT-B-32@{file}", file) == "ViT-B-32"
    assert architecture_of("ViTamin-L/datacomp1b", file) == "ViTamin-L"
    assert architecture_of("ViT-B-32/openai", tmp_path) is None
