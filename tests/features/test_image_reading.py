"""Every kind of image becomes what a viewer shows, in RGB; the rest is an error."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin

from skclip.exceptions import ImageError
from skclip.features.collection import check_collection, check_images
from skclip.features.image_reading import open_image, reasons
from skclip.utils.image_files import image_formats


@pytest.fixture
def picture():
    """Colours that tell corners, channels and orientations apart, (4, 6, 3)."""
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def rgb(item):
    image = open_image(item)
    assert image.mode == "RGB"
    return np.asarray(image)


def saved(image, path, **options):
    image.save(path, **options)
    return path


# Kinds of items


def test_path_string_pil_and_array_are_the_same_image(picture, tmp_path):
    path = saved(Image.fromarray(picture), tmp_path / "a.png")
    with Image.open(path) as opened:
        for item in (path, str(path), np.str_(path), opened, picture, picture[..., ::1]):
            np.testing.assert_array_equal(rgb(item), picture)


def test_a_path_may_start_at_the_home_folder(picture, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    saved(Image.fromarray(picture), tmp_path / "a.png")
    check_images(["~/a.png"], allow_missing=False)
    np.testing.assert_array_equal(rgb("~/a.png"), picture)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_a_grey_array_has_three_equal_channels(picture, shape):
    grey = picture[..., 0]
    np.testing.assert_array_equal(rgb(grey.reshape(shape)), np.stack([grey] * 3, axis=-1))


def test_an_item_is_not_changed(picture, tmp_path):
    """The user's PIL image keeps its mode, and stays usable after it was read."""
    image = Image.fromarray(np.dstack([picture, picture[..., :1]]))
    rgb(image)
    assert image.mode == "RGBA"
    with Image.open(saved(Image.fromarray(picture), tmp_path / "a.png")) as lazy:
        rgb(lazy)
        np.testing.assert_array_equal(np.asarray(lazy), picture)


# Transparency: over white, as a viewer shows it; dropping alpha shows what was hidden


def test_transparency_is_laid_over_white():
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    np.testing.assert_array_equal(rgb(pixels)[0], [[10, 20, 30], [255, 255, 255], [127, 127, 127]])


@pytest.mark.parametrize("mode", ["LA", "La", "RGBa"])
def test_rare_modes_with_transparency(mode):
    """White under full transparency, black where opaque; Pillow converts each its own way."""
    grey_alpha = Image.frombytes("LA", (2, 1), b"\x00\xff\x00\x00")
    image = (grey_alpha.convert("RGBA") if mode == "RGBa" else grey_alpha).convert(mode)
    np.testing.assert_array_equal(rgb(image)[0], [[0, 0, 0], [255, 255, 255]])


def test_a_palette_with_a_channel_of_transparency():
    image = Image.frombytes("PA", (2, 1), b"\x00\xff\x00\x00")
    image.putpalette([9, 8, 7])
    np.testing.assert_array_equal(rgb(image)[0], [[9, 8, 7], [255, 255, 255]])


def test_a_transparent_colour_of_a_palette_or_of_rgb_is_white(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    path = saved(palette, tmp_path / "p.png", transparency=0)
    np.testing.assert_array_equal(rgb(path)[0], [[255, 255, 255], [200, 100, 50]])

    colours = Image.fromarray(np.array([[[1, 2, 3], [200, 100, 50]]], dtype=np.uint8))
    path = saved(colours, tmp_path / "rgb.png", transparency=(1, 2, 3))
    np.testing.assert_array_equal(rgb(path)[0], [[255, 255, 255], [200, 100, 50]])


def test_a_palette_with_alpha():
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 9, 9, 0, 200, 100, 50, 255], rawmode="RGBA")
    palette.putpixel((1, 0), 1)
    np.testing.assert_array_equal(rgb(palette)[0], [[255, 255, 255], [200, 100, 50]])


def test_a_palette_without_transparency(picture, tmp_path):
    image = Image.fromarray(picture).quantize(24)
    path = saved(image, tmp_path / "p.gif")
    np.testing.assert_array_equal(rgb(path), np.asarray(image.convert("RGB")))


# Depth


def test_one_bit_is_black_and_white():
    assert rgb(Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")).tolist() == [
        [[0, 0, 0], [255, 255, 255]]
    ]


SIXTEEN = np.array([[0, 128, 257, 25700, 32768, 65535]], dtype=np.uint16)
EIGHT = np.round(SIXTEEN / 257).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_files_are_scaled_and_not_clipped(tmp_path, suffix):
    path = saved(Image.fromarray(SIXTEEN), tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(rgb(path)[..., 0], EIGHT)


def test_16_bit_of_the_other_byte_order():
    image = Image.frombytes("I;16B", (6, 1), SIXTEEN.astype(">u2").tobytes())
    np.testing.assert_array_equal(rgb(image)[..., 2], EIGHT)


def test_32_bit_pixels_are_read_as_16_bit():
    np.testing.assert_array_equal(rgb(Image.fromarray(SIXTEEN.astype(np.int32)))[..., 0], EIGHT)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 255], "32-bit pixels in [0, 255] may be meant as 8 or as 16 bits;"),
        ([-1, 300], "32-bit pixels must lie in [0, 65535]; got [-1, 300]"),
        ([0, 65536], "32-bit pixels must lie in [0, 65535]; got [0, 65536]"),
    ],
)
def test_32_bit_pixels_of_unknown_range_are_refused(values, message):
    with pytest.raises(ImageError) as info:
        open_image(Image.fromarray(np.array([values], dtype=np.int32)))
    assert str(info.value).startswith(message)


def test_floating_point_pixels_are_refused():
    with pytest.raises(ImageError, match="floating-point pixels have no known range"):
        open_image(Image.new("F", (2, 2)))


# Files


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(picture, tmp_path, orientation):
    """For a path, and for a PIL image that was opened but not turned by the user."""
    image = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(image, tmp_path / "a.png", exif=exif)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
        np.testing.assert_array_equal(rgb(opened), expected)
    assert (expected.shape == picture.shape) == (orientation < 5)
    assert np.array_equal(expected, picture) == (orientation == 1)
    np.testing.assert_array_equal(rgb(path), expected)


def test_a_broken_exif_block_does_not_lose_the_image(picture, tmp_path):
    path = saved(Image.fromarray(picture), tmp_path / "a.png", exif=b"Exif\x00\x00MM\x00nonsense")
    np.testing.assert_array_equal(rgb(path), picture)


def test_cmyk_is_converted(tmp_path):
    path = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "a.jpg", quality=100)
    assert np.abs(rgb(path).astype(int) - [255, 0, 0]).max() <= 5  # JPEG is lossy


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(rgb(path)[0, 0], [255, 0, 0])


def test_a_truncated_file_is_an_error(picture, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.tile(picture, (20, 20, 1))).save(buffer, format="JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(ImageError, match="truncated"):
        open_image(path)


def test_an_image_too_large_to_be_honest_is_an_error(tmp_path, monkeypatch):
    path = saved(Image.new("L", (300, 300)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match="DecompressionBombError"):
        open_image(path)


def test_a_png_that_breaks_off_in_a_chunk_is_an_error(picture, tmp_path):
    """Pillow raises SyntaxError here, which no list of sensible exceptions holds."""
    path = saved(Image.fromarray(picture), tmp_path / "a.png", pnginfo=PngImagePlugin.PngInfo())
    content = bytearray(path.read_bytes())
    content[29] ^= 0xFF  # the checksum of the header
    path.write_bytes(content)
    with pytest.raises(ImageError):
        open_image(path)


def test_what_is_no_image_is_an_error(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    for path, message in (
        (text, "UnidentifiedImageError: cannot identify image file"),
        (tmp_path / "empty.png", "the file is empty"),
        (tmp_path / "nowhere.png", "the file is missing"),
        (None, "there is no image"),
        (3, "Pass paths"),
    ):
        with pytest.raises(ImageError, match=message):
            open_image(path)


# Collections


def test_collections_that_are_taken(paths, pixels):
    table = pd.DataFrame({"path": [str(p) for p in paths], "other": 0})
    for X in (
        paths,
        tuple(paths),
        np.array(paths),
        np.array([str(p) for p in paths]),
        np.array([[str(p)] for p in paths], dtype=object),
        table["path"],
        table[["path"]],
        table["path"].astype("category"),
        pixels,
        pixels[..., 0],
        list(pixels),
    ):
        images, _ = check_images(X, allow_missing=False)
        assert len(images) == 40
        assert open_image(images[3]).size == (36, 48)


def test_a_lazy_sequence_is_not_read_in_advance():
    """The items of a data set on disk may cost a decoding each."""

    class Lazy:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            raise AssertionError("read")

    check_images(Lazy(), allow_missing=False)


SINGLE = "X must be a collection of images; got a single "
SEQUENCE = (
    "X must be a sequence of paths (str or Path), PIL images, uint8 arrays, bytes or open files"
)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a.png", SINGLE + "'a.png'. Wrap it in a list."),
        (Path("a.png"), SINGLE + "'a.png'. Wrap it in a list."),
        (Image.new("L", (2, 2)), SINGLE + "PIL image. Wrap it in a list."),
        (b"\xff\xd8", SINGLE + "2 bytes. Wrap it in a list."),
        (io.BytesIO(b"x"), SINGLE + "BytesIO. Wrap it in a list."),
        (
            np.array([b"x"]),
            "Bytes of image files must not be in an array of bytes, which cuts zeros",
        ),
        ([], "X must hold at least one image; got an empty collection."),
        (
            np.array("a.png"),
            "An array of paths must have shape (n,) or (n, 1); got (). Select the column",
        ),
        (np.zeros((0, 4, 4), np.uint8), "X must hold at least one image; got an empty collection."),
        (pd.Series([], dtype=object), "X must hold at least one image; got an empty collection."),
        (
            None,
            SEQUENCE + "; got NoneT",
        ),
        (7, SEQUENCE + "; got int."),
        (
            iter(["a.png"]),
            SEQUENCE,
        ),
        (
            {"a.png"},
            SEQUENCE + "; got se",
        ),
        ({0: "a.png"}, SEQUENCE + "; "),
        (
            np.zeros((2, 8, 8, 3)),
            "An image array must have dtype uint8; got float64. For values in [0, 1] pass (255 * X)"
            ".round().astype(np.uint8);",
        ),
        (
            np.zeros((2, 64), np.float32),
            "An image array must have dtype uint8; got float32. For values in [0, 1] pass (255 * ",
        ),
        (
            np.zeros((2, 8, 8), np.uint16),
            "An image array must have dtype uint8; got uint16. For the full 16-bit range pass "
            "(X // 257).astype(np.uint8).",
        ),
        (
            np.zeros((2, 8, 8), np.int64),
            "An image array must have dtype uint8; got int64. For values in [0, 255] pass X.",
        ),
        (
            np.zeros((2, 8, 8), bool),
            "An image array must have dtype uint8; got bool. Pass 255 * X.astype(np.uint8).",
        ),
        (
            np.zeros((8, 8), np.uint8),
            "A uint8 array must have shape (n, h, w) or (n, h, w, 3); got (8, 8). Pass X[None] for "
            "one greyscale image, X.reshape(n, h, w) for flattened ones.",
        ),
        (
            np.zeros((8, 8, 3), np.uint8),
            "A uint8 array must have shape (n, h, w) or (n, h, w, 3); got (8, 8, 3), which looks "
            "like one colour image. Pass X[None].",
        ),
        (
            np.zeros((2, 3, 8, 8), np.uint8),
            "A uint8 array must have shape (n, h, w) or (n, h, w, channels) with 1, 3 or 4 "
            "channels; got (2, 3, 8, 8). Pass X.transpose(0, 2, 3, 1).",
        ),
        (
            np.zeros((2, 0, 8), np.uint8),
            "Images must have at least one pixel; got an array of shape (2, 0, 8).",
        ),
        (
            np.array([["a.png", "b.png"]]),
            "An array of paths must have shape (n,) or (n, 1); got (1, 2). Select the column",
        ),
        (
            torch.zeros(2, 3, 8, 8),
            "X must hold images that are not preprocessed; got a torch.Tensor. Pass a uint8 NumPy",
        ),
    ],
)
def test_collections_that_are_refused(X, message):
    with pytest.raises(ImageError) as info:
        check_collection(X)
    assert str(info.value).startswith(message)


ITEM = (
    "Every item of X must be a path (str or Path), a PIL image, bytes, an open file or a uint8 "
    "array of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4); got "
)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, ITEM + "item 1 (NoneType), 1 of 3. Pass paths (str or Path), PIL images, uint8 arr"),
        (io.BytesIO, ITEM + "item 1 (type), 1 of 3. Pass paths"),
        (["a"], ITEM + "item 1 (list), 1 of 3. Pass paths"),
        (
            np.zeros((4, 4)),
            ITEM + "item 1 (float64 array of shape (4, 4)), 1 of 3. For values in [0, 1] pass (255",
        ),
        (
            np.zeros((3, 5, 5), np.uint8),
            ITEM + "item 1 (uint8 array of shape (3, 5, 5)), 1 of 3. Colour channels come last.",
        ),
        (np.zeros((0, 4), np.uint8), ITEM + "item 1 (uint8 array of shape (0, 4)), 1 of 3."),
    ],
)
def test_items_that_are_refused(bad, message, picture):
    with pytest.raises(ImageError) as info:
        check_images([picture, bad, picture], allow_missing=False)
    assert str(info.value).startswith(message)


def test_at_most_five_offending_items_are_named(tmp_path):
    missing = [tmp_path / f"{i}.png" for i in range(7)]
    with pytest.raises(ImageError) as info:
        check_images([*missing, tmp_path], allow_missing=False)
    listed = ", ".join(f"item {i} ({str(path)!r})" for i, path in enumerate(missing[:5]))
    assert str(info.value).startswith(
        f"Every path in X must name an existing file; got {listed} and 3 more, 8 of 8. "
        f"Relative paths start at {str(Path.cwd())!r};"
    )


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "nowhere.png"])
def test_missing_items_pass_when_they_may(missing, picture):
    check_images([picture, missing], allow_missing=True)
    with pytest.raises(ImageError):
        check_images([picture, missing], allow_missing=False)


def test_items_of_a_wrong_type_never_pass(picture):
    with pytest.raises(ImageError, match=r"got item 1 \(int\), 1 of 2."):
        check_images([picture, 3], allow_missing=True)


# Files as others write them: what a viewer shows


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(row, depth, colours, transparent):
    """A PNG of one row of bytes, with one transparent value."""
    width = 8 * len(row) // (depth * (3 if colours == 2 else 1))
    header = struct.pack(">IIBBBBB", width, 1, depth, colours, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))]
    parts += [(b"IDAT", zlib.compress(b"\x00" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png_of(struct.pack(">3H", 0, 25700, 65535), 16, 0, [25700]), [0, 255, 255]),
        (png_of(struct.pack(">3H", 100, 25700, 65535), 16, 0, [100]), [255, 100, 255]),
        (png_of(bytes([0, 100, 200]), 8, 0, [100]), [0, 255, 200]),
        (png_of(bytes([0x05]), 4, 0, [5]), [0, 255]),
        (png_of(bytes([0b00_01_10_11]), 2, 0, [1]), [0, 255, 170, 255]),
        (png_of(bytes([0b0101_0000]), 1, 0, [0]), [255] * 8),
        (png_of(struct.pack(">6H", *[2570] * 3, *[25700] * 3), 16, 2, [2570] * 3), [255, 100]),
        (png_of(bytes([10, 10, 10, 100, 100, 100]), 8, 2, [10] * 3), [255, 100]),
    ],
    ids=["16 bits", "16 bits, dark", "8 bits", "4 bits", "2 bits", "1 bit", "RGB 16", "RGB 8"],
)
def test_one_transparent_value_of_a_png_at_every_depth(content, expected, tmp_path):
    """Pillow scales pixels to 8 bits and leaves the transparent value as it was."""
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert rgb(path)[0, :, 1].tolist() == expected
    with Image.open(path) as opened:
        assert rgb(opened)[0, :, 1].tolist() == expected


def tiff_of(values, bits, photometric, extra=()):
    """A little-endian TIFF of one row of grey, with other entries (tag, type, count, value)."""
    data = np.asarray(values, f"<u{bits // 8}").tobytes() if bits % 8 == 0 else values
    width = 8 * len(data) // bits
    entries = [(256, 4, 1, width), (257, 4, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1)]
    entries += [(262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, 1), (279, 4, 1, len(data))]
    entries = sorted([*entries, *extra])
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return b"II*\x00" + struct.pack("<I", 8 + len(data)) + data + directory


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (tiff_of([0, 25700, 65535], 16, 0), [255, 155, 0]),
        (tiff_of([0, 25700, 65535], 16, 1), [0, 100, 255]),
        (tiff_of([0, 100, 255], 8, 0), [255, 155, 0]),
        (tiff_of(bytes([0x00, 0x0F, 0xFF]), 12, 1), [0, 255]),
    ],
    ids=["16 bits, zero is white", "16 bits", "8 bits, zero is white", "12 bits"],
)
def test_grey_tiff_files(content, expected, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert rgb(path)[0, :, 0].tolist() == expected


def test_a_dark_pgm_of_16_bits(tmp_path):
    """Its header says how many bits it has."""
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 0, 128))
    assert rgb(path)[0, :, 0].tolist() == [0, 0]


def test_cmyk_as_adobe_writes_it_is_inverted(tmp_path):
    """Pillow writes an Adobe marker; without it the values mean the same to Pillow and browsers."""
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    path = saved(image, tmp_path / "a.jpg", quality=100)
    assert b"Adobe" in path.read_bytes()
    assert np.abs(rgb(path).astype(int) - [0, 255, 255]).max() <= 5


MALFORMED = {  # tag, type, count, value or place
    "a text outside the block, before": (0x010E, 2, 5000, 90_000),
    "a text outside the block, behind": (0x0131, 2, 5000, 90_000),
    "a number that is a text": (0x011A, 2, 4, 0x41414100),
    "a text that is a number": (0x013B, 3, 1, 7),
    "an unknown type": (0x0132, 99, 1, 7),
}


@pytest.mark.filterwarnings(
    "ignore:.*(Tag data|orrupt EXIF|Truncated File):UserWarning"
)  # Pillow's
@pytest.mark.parametrize("order", ["<", ">"], ids=["II", "MM"])
@pytest.mark.parametrize("malformed", list(MALFORMED))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_orientation_counts_whatever_other_tags_are(picture, tmp_path, suffix, malformed, order):
    """Pillow reads past some of these, and cannot write others back."""
    entries = [(0x0112, 3, 1, 6 if order == "<" else 6 << 16)]
    entries = sorted([*entries, MALFORMED[malformed]])
    block = {"<": b"II*\x00", ">": b"MM\x00*"}[order] + struct.pack(f"{order}IH", 8, 2)
    block += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries) + bytes(4)
    options = {"lossless": True} if suffix == "webp" else {}
    options |= {"exif": b"Exif\x00\x00" + block}
    path = saved(Image.fromarray(picture), tmp_path / f"a.{suffix}", **options)
    assert open_image(path).size == picture.shape[:2]
    if suffix != "jpg":  # which is lossy
        np.testing.assert_array_equal(rgb(path), np.rot90(picture, -1))


def test_the_orientation_of_a_tiff_file(tmp_path):
    """Turned once, beside a tag of an unknown type, and from an opened file as well."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of([0, 100, 255], 8, 1, [(274, 3, 1, 6), (270, 77, 5000, 90_000)]))
    assert rgb(path)[:, 0, 0].tolist() == [0, 100, 255]
    with Image.open(io.BytesIO(path.read_bytes())) as opened:
        opened.load()
        assert rgb(opened)[:, 0, 0].tolist() == [0, 100, 255]


def test_an_orientation_in_xmp(picture, tmp_path):
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="3"/>'
        "</rdf:RDF></x:xmpmeta>"
    )
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet)
    path = saved(Image.fromarray(picture), tmp_path / "a.png", pnginfo=info)
    np.testing.assert_array_equal(rgb(path), picture[::-1, ::-1])


# What is not opened at all


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
DOCUMENTS = {
    "eps": POSTSCRIPT,
    "pdf": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "wmf": b"\xd7\xcd\xc6\x9a\x00\x00" + struct.pack("<4hH", 0, 0, 9, 9, 96) + bytes(60),
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "xpm": b'/* XPM */\nstatic char *a[] = {\n"1 1 1 1",\n"a c #ff0000",\n"a"};\n',
}


@pytest.mark.parametrize("kind", list(DOCUMENTS))
def test_documents_with_an_image_s_name_are_not_opened(kind, tmp_path, monkeypatch):
    """PostScript is a program, which Pillow would give to Ghostscript."""

    def started(*args, **kwargs):
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", started)
    path = tmp_path / "photograph.jpg"
    path.write_bytes(DOCUMENTS[kind])
    with pytest.raises(ImageError, match="cannot identify image file"):
        open_image(path)


def test_a_lazily_opened_document_is_not_decoded(tmp_path):
    path = tmp_path / "a.eps"
    path.write_bytes(POSTSCRIPT)
    with Image.open(path) as image, pytest.raises(ImageError, match="EPS files are not read"):
        open_image(image)


def test_formats_that_need_more_name_it(tmp_path, monkeypatch):
    formats = tuple(set(image_formats()) - {"HEIF", "AVIF"})
    monkeypatch.setattr("skclip.features.image_reading.image_formats", lambda: formats)
    for brand, remedy in (
        (b"heic", r"to read HEIF files, the package pillow-heif \(pip install 'skclip\[heif\]'\)"),
        (b"avif", "to read AVIF files, Pillow 11.3 or newer must be installed"),
        (b"isom", "cannot identify image file"),
    ):
        path = tmp_path / f"{brand}.heic"
        path.write_bytes(b"\x00\x00\x00\x18ftyp" + brand + bytes(100))
        with pytest.raises(ImageError, match=remedy):
            open_image(path)


def test_heif_files_are_read(picture, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    path = tmp_path / "a.heic"
    large = np.kron(picture, np.ones((16, 16, 1), np.uint8))
    pillow_heif.from_pillow(Image.fromarray(large)).save(path, quality=-1, chroma=444)
    assert np.abs(rgb(path).astype(int) - large).mean() < 3


# Images that the user has opened


def test_a_list_of_opened_images_stays_undecoded(picture, tmp_path):
    """Decoded images would stay in the caller's list: 23 MB for each photograph."""
    options = {"png": {}, "jpg": {}, "tif": {}, "gif": {}, "webp": {"lossless": True}}
    for suffix, given in options.items():
        path = saved(Image.fromarray(picture), tmp_path / f"a.{suffix}", **given)
        with Image.open(path) as opened:
            np.testing.assert_array_equal(rgb(opened), rgb(path))
            assert opened.fp is not None, "it was decoded in place"
            assert np.asarray(opened).shape[:2] == (4, 6)  # and can be, still


def test_another_frame_of_an_opened_file_is_that_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with Image.open(path) as opened:
        opened.seek(1)
        assert rgb(opened)[0, 0].tolist() == [0, 0, 255]


def test_an_opened_image_that_was_changed_is_as_it_was_changed(picture, tmp_path):
    """Its file is not what the user means any more."""
    path = saved(Image.fromarray(picture), tmp_path / "a.png")
    with Image.open(path) as opened:
        opened.putpixel((0, 0), (1, 2, 3))
        assert rgb(opened)[0, 0].tolist() == [1, 2, 3]
    large = saved(Image.fromarray(np.tile(picture, (40, 40, 1))), tmp_path / "a.jpg")
    with Image.open(large) as opened:
        opened.draft("RGB", (60, 40))
        assert open_image(opened).size == (60, 40)


def test_a_closed_image_says_so(picture, tmp_path):
    path = saved(Image.fromarray(picture), tmp_path / "a.png")
    with Image.open(path) as closed:
        pass
    with pytest.raises(ImageError, match="the PIL image is closed; pass its path"):
        open_image(closed)


def test_a_reason_without_words_has_the_name_of_the_error():
    with pytest.raises(ImageError, match=r"^MemoryError$"), reasons():
        raise MemoryError


# Size


@pytest.mark.parametrize("size", [2**25, 2**29, 2**31])
def test_a_large_file_that_is_no_image_is_not_read(size, tmp_path, monkeypatch):
    """A sparse file costs no disk, but reading it would cost memory."""
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(size)
    monkeypatch.setattr("skclip.features.image_reading.hashlib", None)  # what is read is hashed
    with pytest.raises(ImageError, match=r"cannot identify image file|the file has 2147483648 byt"):
        open_image(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero on this system")
def test_an_endless_file_is_not_read():
    with pytest.raises(ImageError, match="it is not a regular file"):
        open_image("/dev/zero")
