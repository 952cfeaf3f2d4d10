"""What `skclip embed` takes for a source, and what it says about it."""

import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image

from skclip.cli import main
from skclip.datasets import tiny_clip

MODEL = ["--pretrained", tiny_clip(), "--device", "cpu"]


@pytest.fixture
def photos(tmp_path):
    """Photographs with masks beside them, and what systems and people leave in a folder."""
    folder = tmp_path / "photos"
    for i, name in enumerate(["a/1.jpg", "a/1.png", "a/2.JPG", "b/3.jpg", "b/masks/3.jpg"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(folder / name)
    for name in ("a/notes.txt", "a/._1.jpg", "Thumbs.db"):
        (folder / name).write_text("no image")
    return folder


@pytest.fixture
def run(capsys, tmp_path):
    """Rows of paths.txt, and what was said."""

    def run_here(*arguments):
        out = tmp_path / "out"
        assert main(["embed", *map(str, arguments), *MODEL, "--out", str(out)]) == 0
        return (out / "paths.txt").read_text().splitlines(), capsys.readouterr().err

    return run_here


def names(rows):
    return ["/".join(Path(row).parts[-2:]) for row in rows]


def test_a_folder_s_types_and_what_is_left_out_are_said(run, photos):
    rows, said = run(photos)
    assert len(rows) == 5
    assert "skclip: 4 .jpg, 1 .png; left out: 2 hidden, 1 .txt\n" in said
    assert "the same name but for their type: 1 .jpg, 1 .png; where some are masks" in said


def test_patterns_choose(run, photos):
    rows, said = run(photos, "--exclude", "*.png", "--exclude", "masks")
    assert names(rows) == ["a/1.jpg", "a/2.JPG", "b/3.jpg"]
    assert "skclip: 3 .jpg; left out: 2 excluded, 2 hidden, 1 .txt\n" in said
    assert "masks" not in said


def test_a_pattern_with_a_slash_is_about_the_path(run, photos):
    assert names(run(photos, "--glob", "b/*.jpg", "--exclude", "b/masks/*")[0]) == ["b/3.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with a mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_as_editors_save_them(run, photos, tmp_path, encoding, end):
    umlaut = shutil.copy(photos / "a" / "1.jpg", photos / "ä.jpg")
    text = f"{photos / 'a' / '1.jpg'}{end}{umlaut}{end}"
    marked = ("\ufeff" + text).encode("utf-16-be")
    content = marked if "mark" in encoding else text.encode(encoding)
    (tmp_path / "list.txt").write_bytes(content)
    assert run(tmp_path / "list.txt")[0] == [str(photos / "a" / "1.jpg"), str(umlaut)]


def test_one_image_is_a_source(run, photos):
    assert names(run(photos / "a" / "1.jpg")[0]) == ["a/1.jpg"]


def test_a_table_that_fit_takes_is_a_source(run, photos):
    """Paths are relative to its folder, as for fit; other columns do not matter."""
    table = photos / "list.csv"
    table.write_text("label;path\ncat;a/1.jpg\ndog;b/3.jpg\n")
    assert names(run(table)[0]) == ["a/1.jpg", "b/3.jpg"]


def test_labels_of_a_table_are_said_not_to_be_kept(run, photos):
    """Its classes would become the folders; without a column of labels nothing is lost."""
    table = photos / "list.csv"
    table.write_text("path,Label\na/1.jpg,cat\nb/3.jpg,dog\n")
    assert "warning: labels of the table are not kept" in run(table, "--quiet")[1]
    table.write_text("path,place\na/1.jpg,here\nb/3.jpg,there\n")
    assert "labels" not in run(table, "--quiet")[1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_a_shell_gives_for_another_command_is_a_list(run, photos, tmp_path):
    """As in `skclip embed <(find photos -name "*.jpg")`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = f"{photos / 'a' / '1.jpg'}\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    rows, _ = run(pipe)
    writer.join()
    assert names(rows) == ["a/1.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("wide.txt", "SOURCE must be a list of paths in UTF-8; .* has zero bytes"),
        ("/dev/zero", "SOURCE must be a folder, a list, an image or -; '/dev/zero' is none"),
        ("empty", r"SOURCE must name an image at least; .* has none \(no image; left out: 1 .txt"),
    ],
)
def test_another_source_is_refused(photos, capsys, monkeypatch, source, message):
    monkeypatch.chdir(photos)
    Path("wide.txt").write_text("a/1.jpg\n", "utf-16-le")
    Path("empty").mkdir()
    Path("empty/a.txt").write_text("")
    with pytest.raises(SystemExit):
        main(["embed", source, *MODEL, "--out", "out"])
    assert not Path("out").exists()
    assert re.search(message, capsys.readouterr().err)


def test_patterns_need_a_folder(photos, capsys, tmp_path):
    (tmp_path / "list.txt").write_text(str(photos / "a" / "1.jpg"))
    with pytest.raises(SystemExit):
        main(["embed", str(tmp_path / "list.txt"), *MODEL, "--out", "o", "--glob", "*.jpg"])
    assert "--glob and --exclude choose from a folder" in capsys.readouterr().err


@pytest.mark.skipif("SKCLIP_PHOTOS" not in os.environ, reason="SKCLIP_PHOTOS is not set")
def test_a_folder_of_real_photographs(run):
    rows, said = run(Path(os.environ["SKCLIP_PHOTOS"]), "--glob", "*/0000.jpg")
    assert len(rows) == 8
    assert "8 .jpg; left out: 184 excluded" in said
