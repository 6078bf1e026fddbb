from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dataprep.errors import ModelError
from dataprep.inference.base import Base, load_base
from dataprep.inference.lora import applied, delta


@pytest.fixture
def base(base_path: Path) -> Base:
    return load_base(base_path, "cpu", torch.float32)


def test_changes_follow_their_formulas() -> None:
    a, b, c, d = (
        torch.randn(shape, generator=torch.Generator().manual_seed(i))
        for i, shape in enumerate([(2, 5), (6, 2), (2, 5), (6, 2)])
    )
    alpha = torch.tensor(1.0)
    lora = {"lora_down.weight": a, "lora_up.weight": b, "alpha": alpha}
    torch.testing.assert_close(delta(lora), 0.5 * b @ a)
    torch.testing.assert_close(delta({k: v for k, v in lora.items() if k != "alpha"}), b @ a)
    loha = {"hada_w1_a": b, "hada_w1_b": a, "hada_w2_a": d, "hada_w2_b": c, "alpha": alpha}
    torch.testing.assert_close(delta(loha), 0.5 * (b @ a) * (d @ c))
    # A Kronecker product of whole factors has no rank to divide by; alpha is then not used.
    torch.testing.assert_close(delta({"lokr_w1": a, "lokr_w2": b, "alpha": alpha}), torch.kron(a, b))
    torch.testing.assert_close(
        delta({"lokr_w1": a, "lokr_w2_a": d, "lokr_w2_b": c, "alpha": alpha}), 0.5 * torch.kron(a, d @ c)
    )


def test_foreign_and_unknown_files_are_refused(base: Base, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    cases = {
        "another family": {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(2, 2)},
        "kohya's way of naming": {"unet.mid_block.lora_A.weight": torch.ones(2, 2)},
        "not lora, loha or lokr": {"lora_te_text_model_encoder_layers_0_mlp_fc1.diff": torch.ones(2, 2)},
    }
    for message, tensors in cases.items():
        save_file(tensors, path)
        with pytest.raises(ModelError, match=message), applied(path, base):
            pass
    path.write_bytes(b"no")
    with pytest.raises(ModelError, match="cannot be read"), applied(path, base):
        pass
