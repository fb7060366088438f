"""Collections, folders of images, gathering, pictures, and the network images are measured by."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from glasshouse.data.quarantine import Quarantine
from glasshouse.store.execution import execute
from glasshouse.store.step import Node
from glasshouse.store.store import Store
from glasshouse.vision.collection import ImageError, collect, digits, load_collection
from glasshouse.vision.feature_network import FeatureNetworkConfig, train_feature_network
from glasshouse.vision.image_folder import ImageFolder, folder_fingerprint, read_folder
from glasshouse.vision.image_steps import ImageSet, gather_images, read_digits, read_images
from glasshouse.vision.pictures import grid_png, masked
from glasshouse.vision.selection import Selection


def made_folder(home, count: int = 12, side: int = 12):
    drawn = np.random.default_rng(0)
    for kind, colour in (("cats", 0), ("dogs", 2)):
        (home / kind).mkdir(parents=True)
        for number in range(count):
            pixels = drawn.integers(0, 256, (side, side + 4, 3), dtype=np.uint8)
            pixels[..., colour] = 255
            Image.fromarray(pixels).save(home / kind / f"{number:02}.png")
    return home


def test_digits_are_scikit_learns_and_held_out_by_hash() -> None:
    found = digits()
    from sklearn.datasets import load_digits

    truth = load_digits()
    assert torch.equal(found.images[:, 0], torch.tensor(truth.images).float() / 16)
    assert found.labels.tolist() == truth.target.tolist()
    assert abs(float(found.held_out.float().mean()) - 0.28) < 0.03
    assert len(set(found.ids)) == 1797
    assert torch.equal(found.held_out, digits().held_out)
    assert not torch.equal(found.held_out, digits(seed=1).held_out)


def test_a_folder_is_read_cut_and_scaled_and_bad_files_are_put_aside(tmp_path) -> None:
    home = made_folder(tmp_path / "pets")
    (home / "cats" / "notes.txt").write_text("no image")
    whole = (home / "dogs" / "00.png").read_bytes()
    (home / "dogs" / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (3, 30)).save(home / "cats" / "thin.png")
    (home / "cats" / ".hidden").write_text("")
    with Quarantine() as quarantine:
        found = read_folder(ImageFolder(path=str(home), size=6, holdout=0.3), quarantine)
    assert found.size == (3, 6, 6)
    assert found.classes == ("cats", "dogs")
    assert found.labels.tolist() == [0] * 12 + [1] * 12
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined == 27
    put_aside = {str(one["file"]): (one["reason"], one["message"]) for one in quarantine.records}
    assert put_aside["cats/notes.txt"][0] == "not a readable image"
    assert put_aside["dogs/cut.png"][0] == "not a readable image"
    assert put_aside["cats/thin.png"] == ("too small", "TooSmallError: the image is 3 x 30 pixels, asked for 6")
    original = np.asarray(Image.open(home / "cats" / "00.png"))[:, 2:14].astype(float)  # the square in the middle
    expected = original.reshape(6, 2, 6, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(found.pixels[0].numpy() - expected).max() <= 1


def test_grey_images_have_one_channel(tmp_path) -> None:
    home = made_folder(tmp_path / "pets")
    with Quarantine() as quarantine:
        found = read_folder(ImageFolder(path=str(home), size=6, channels=1, holdout=0.3), quarantine)
    assert found.size == (1, 6, 6)


def test_folders_without_images_are_refused(tmp_path) -> None:
    with Quarantine() as quarantine:
        with pytest.raises(ImageError, match="is not a folder"):
            read_folder(ImageFolder(path=str(tmp_path / "none")), quarantine)
        with pytest.raises(ImageError, match="has no sub-folder"):
            read_folder(ImageFolder(path=str(tmp_path)), quarantine)
        (tmp_path / "cats").mkdir()
        (tmp_path / "cats" / "a.png").write_text("no image")
        with pytest.raises(ImageError, match="no image could be read in cats"):
            read_folder(ImageFolder(path=str(tmp_path)), quarantine)


def test_a_class_has_images_on_both_sides() -> None:
    pixels = np.zeros((4, 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(4)
    with pytest.raises(ImageError, match=r"class 'b' has 1 images and none (to train on|held out)"):
        collect(pixels, 255, [0, 0, 0, 1], ("a", "b"), list("wxyz"), holdout=0.5, seed=4)
    with pytest.raises(ImageError, match="there are no images"):
        collect([], 255, [], ("a",), [], holdout=0.5)
    with pytest.raises(ImageError, match="images of one size"):
        collect([pixels[0], np.zeros((1, 3, 3), np.uint8)], 255, [0, 0], ("a",), ["x", "y"], holdout=0.5)


def test_a_collection_comes_back(tmp_path) -> None:
    found = digits()
    found.save(tmp_path)
    again = load_collection(tmp_path)
    assert torch.equal(again.images, found.images)
    assert (again.names, again.ids, again.classes, again.levels) == (found.names, found.ids, found.classes, 16)


def test_images_are_chosen_by_the_artifact_they_came_from(tmp_path) -> None:
    store = Store(tmp_path / "store")
    one, two = (made_folder(tmp_path / name) for name in ("one", "two"))
    (two / "dogs").rename(two / "cows")
    Image.new("RGB", (12, 12), (9, 9, 9)).save(two / "cows" / "grey.png")
    folders = [ImageFolder(path=str(home), size=6, holdout=0.3) for home in (one, two)]
    with pytest.raises(ImageError, match="different sizes"):
        execute(gather_images([read_images(folders[0]), read_digits()]), store)
    parts = [read_images(folder) for folder in folders]
    whole = execute(gather_images(parts), store)
    assert isinstance(whole, ImageSet)
    first = execute(parts[0], store)
    images = whole.load()
    assert images.classes == ("cats", "cows", "dogs")
    chosen = Selection(artifacts=(first.id[:12],)).chosen(images)
    assert chosen.nonzero().flatten().tolist() == list(range(24))
    assert {images.sources[place] for place in range(24)} == {first.id}
    assert "Images" in [panel.title for panel in whole.panels()]


def test_what_a_folder_holds_is_observed(tmp_path) -> None:
    home = made_folder(tmp_path / "pets")
    folder, store = ImageFolder(path=str(home), size=6, holdout=0.3), Store(tmp_path / "store")
    before = folder_fingerprint(folder)
    first = execute(read_images(folder), store)
    (home / "cats" / "notes.txt").write_text("no image")
    assert folder_fingerprint(folder) != before
    node = read_images(folder)
    assert isinstance(node, Node)
    second = execute(node, store)
    assert second.id != first.id
    assert second.manifest["measurements"]["quarantined"] == 1
    line = json.loads(second.file("quarantine.jsonl").read_text())
    assert (line["file"], line["reason"]) == ("cats/notes.txt", "not a readable image")


def test_grids_have_their_images_at_their_places() -> None:
    images = torch.rand(3, 1, 4, 5)
    hidden = torch.zeros(3, 4, 5, dtype=torch.bool)
    hidden[:, 0, 0] = True
    content = grid_png([images, masked(images, hidden)], scale=2)
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    assert pixels.shape == (2 * 9 + 1, 3 * 11 + 1, 3)
    block = pixels[1:9:2, 12:22:2, 0]  # the second image of the first row
    assert np.abs(block - (images[1, 0] * 255).round().numpy()).max() <= 1
    assert pixels[10, 1].tolist() == [217, 84, 26]  # the mark of what is hidden
    with pytest.raises(ValueError, match="as many images of one size"):
        grid_png([images, images[:2]])
    with pytest.raises(ValueError, match="1 or 3 channels"):
        grid_png([torch.rand(1, 2, 4, 4)])


def test_the_feature_network_knows_digits(tmp_path) -> None:
    found = digits()
    seen, held = ~found.held_out, found.held_out
    pixels = found.images
    made = train_feature_network(
        pixels[seen], found.labels[seen], (pixels[held], found.labels[held]), 10, tmp_path,
        FeatureNetworkConfig(steps=150),
    )  # fmt: skip
    assert made.accuracy > 0.9
    features = made.network.features(pixels[seen])
    assert torch.allclose(features.mean(0), torch.zeros(64), atol=1e-4)
    used = features.std(0) > 0.5  # a dead unit stays at zero
    assert torch.allclose(features.std(0)[used], torch.ones(int(used.sum())), atol=1e-3)
    assert made.network.name.startswith("feature network of this run, sha256 ")
