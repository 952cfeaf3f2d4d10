"""Images as a service gets them: bytes, and file objects of every kind."""

import io
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from skclip import CLIPFeaturizer
from skclip.exceptions import ImageError
from skclip.features import open_image


class Stream(io.RawIOBase):
    """What cannot go back, as a socket."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.content.read(size)


class Upload:
    """The least that is a file object."""

    def __init__(self, content):
        self.content = content

    def read(self, size=-1):
        return self.content


class AsyncUpload(Upload):
    async def read(self, size=-1):
        return self.content


def spooled(content):
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    file.write(content)
    return file


KINDS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "BytesIO": io.BytesIO,
    "a spooled file, at its end": spooled,
    "a stream": Stream,
    "an upload": Upload,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_content_is_the_file_however_it_comes(small_clip, paths, make):
    """Mixed with paths, in lists, arrays and columns."""
    featurizer = CLIPFeaturizer(pretrained=small_clip, device="cpu", batch_size=2)
    expected = featurizer.transform(paths[:4])
    items = [make(path.read_bytes()) for path in paths[:4]]
    mixed = [paths[0], *items[1:3], str(paths[3])]
    np.testing.assert_array_equal(featurizer.transform(mixed), expected)
    if make is not Stream:  # which is read once
        column = pd.Series(items)
        np.testing.assert_array_equal(featurizer.transform(column), expected)
    for item in items:
        if hasattr(item, "close"):
            item.close()


def test_an_open_file_is_read_whole_and_left_where_it_was(small_clip, paths):
    featurizer = CLIPFeaturizer(pretrained=small_clip, device="cpu")
    with paths[0].open("rb") as file:
        file.seek(10)
        np.testing.assert_array_equal(featurizer.transform([file]), featurizer.transform(paths[:1]))
        assert file.tell() == 10


def test_one_file_object_many_times_in_many_threads(small_clip, paths):
    featurizer = CLIPFeaturizer(pretrained=small_clip, device="cpu", n_jobs=4)
    with paths[0].open("rb") as file, ThreadPoolExecutor(4) as pool:
        expected = featurizer.transform(paths[:1])
        for found in pool.map(lambda _: featurizer.transform([file] * 5), range(8)):
            np.testing.assert_array_equal(found, expected.repeat(5, axis=0))


def test_the_cache_knows_content_that_it_has_seen(small_clip, paths, encoded, tmp_path):
    """A file and its bytes are one content; bytes are never taken for the name of a file."""
    featurizer = CLIPFeaturizer(pretrained=small_clip, device="cpu", cache_dir=tmp_path / "cache")
    expected = featurizer.transform(paths[:3])
    encoded.clear()
    found = featurizer.transform([path.read_bytes() for path in paths[:3]])
    np.testing.assert_array_equal(found, expected)
    assert encoded == []
    name = bytes(paths[0])
    with pytest.raises(ImageError, match="cannot identify image file"):
        featurizer.transform([name])


def closed():
    file = io.BytesIO(b"x")
    file.close()
    return file


def read_to_its_end():
    stream = Stream(b"x")
    stream.read()
    return stream


UNREADABLE = {
    "no bytes": (b"", "there are no bytes"),
    "an empty file object": (io.BytesIO(), "there are no bytes"),
    "text": (io.StringIO("x"), r"its read\(\) gives str, not bytes; open it with mode 'rb'"),
    "asynchronous": (AsyncUpload(b"x"), r"its read\(\) gives coroutine, .*pass the file behind it"),
    "closed": (closed(), "the file object is closed"),
    "a stream at its end": (read_to_its_end(), "the file object is at its end"),
    "no image": (b"%!PS-Adobe-3.0", "cannot identify image file"),
}


@pytest.mark.parametrize(("item", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_says_why(small_clip, paths, item, reason):
    featurizer = CLIPFeaturizer(pretrained=small_clip, device="cpu")
    with pytest.raises(ImageError, match=reason):
        open_image(item)
    with pytest.raises(ImageError, match=f"item 1 .*{reason}"):
        featurizer.transform([paths[0], item])
    featurizer.set_params(on_error="nan")
    with pytest.warns(UserWarning, match="1 of 2 images cannot be read"):
        found = featurizer.transform([paths[0], item])
    assert np.isnan(found).all(axis=1).tolist() == [False, True]


def test_an_endless_stream_is_not_read():
    class Endless:
        def read(self, size):
            assert 0 < size < 2**21
            return bytes(size)

    with pytest.raises(ImageError, match="more than an image of max_pixels=16"):
        open_image(Endless(), max_pixels=16)
