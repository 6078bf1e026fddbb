from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from dataprep import models
from dataprep.errors import ModelError
from dataprep.models import (
    KINDS,
    facts,
    families,
    family,
    fetch,
    find,
    list_text,
    pins,
    resolve,
    verify_text,
)

NETWORK = Path(__file__).parent / "golden" / "wd14" / "model.onnx"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAPREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("DATAPREP_MODELS", raising=False)


def content(file: Path) -> bytes:
    """A small file that is whole, of the kind that its name says."""
    if file.name == "model.onnx":
        return NETWORK.read_bytes()
    if file.suffix in (".json", ".safetensors"):
        return json.dumps({}).encode() if file.suffix == ".json" else weights(8)
    if file.name == "selected_tags.csv":
        return (NETWORK.parent / "selected_tags.csv").read_bytes()
    return "\n".join(f"tag{i}" for i in range(21)).encode()


def write_network(folder: Path) -> None:
    """Another network of the same shape."""
    network = onnx.load(NETWORK)
    network.doc_string = "another"
    onnx.save(network, folder / "model.onnx")


def weights(count: int) -> bytes:
    """A .safetensors file of some bytes."""
    header = {"w": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(count)


def put(folder: Path, files: tuple[str, ...] = ("model.onnx", "selected_tags.csv")) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content(Path(file)))
    return folder


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("DATAPREP_MODELS", str(folder))
    return folder


@pytest.mark.parametrize("name", families())
def test_every_family_names_known_models_of_every_kind(name: str) -> None:
    chosen = family(name)
    assert chosen.resolution % 64 == 0
    for kind in KINDS:
        assert chosen.models[kind] in pins(kind)


def test_a_base_model_that_no_family_has_is_described_by_its_own() -> None:
    chosen = family("sdxl, family=flux, vae=./ae.safetensors")
    assert (chosen.family, chosen.resolution) == ("flux", 1024)
    assert chosen.models["vae"] == "./ae.safetensors"
    assert family("sdxl").family == "sdxl"
    with pytest.raises(ModelError, match=r"family=sd9 was found; wanted one of sd1, sd2, sdxl, sd3, flux"):
        family("sdxl, family=sd9")
    assert "family=flux, vae=MODEL" in list_text()


def test_the_default_family_and_the_miniature_exist() -> None:
    assert {"sd15", "sdxl", "miniature"} <= set(families())


@pytest.mark.parametrize(
    ("name", "general"),
    [
        ("wd-vit-v2", 0.3537),
        ("wd-convnext-v2", 0.3685),
        ("wd-convnextv2-v2", 0.3710),
        ("wd-swinv2-v2", 0.3771),
        ("wd-moat-v2", 0.3771),
        ("wd-vit-v3", 0.2547),
        ("wd-swinv2-v3", 0.2653),
        ("wd-convnext-v3", 0.2570),
        ("wd-vit-large-v3", 0.2606),
        ("wd-eva02-large-v3", 0.5296),
        ("deepdanbooru", 0.5),
    ],
)
def test_each_taggers_threshold_is_its_cards(name: str, general: float) -> None:
    assert pins("tagger")[name].facts["general"] == general


def test_one_model_of_a_family_can_be_replaced() -> None:
    chosen = family("sd15, tagger=wd-eva02-large-v3, clip = ./mine")
    assert chosen.models["tagger"] == "wd-eva02-large-v3"
    assert chosen.models["clip"] == "./mine"
    assert chosen.models["vae"] == family("sd15").models["vae"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sd16", "no such family.*sd15"),
        ("tagger", "no such family"),
        ("sd15, tager=x", "'tager=x'"),
        ("sd15, vae=", "vae="),
    ],
)
def test_an_unknown_family_or_kind_is_named_with_what_is_known(setting: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        family(setting)


def test_a_model_that_cannot_be_had_says_what_was_tried_and_what_would_work() -> None:
    with pytest.raises(ModelError) as caught:
        resolve("sd15", "tagger")
    text = str(caught.value)
    assert "DATAPREP_MODELS is not set" in text
    assert "the Hugging Face cache: SmilingWolf/wd-swinv2-tagger-v3" in text
    assert "the Hugging Face hub: SmilingWolf/wd-swinv2-tagger-v3" in text
    assert "dataprep run ... --models miniature" in text
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["wd-swinv2-v3", "wd-swinv2-tagger-v3"])
def test_a_local_folder_serves_under_either_name(local: Path, name: str) -> None:
    put(local / name)
    model = find("tagger", "wd-swinv2-v3")
    assert model.path == local / name
    assert len(model.sha256) == 64
    assert facts(model)["general"] == 0.2653


def test_a_local_folder_that_lacks_a_file_is_not_used_and_said(local: Path) -> None:
    put(local / "wd-swinv2-v3", ("model.onnx",))
    with pytest.raises(ModelError, match="lacks some of the files"):
        find("tagger", "wd-swinv2-v3")


def test_changed_files_are_refused_after_the_first_use(local: Path) -> None:
    folder = put(local / "wd-swinv2-v3")
    find("tagger", "wd-swinv2-v3")
    (folder / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"not a usable ONNX file"):
        find("tagger", "wd-swinv2-v3")
    write_network(folder)
    with pytest.raises(ModelError, match=r"at their first use.*verify --accept.*put the former files back"):
        find("tagger", "wd-swinv2-v3")
    with pytest.raises(ModelError, match="CHANGED"):
        verify_text()


def test_verify_reads_the_files_again(local: Path) -> None:
    assert verify_text() == "no model was fetched yet"
    folder = put(local / "wd-swinv2-v3")
    find("tagger", "wd-swinv2-v3")
    assert "whole" in verify_text()
    (folder / "model.onnx").unlink()
    assert "gone" in verify_text()


def test_a_path_serves_any_model_and_may_change(tmp_path: Path) -> None:
    folder = put(tmp_path / "wd-vit-tagger-v3")
    before = find("tagger", str(folder))
    (folder / "model.onnx").write_bytes(b"trained on")
    after = find("tagger", str(folder))
    assert before.sha256 != after.sha256
    assert facts(after)["general"] == 0.2547  # known by the repository's name


def test_readmes_and_hidden_files_are_no_part_of_a_model(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine")
    before = find("tagger", str(folder)).sha256
    put(folder, ("README.md", ".git/config.json", ".cache/model.onnx"))
    assert find("tagger", str(folder)).sha256 == before


@pytest.mark.parametrize("name", ["nothing-known", "./nowhere", "/nowhere/at/all"])
def test_a_name_that_means_nothing_lists_what_is_known(name: str) -> None:
    with pytest.raises(ModelError, match="wd-swinv2-v3"):
        find("tagger", name)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model files"):
        find("tagger", str(tmp_path))


def snapshot(home: Path, repo: str, files: tuple[str, ...], commit: str = "c0ffee") -> Path:
    """A repository in the hub's cache, as the hub lays it out."""
    base = home / f"models--{repo.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text(commit, encoding="utf-8")
    return put(base / "snapshots" / commit, files)


def test_the_hubs_cache_serves_with_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = snapshot(tmp_path / "hub", "someone/new-tagger", ("model.onnx", "selected_tags.csv"), commit)
    model = cached("someone/new-tagger", tmp_path / "hub", monkeypatch)
    assert (model.path, model.revision) == (folder, commit)


def test_half_a_download_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot(tmp_path / "hub", "someone/new-tagger", ("selected_tags.csv",), "0" * 40)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        cached("someone/new-tagger", tmp_path / "hub", monkeypatch)


def cached(name: str, home: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "tagger") -> models.Model:
    """The model, with the hub's cache in a folder of the test."""
    import huggingface_hub

    download = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *args, **options: download(*args, cache_dir=home, **options),
    )
    return find(kind, name)


def test_open_clips_pretrained_tags_are_looked_for_on_the_hub() -> None:
    with pytest.raises(ModelError, match="laion/CLIP-ViT-B-32-laion2B-s34B-b79K"):
        find("clip", "ViT-B-32/laion2b_s34b_b79k")


def test_weights_of_a_known_architecture_serve_from_a_file(tmp_path: Path) -> None:
    put(tmp_path, ("weights.safetensors",))
    model = find("clip", f"ViT-B-32@{tmp_path / 'weights.safetensors'}")
    assert model.path == tmp_path / "weights.safetensors"
    with pytest.raises(ModelError, match="not there"):
        find("clip", f"ViT-B-32@{tmp_path / 'nothing.safetensors'}")


def test_the_list_says_what_is_here(local: Path) -> None:
    put(local / "wd-vit-v3")
    text = list_text()
    assert "sd15: sd1, 512 px" in text
    assert any("wd-vit-v3" in line and f"here: {local}" in line for line in text.splitlines())
    assert any("wd-moat-v2" in line and "not here" in line for line in text.splitlines())


def test_assets_are_found_in_a_wheel_before_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "dataprep"
    monkeypatch.setattr(models, "__file__", str(package / "models.py"))
    assert models.assets() == tmp_path / "models"
    put(package / "_models", ("pins.toml",))
    assert models.assets() == package / "_models"


def test_one_model_is_fetched_by_its_name_or_by_kind(local: Path, tmp_path: Path) -> None:
    put(local / "wd-eva02-large-v3")
    (model,) = fetch("wd-eva02-large-v3")
    assert (model.kind, model.path) == ("tagger", local / "wd-eva02-large-v3")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.onnx").write_bytes(b"x")
    (mine,) = fetch(f"tagger={tmp_path / 'mine'}")
    assert (mine.kind, mine.path) == ("tagger", tmp_path / "mine")
    assert [one.kind for one in fetch("miniature")] == list(KINDS)


@pytest.mark.parametrize(
    ("name", "meant"), [("wd-vit-v33", "Did you mean .*wd-vit-v3"), ("nonsense", "`dataprep models list`")]
)
def test_a_misspelt_model_gets_its_likely_name(name: str, meant: str) -> None:
    with pytest.raises(ModelError, match=meant):
        fetch(name)


def test_half_a_network_is_refused_before_its_hash_is_recorded(local: Path) -> None:
    folder = put(local / "wd-swinv2-v3")
    (folder / "model.onnx").write_bytes(NETWORK.read_bytes()[:50])
    with pytest.raises(ModelError, match="not a usable ONNX file"):
        find("tagger", "wd-swinv2-v3")
    put(folder)
    assert find("tagger", "wd-swinv2-v3").path == folder


@pytest.mark.parametrize("size", [30, 210, 330])
def test_half_a_list_of_tags_is_refused_and_the_whole_one_accepted(local: Path, size: int) -> None:
    folder = put(local / "wd-swinv2-v3")
    whole = (folder / "selected_tags.csv").read_bytes()
    (folder / "selected_tags.csv").write_bytes(whole[:size])
    with pytest.raises(ModelError, match="nothing of it was recorded"):
        find("tagger", "wd-swinv2-v3")
    (folder / "selected_tags.csv").write_bytes(whole)
    assert find("tagger", "wd-swinv2-v3").path == folder


@pytest.mark.parametrize("size", [0, 5, 40, -1])
def test_half_a_vae_is_refused_and_the_whole_one_accepted(local: Path, size: int) -> None:
    folder = put(local / "sd-vae-ft-mse", ("config.json", "diffusion_pytorch_model.safetensors"))
    file = folder / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    for name in ("sd-vae-ft-mse", str(folder), str(file)):
        with pytest.raises(ModelError, match=r"diffusion_pytorch_model\.safetensors: incomplete"):
            find("vae", name)
    file.write_bytes(whole)
    assert find("vae", "sd-vae-ft-mse").path == folder


def test_files_changed_on_purpose_are_accepted_by_verify(local: Path) -> None:
    folder = put(local / "wd-swinv2-v3")
    before = find("tagger", "wd-swinv2-v3").sha256
    write_network(folder)
    with pytest.raises(ModelError, match="verify --accept"):
        find("tagger", "wd-swinv2-v3")
    assert "accepted: sha256" in verify_text(accept=True)
    assert find("tagger", "wd-swinv2-v3").sha256 != before
    assert "accepted" not in verify_text(accept=True)
    (folder / "model.onnx").write_bytes(NETWORK.read_bytes()[:100])
    with pytest.raises(ModelError, match="not a usable ONNX file"):
        verify_text(accept=True)


def test_another_folder_that_took_a_models_place_is_accepted_or_taken_away(
    local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local / "wd-swinv2-v3")
    first = find("tagger", "wd-swinv2-v3")
    monkeypatch.setenv("DATAPREP_MODELS", str(tmp_path / "others"))
    other = put(tmp_path / "others" / "wd-swinv2-v3")
    write_network(other)
    with pytest.raises(ModelError, match="or take it away"):
        find("tagger", "wd-swinv2-v3")
    with pytest.raises(ModelError, match=rf"CHANGED: .* in {other}"):
        verify_text()
    verify_text(accept=True)
    assert find("tagger", "wd-swinv2-v3").path == other
    monkeypatch.setenv("DATAPREP_MODELS", str(local))
    with pytest.raises(ModelError, match="verify --accept"):
        find("tagger", "wd-swinv2-v3")
    (other / "model.onnx").unlink()
    verify_text(accept=True)
    assert find("tagger", "wd-swinv2-v3").sha256 == first.sha256


@pytest.mark.parametrize("file", ["pytorch_model", "open_clip_model", "model"])
def test_a_tag_that_names_a_pickle_is_found_as_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    folder = snapshot(tmp_path / "hub", "jienengchen/ViTamin-S", (f"{file}.safetensors",), "5" * 40)
    model = cached("ViTamin-S/datacomp1b", tmp_path / "hub", monkeypatch, "clip")
    assert (model.path, model.revision) == (folder / f"{file}.safetensors", "5" * 40)


def test_a_tag_with_nothing_but_a_pickle_says_what_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(tmp_path / "hub", "jienengchen/ViTamin-S", ("pytorch_model.bin",), "6" * 40)
    with pytest.raises(
        ModelError, match=r"lacks pytorch_model\.safetensors(?s:.)*Only \.safetensors are read"
    ):
        cached("ViTamin-S/datacomp1b", tmp_path / "hub", monkeypatch, "clip")


def test_the_list_of_tags_beside_a_network_that_is_named_by_its_file_counts(tmp_path: Path) -> None:
    folder = put(tmp_path / "mine")
    before = find("tagger", str(folder / "model.onnx"))
    (folder / "selected_tags.csv").write_bytes(b"another list")
    after = find("tagger", str(folder / "model.onnx"))
    assert (after.path, before.sha256 == after.sha256) == (folder / "model.onnx", False)


def test_a_repository_may_hold_a_deepdanbooru_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot(tmp_path / "hub", "someone/danbooru", ("model.onnx", "tags.txt"), "1" * 40)
    assert cached("someone/danbooru", tmp_path / "hub", monkeypatch).path == folder


def test_the_pinned_deepdanbooru_is_used_under_its_own_file_names(local: Path) -> None:
    folder = put(local / "deepdanbooru_onnx", ("model.onnx", "tags.txt"))
    (folder / "model.onnx").rename(folder / "deepdanbooru.onnx")
    assert find("tagger", "deepdanbooru").path == folder


@pytest.mark.parametrize("named", ["wd-swinv2-v3", "folder", "file"])
def test_thresholds_laid_beside_a_tagger_decide_anew_and_measure_nothing_again(
    local: Path, named: str
) -> None:
    folder = put(local / "wd-swinv2-v3")
    name = {"folder": str(folder), "file": str(folder / "model.onnx")}.get(named, named)
    before = find("tagger", name)
    keys = []
    for limit in (0.9, 0.8):
        (folder / "thresholds.csv").write_text(f"name,threshold\n1girl,{limit}\n", "utf-8")
        after = find("tagger", name)
        assert after.key("row") == before.key("row") == before.sha256
        keys.append(after.key("table"))
    assert len({before.key("table"), *keys}) == 3
    (folder / "thresholds.csv").unlink()
    assert find("tagger", name) == before
    (folder / "config.json").write_text('{"format": "wd"}', "utf-8")
    assert find("tagger", name).key("row") != before.key("row")


def test_a_file_of_the_hubs_cache_keeps_the_name_that_tells_its_format(tmp_path: Path) -> None:
    blobs, snapshot_folder = tmp_path / "blobs", tmp_path / "snapshots" / "c0ffee"
    for folder in (blobs, snapshot_folder):
        folder.mkdir(parents=True)
    for name, content in (("a1", b"network"), ("b2", b"tags"), ("c3", weights(8))):
        (blobs / name).write_bytes(content)
    for name, blob in (("model.onnx", "a1"), ("selected_tags.csv", "b2"), ("ae.safetensors", "c3")):
        (snapshot_folder / name).symlink_to(f"../../blobs/{blob}")
    for kind in ("vae", "base"):
        assert find(kind, str(snapshot_folder / "ae.safetensors")).path.name == "ae.safetensors"
    clip = find("clip", f"ViT-B-32@{snapshot_folder / 'ae.safetensors'}")
    assert clip.path.suffix == ".safetensors"
    tagger = find("tagger", str(snapshot_folder / "model.onnx"))
    assert tagger.path.with_name("selected_tags.csv").is_file()
    (snapshot_folder / "plain").symlink_to("ae.safetensors")
    assert find("vae", str(snapshot_folder / "plain")).path.name == "c3"


@pytest.mark.parametrize("under", ["vae/", ""])
def test_a_vae_is_found_in_its_own_repository_and_in_a_whole_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, under: str
) -> None:
    files = (f"{under}config.json", f"{under}diffusion_pytorch_model.safetensors", "model_index.json")
    folder = snapshot(tmp_path / "hub", "someone/flux", files, "2" * 40)
    model = cached("someone/flux", tmp_path / "hub", monkeypatch, "vae")
    assert (model.path, model.revision) == (folder / under, "2" * 40)


def test_a_repository_without_a_vae_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(tmp_path / "hub", "someone/else", ("model_index.json",), "4" * 40)
    with pytest.raises(ModelError, match=r"lacks config\.json.*(?s:.)*lacks vae/config\.json"):
        cached("someone/else", tmp_path / "hub", monkeypatch, "vae")


def test_a_base_models_own_index_names_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    parts = {"_class_name": "StableDiffusionXLPipeline", "feature_extractor": [None, None]}
    for part in ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"):
        parts[part] = ["diffusers", "Kind"]
    sdxl = [file for file in pins("base")["sdxl"].files if not file.startswith("text_encoder_2")]
    folder = snapshot(tmp_path / "hub", "someone/tuned-sdxl", tuple(sdxl), "2" * 40)
    (folder / "model_index.json").write_text(json.dumps(parts), encoding="utf-8")
    with pytest.raises(ModelError, match=r"lacks text_encoder_2/config\.json, text_encoder_2/model"):
        cached("someone/tuned-sdxl", tmp_path / "hub", monkeypatch, "base")
    put(folder, ("text_encoder_2/config.json", "text_encoder_2/model.safetensors"))
    model = find("base", "someone/tuned-sdxl")
    assert (model.path, model.revision) == (folder, "2" * 40)
