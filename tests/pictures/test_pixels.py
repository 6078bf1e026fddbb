from __future__ import annotations

import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dataprep.errors import RowError
from dataprep.pictures import pixels
from dataprep.pictures.pixels import Limits, PixelCache, PixelPolicy, load_mask, load_rgb, load_small, probe

UPRIGHT_TO_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
WITH_EXIF = {
    "jpg": {"quality": 95, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
    "tif": {},
    "avif": {},
}


def drawing(width: int = 96, height: int = 64) -> Image.Image:
    """Smooth, and different in every corner."""
    corners = np.array([[[250, 20, 20], [20, 220, 30]], [[30, 30, 240], [240, 240, 90]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def worst(a: Image.Image, b: Image.Image) -> int:
    """Greatest difference of any value, grey levels."""
    assert a.size == b.size
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b)).max())


@pytest.mark.parametrize("suffix", WITH_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    turn = UPRIGHT_TO_STORED[orientation]
    stored = drawing() if turn is None else drawing().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, **WITH_EXIF[suffix])
    found = probe(path)
    assert (found.width, found.height) == (96, 64)
    assert worst(load_rgb(path, PixelPolicy()), drawing()) <= 12


@pytest.mark.parametrize("suffix", WITH_EXIF)
def test_reduced_pixels_are_the_full_ones_made_smaller(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    drawing(301, 205).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, **WITH_EXIF[suffix])
    small = load_small(path, PixelPolicy(), 50)
    full = load_rgb(path, PixelPolicy())
    assert small.size == (76, 52)
    assert worst(small, full.resize(small.size, Image.Resampling.BOX)) <= 12


def test_reduction_never_goes_under_the_short_side_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for side in (255, 256, 511, 512, 513, 1023, 1024, 1025):
        drawing(side, side + 3).save(path)
        small = load_small(path, PixelPolicy(), 256)
        assert min(small.size) >= min(256, side)
        assert min(small.size) <= 512


def test_orientation_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    drawing().save(buffer, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    path = tmp_path / "late.png"
    path.write_bytes(buffer.getvalue()[:-12] + chunk + buffer.getvalue()[-12:])
    found = probe(path)
    assert (found.width, found.height) == load_rgb(path, PixelPolicy()).size == (64, 96)


def black_png(path: Path, side: int, *, ending: bytes) -> None:
    """Rows that compress a thousandfold, and what stands behind the pixels."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:-12] + ending)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BEHIND_PIXELS = {
    "text": chunk(b"tEXt", b"a\0b") + chunk(b"IEND", b""),
    "profile": chunk(b"eXIf", b"MM\0*") + chunk(b"IEND", b""),
    "nothing": b"",
}


@pytest.mark.parametrize("ending", BEHIND_PIXELS)
@pytest.mark.parametrize("limits", [Limits(side=500), Limits(area=250_000)])
def test_nothing_beyond_the_limits_is_decoded_to_learn_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, limits: Limits
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("decoded")

    black_png(tmp_path / "bomb.png", 501, ending=BEHIND_PIXELS[ending])
    black_png(tmp_path / "fine.png", 500, ending=BEHIND_PIXELS[ending])
    policy = PixelPolicy(salvage=0.1)
    assert probe(tmp_path / "fine.png", policy, limits=limits).final
    monkeypatch.setattr("dataprep.pictures.pixels.decoded", forbidden)
    found = probe(tmp_path / "bomb.png", policy, limits=limits)
    assert (found.width, found.height, found.final) == (501, 501, False)


def test_animated_pictures_give_their_first_frame(tmp_path: Path) -> None:
    for suffix, settings in (("gif", {}), ("webp", {"lossless": True}), ("png", {})):
        path = tmp_path / f"a.{suffix}"
        frames = [Image.new("RGB", (70, 70), "blue") for _ in range(3)]
        Image.new("RGB", (70, 70), "red").save(path, save_all=True, append_images=frames, **settings)
        assert load_rgb(path, PixelPolicy()).getpixel((9, 9)) == pytest.approx((255, 0, 0), abs=2)


def test_multi_page_tiff_and_mpo_give_their_first_page(tmp_path: Path) -> None:
    for suffix, form in (("tif", "TIFF"), ("mpo", "MPO")):
        path = tmp_path / f"a.{suffix}"
        drawing().save(path, form, save_all=True, append_images=[drawing().rotate(180)])
        assert worst(load_rgb(path, PixelPolicy()), drawing()) <= 12


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really_png.jpg"
    drawing().save(path, "PNG")
    assert probe(path).format == "png"
    assert worst(load_rgb(path, PixelPolicy()), drawing()) == 0


def test_progressive_and_optimised_jpeg_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    drawing().save(path, progressive=True, quality=95, subsampling=0)
    assert worst(load_rgb(path, PixelPolicy()), drawing()) <= 12


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"just words\n", "unreadable"),
        ("page.png", b"<!DOCTYPE html><html></html>", "unreadable"),
        ("notes.md", b"just words\n", "not-an-image"),
        ("no_suffix", b"\x00\x01\x02", "not-an-image"),
    ],
)
def test_what_is_no_picture_says_so(tmp_path: Path, name: str, data: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RowError) as caught:
        probe(tmp_path / name)
    assert caught.value.code == code
    assert not caught.value.transient


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "gif", "tif", "bmp"])
def test_truncated_pictures_are_errors_of_their_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(RowError) as caught:
        load_rgb(path, PixelPolicy())
    assert caught.value.code in {"decode", "unreadable"}


def test_a_missing_file_may_be_there_next_time(tmp_path: Path) -> None:
    with pytest.raises(RowError) as caught:
        probe(tmp_path / "gone.png")
    assert caught.value.code == "io"
    assert caught.value.transient


def test_heic_names_the_package_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64))
    with pytest.raises(RowError, match="pip install pillow-heif") as caught:
        probe(path)
    assert caught.value.code == "unsupported"


def test_a_damaged_exif_block_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    drawing().save(path, exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff\xff\xff")
    assert load_rgb(path, PixelPolicy()).size == (96, 64)


def test_a_header_that_claims_a_huge_picture_costs_nothing(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + idat)
    assert probe(tmp_path / "bomb.png").width == 60_000


def test_alpha_policy_is_part_of_the_identity() -> None:
    keys = {PixelPolicy(alpha).key("ab") for alpha in ("white", "black", "colour")}
    assert len(keys) == 3
    assert PixelPolicy().key("ab") != PixelPolicy().key("cd")


def test_the_cache_decodes_once_for_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    drawing().save(path)
    decoded: list[Path] = []
    barrier = threading.Barrier(4)

    def counting(path: Path, policy: PixelPolicy, frame: int = 0) -> Image.Image:
        decoded.append(path)
        return load_rgb(path, policy, frame)

    monkeypatch.setattr(pixels, "load_rgb", counting)
    cache = PixelCache(PixelPolicy())

    def load(_: int) -> Image.Image:
        barrier.wait()
        return cache.load(path, "k")

    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(load, range(4)))
    assert len(decoded) == 1
    assert all(image is images[0] for image in images)


def test_the_cache_forgets_the_least_recently_used(tmp_path: Path) -> None:
    cache = PixelCache(PixelPolicy(), max_bytes=2 * 96 * 64 * 4)
    for name in "abc":
        drawing().save(tmp_path / f"{name}.png")
    first = {name: cache.load(tmp_path / f"{name}.png", name) for name in "ab"}
    assert cache.load(tmp_path / "a.png", "a") is first["a"]
    cache.load(tmp_path / "c.png", "c")
    assert cache.load(tmp_path / "a.png", "a") is first["a"]
    assert cache.load(tmp_path / "b.png", "b") is not first["b"]


def test_a_failed_decode_is_tried_again(tmp_path: Path) -> None:
    cache = PixelCache(PixelPolicy())
    with pytest.raises(RowError):
        cache.load(tmp_path / "a.png", "a")
    drawing().save(tmp_path / "a.png")
    assert cache.load(tmp_path / "a.png", "a").size == (96, 64)


def wide_gamut_profile() -> bytes:
    """An RGB profile whose red and green change places: unmistakable when it is applied, and when not."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", srgb[128:132])[0]
    places = {bytes(srgb[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    swapped = bytes(srgb[red + 4 : red + 12]), bytes(srgb[green + 4 : green + 12])
    srgb[red + 4 : red + 12], srgb[green + 4 : green + 12] = swapped[1], swapped[0]
    return bytes(srgb)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_the_profile_of_every_format_is_applied(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    drawing().save(path, icc_profile=wide_gamut_profile(), **WITH_EXIF[suffix])
    red, green, blue = drawing().split()
    assert worst(load_rgb(path, PixelPolicy()), Image.merge("RGB", (green, red, blue))) <= 12


def test_the_profile_of_jpeg_2000_is_applied(tmp_path: Path) -> None:
    drawing().save(tmp_path / "plain.jp2")
    plain = (tmp_path / "plain.jp2").read_bytes()
    at = plain.index(b"colr") - 4
    old = plain[at : at + int.from_bytes(plain[at : at + 4])]
    profile = wide_gamut_profile()
    box = struct.pack(">I", 11 + len(profile)) + b"colr\2\0\0" + profile  # Pillow writes none
    header = plain.index(b"jp2h") - 4
    length = int.from_bytes(plain[header : header + 4]) + len(box) - len(old)
    data = plain[:header] + struct.pack(">I", length) + plain[header + 4 :].replace(old, box, 1)
    (tmp_path / "wide.jp2").write_bytes(data)
    red, green, blue = drawing().split()
    assert worst(load_rgb(tmp_path / "wide.jp2", PixelPolicy()), Image.merge("RGB", (green, red, blue))) <= 12
    assert worst(load_rgb(tmp_path / "plain.jp2", PixelPolicy()), drawing()) == 0


def as_array(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def test_loading_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    drawing().save(path)
    before = path.read_bytes()
    as_array(load_rgb(path, PixelPolicy()))
    assert path.read_bytes() == before


def test_damaged_files_are_errors_of_their_row_and_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    originals = []
    for suffix in ("jpg", "png", "webp", "avif", "gif", "bmp", "tif", "jp2", "ppm", "ico", "qoi"):
        drawing(70, 64).save(tmp_path / f"whole.{suffix}")
        originals.append((tmp_path / f"whole.{suffix}").read_bytes())
    path = tmp_path / "damaged.jpg"
    seen = set()
    for turn in range(5 * len(originals)):
        data = bytearray(originals[turn % len(originals)])
        for at in random.integers(0, len(data), int(random.integers(1, 6))):
            data[int(at)] = int(random.integers(0, 256))
        path.write_bytes(bytes(data[: int(random.integers(1, len(data) + 1))] if turn % 3 == 0 else data))
        try:
            found = probe(path)
            if found.width * found.height < 10**7:
                assert load_rgb(path, PixelPolicy()).size == (found.width, found.height)
                seen.add("whole")
        except RowError as error:
            seen.add(error.code)
    assert {"whole", "decode", "unreadable"} <= seen


@pytest.mark.parametrize(("suffix", "settings"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_every_frame_has_its_own_pixels_and_key(
    tmp_path: Path, suffix: str, settings: dict[str, Any]
) -> None:
    path = tmp_path / f"a.{suffix}"
    frames = [Image.new("RGB", (70, 70), colour) for colour in ("lime", "blue")]
    Image.new("RGB", (70, 70), "red").save(path, save_all=True, append_images=frames, **settings)
    assert probe(path).frames == 3
    cache, policy = PixelCache(PixelPolicy()), PixelPolicy()
    shown = [cache.load(path, policy.key("f" * 64, frame)).getpixel((9, 9)) for frame in range(3)]
    assert shown == [pytest.approx(c, abs=3) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]


def test_what_a_phone_hides_behind_its_picture_is_no_page(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    gain_map = Image.new("L", (24, 16), 128)
    drawing().save(path, "MPO", save_all=True, append_images=[gain_map])
    assert (probe(path).format, probe(path).frames) == ("mpo", 1)
    assert worst(load_rgb(path, PixelPolicy()), drawing()) <= 12


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_rows_of_a_truncated_picture_are_salvaged_when_asked(tmp_path: Path, suffix: str) -> None:
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"a.{suffix}"
    noisy = Image.fromarray(np.random.default_rng(0).integers(1, 256, (300, 200, 3), np.uint8))
    noisy.save(whole)
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    generous, strict = PixelPolicy(salvage=0.5), PixelPolicy(salvage=0.9)
    found = probe(path, generous)
    assert not found.whole
    assert 150 <= found.height < 300
    there = load_rgb(path, generous)
    assert there.size == (200, found.height)
    assert worst(there, load_rgb(whole, strict).crop((0, 0, 200, found.height))) <= 12
    for policy in (PixelPolicy(), strict):
        with pytest.raises(RowError, match="decode"):
            load_rgb(path, policy)
    assert probe(whole, generous) == probe(whole)


def test_a_small_truncated_jpeg_with_a_thumbnail_is_salvaged_too(tmp_path: Path) -> None:
    noisy = Image.fromarray(np.random.default_rng(0).integers(1, 256, (300, 200, 3), np.uint8))
    thumbnail, whole = io.BytesIO(), io.BytesIO()
    noisy.resize((64, 64)).save(thumbnail, "JPEG")  # has an end of its own
    noisy.save(whole, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail.getvalue())
    path = tmp_path / "a.jpg"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) * 8 // 10])
    assert path.stat().st_size < 1 << 16
    found = probe(path, PixelPolicy(salvage=0.5))
    assert not found.whole
    assert 150 <= load_rgb(path, PixelPolicy(salvage=0.5)).height == found.height < 300


def test_opacity_is_as_large_and_upright_as_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = drawing().convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    mask = load_mask(path, PixelPolicy(alpha="mask"))
    assert mask is not None
    assert mask.size == load_rgb(path, PixelPolicy(alpha="mask")).size == (64, 96)
    assert mask.getpixel((63, 0)) == 0
    assert load_mask(tmp_path / "a.png", PixelPolicy()) is not None
    drawing().save(path)
    assert load_mask(path, PixelPolicy()) is None


def test_arithmetic_coding_is_read(tmp_path: Path) -> None:
    golden = Path(__file__).parent.parent / "golden" / "pixels" / "arithmetic.jpg"
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    huffman = tmp_path / "a.jpg"
    coarse.resize((96, 64), Image.Resampling.BICUBIC).save(huffman, quality=92)
    assert b"\xff\xc9" in golden.read_bytes()  # start of an arithmetic frame
    assert worst(load_rgb(golden, PixelPolicy()), load_rgb(huffman, PixelPolicy())) <= 12
