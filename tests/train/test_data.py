from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared, reg_repeats, seed_of, size_conditions


def rewrite(path: Path, **arrays: object) -> None:
    with np.load(path, allow_pickle=False) as file:
        found = dict(file)
    np.savez(path, **(found | arrays))


def first_latents(prepared: Path) -> Path:
    return next((prepared / "img").rglob("000_*.npz"))


@pytest.mark.parametrize(
    ("train", "reg", "planned"),
    [
        (24, [1] * 5, [5, 5, 5, 5, 4]),  # 8 images x 3
        (4, [1] * 7, [1, 1, 1, 1, 0, 0, 0]),
        (10, [3, 3], [5, 5]),  # 3 + 3, then one more each in turn
        (5, [], []),
        (3, [5], [5]),
    ],
)
def test_reg_images_are_repeated_until_they_match_the_training_images(
    train: int, reg: list[int], planned: list[int]
) -> None:
    assert reg_repeats(train, reg) == planned


def test_every_epoch_has_each_image_its_repeats_in_batches_of_one_bucket(prepared: Path) -> None:
    data = Prepared(prepared, TrainConfig(batch_size=3))
    assert (data.train_total, data.reg_total) == (10, 10)
    for epoch in range(3):
        batches = data.order(epoch)
        assert len(batches) == data.batches_per_epoch
        counts = Counter(number for batch in batches for number in batch)
        assert counts == {i: image.repeats for i, image in enumerate(data.images)}
        assert all(len({data.images[i].bucket for i in batch}) == 1 for batch in batches)
        assert max(map(len, batches)) == 3
    assert data.order(0) != data.order(1)
    assert data.order(0) == Prepared(prepared, TrainConfig(batch_size=3)).order(0)


def test_a_batch_holds_its_images_latents_weights_and_sizes(prepared: Path) -> None:
    data = Prepared(prepared, TrainConfig(batch_size=2, prior_loss_weight=0.3))
    data.to("cpu", 0.5)
    batch = data.batch([0, 5], torch.Generator().manual_seed(0))
    with np.load(first_latents(prepared)) as file:
        torch.testing.assert_close(batch.latents[0], torch.from_numpy(file["latents"]) * 0.5)
    assert batch.weights.tolist() == pytest.approx([1.0, 0.3])
    assert batch.time_ids.shape == (2, 6)


def test_flipping_takes_the_cached_mirror_half_of_the_time(prepared: Path) -> None:
    data = Prepared(prepared, TrainConfig(flip=True))
    draw = torch.Generator().manual_seed(0)
    plain = data.latents[(64, 64)][0]
    seen = [data.batch([0], draw).latents[0] for _ in range(100)]
    mirrored = sum(bool(torch.equal(found, plain.flip(-1))) for found in seen)
    assert 30 < mirrored < 70
    assert all(torch.equal(found, plain) or torch.equal(found, plain.flip(-1)) for found in seen)


def test_masks_come_at_latent_size_and_only_when_asked(tmp_path: Path, base_path: Path) -> None:
    from tiny import prepare_folder

    prepared = prepare_folder(tmp_path, base_path, mask=True)
    rewrite(
        first_latents(prepared), alpha_mask=np.tile(np.repeat([0.0, 1.0], 32), (64, 1)).astype(np.float32)
    )
    draw = torch.Generator().manual_seed(0)
    assert Prepared(prepared, TrainConfig()).batch([0], draw).masks is None
    masks = Prepared(prepared, TrainConfig(masked=True)).batch([0], draw).masks
    assert masks is not None
    assert masks.shape == (1, 1, 8, 8)
    assert masks[0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_reg_images_can_be_left_out(prepared: Path) -> None:
    data = Prepared(prepared, TrainConfig(use_reg=False))
    assert not any(image.reg for image in data.images)


def test_size_conditions_are_the_true_crop_and_mirror_it() -> None:
    row = {
        "bucket_width": 64,
        "bucket_height": 128,
        "width": 400,
        "height": 256,
        "box": {"left": 100, "top": 0, "right": 228, "bottom": 256},
    }
    npz = {"original_size": np.array([64, 128]), "crop_ltrb": np.array([3.0, 1.0, 60.0, 127.0])}
    plain, mirrored = size_conditions(row, npz, "true")  # resized by 1/2
    assert plain == (256, 400, 0, 50, 128, 64)
    assert mirrored == (256, 400, 0, 86, 128, 64)
    assert size_conditions(row, npz, "sd-scripts") == ((128, 64, 1, 3, 128, 64), (128, 64, 1, 4, 128, 64))
    assert size_conditions(row, npz, "zero")[0] == (256, 400, 0, 0, 128, 64)


def test_seeds_differ_by_purpose_and_are_the_same_in_every_process() -> None:
    assert seed_of(1, "order", 2) == seed_of(1, "order", 2) != seed_of(1, "step", 2)
    assert seed_of(42, "step", 0) == 4133976617092992125


def test_the_batches_of_a_run_follow_each_epochs_order(prepared: Path) -> None:
    data = Prepared(prepared, TrainConfig(batch_size=3))
    per = data.batches_per_epoch
    assert [data.rows(number) for number in range(2 * per)] == data.order(0) + data.order(1)
    assert data.rows(0) == data.order(0)[0]
