"""Image files below a folder."""

import pytest
from PIL import Image

from skclip.features import find_images
from skclip.utils.image_files import search_images


@pytest.fixture
def tree(tmp_path):
    names = ["b/2.png", "b/10.PNG", "a.jpg", "b/c/ü.webp", "notes.txt", ".hidden.png", ".git/1.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def relative(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_images_are_found_at_every_depth_in_sorted_order(tree):
    assert relative(find_images(tree), tree) == ["a.jpg", "b/10.PNG", "b/2.png", "b/c/ü.webp"]
    assert find_images(str(tree)) == find_images(tree)


def test_patterns_choose(tree):
    """By the name, or by the path where the pattern has a slash; a folder is left out whole."""
    assert relative(find_images(tree, glob="*.png"), tree) == ["b/10.PNG", "b/2.png"]
    assert relative(find_images(tree, glob=["A*", "b/c/*"]), tree) == ["a.jpg", "b/c/ü.webp"]
    assert relative(find_images(tree, exclude=["c", "1*"]), tree) == ["a.jpg", "b/2.png"]


def test_what_systems_leave_beside_images_is_no_image(tmp_path):
    """Also where it has the ending of an image, as the second half of a file from macOS."""
    for name in ("__MACOSX/a.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "a.jpg", "b.txt", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    paths, left_out, places = search_images(tmp_path, exclude="b*")
    assert paths == [tmp_path / "a.jpg"]
    assert left_out == {"hidden": 4, ".txt": 1, "without an ending": 1, "links to folders": 1}
    assert places["links to folders"] == [tmp_path / "link"]


@pytest.mark.parametrize("ending", ["heic", "HEIF", "avif", "jfif", "jp2", "tif", "mpo"])
def test_every_kind_of_photograph_is_found(ending, tmp_path):
    """Also one that cannot be decoded here: the reason says what to install."""
    (tmp_path / f"a.{ending}").write_bytes(b"")
    assert len(find_images(tmp_path)) == 1


def test_a_loop_of_links_is_walked_once(tree):
    (tree / "b" / "loop").symlink_to(tree)
    (tree / "b" / "link.jpg").symlink_to(tree / "a.jpg")
    found = relative(find_images(tree), tree)
    assert found == ["a.jpg", "b/10.PNG", "b/2.png", "b/c/ü.webp", "b/link.jpg"]


def test_documents_are_no_images(tmp_path):
    for ending in (".pdf", ".eps", ".wmf", ".fits"):
        (tmp_path / f"a{ending}").write_bytes(b"")
        assert ending in Image.registered_extensions()
    assert find_images(tmp_path) == []


def test_what_is_no_folder_is_named(tree):
    with pytest.raises(NotADirectoryError, match=r"folder must name a folder; '.*a\.jpg' is none"):
        find_images(tree / "a.jpg")
