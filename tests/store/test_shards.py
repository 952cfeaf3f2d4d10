"""A shard is there completely or not at all, and knows when it was damaged."""

import numpy as np
import pytest

from skclip.store import ShardError, open_shard, write_parts, write_shard


@pytest.fixture
def rows():
    return np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def keys():
    return np.arange(128, dtype=np.uint8).reshape(4, 32)


def test_what_is_written_is_read(tmp_path, rows, keys):
    write_shard(tmp_path / "a.npy", rows, {"of": "ü"}, keys)
    shard = open_shard(tmp_path / "a.npy")
    shard.verify()
    np.testing.assert_array_equal(shard.rows(), rows)
    np.testing.assert_array_equal(shard.keys, keys)
    assert shard.record == {"of": "ü"}


def test_numpy_maps_a_shard(tmp_path, rows, keys):
    """Whoever finds the file needs none of this package."""
    write_shard(tmp_path / "a.npy", rows, {}, keys)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, rows)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)


def test_a_shard_in_parts_is_the_same_file(tmp_path, rows):
    write_shard(tmp_path / "a.npy", rows, {"x": 1})
    write_parts(tmp_path / "b.npy", iter([rows[:1], rows[1:]]), rows.shape, rows.dtype, {"x": 1})
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_a_shard_without_rows(tmp_path):
    """Every file of it may have been skipped."""
    write_shard(tmp_path / "a.npy", np.empty((0, 3), np.float16), {})
    assert open_shard(tmp_path / "a.npy").rows().shape == (0, 3)


def test_a_shard_cut_off_anywhere_is_refused(tmp_path, rows, keys):
    path = tmp_path / "a.npy"
    write_shard(path, rows, {"some": "thing"}, keys)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ShardError, match="is not a complete shard"):
            open_shard(path)


def test_a_changed_byte_is_noticed(tmp_path, rows, keys):
    """In the header, the rows, the record or the keys: on opening, or by the checksum."""
    path = tmp_path / "a.npy"
    write_shard(path, rows, {"some": "thing"}, keys)
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ShardError, match="a.npy is "):
            open_shard(path).verify()


def test_what_is_behind_the_rows_is_checked_when_it_is_read(tmp_path, rows, keys):
    """The record and the keys say what the rows are; nobody asks for the rows before."""
    path = tmp_path / "a.npy"
    write_shard(path, rows, {"some": "thing"}, keys)
    content = path.read_bytes()
    for position in [*range(128), *range(128 + rows.nbytes, len(content))]:
        changed = bytearray(content)
        changed[position] ^= 1
        if len(content) - 12 <= position < len(content) - 8:
            continue  # the checksum of everything, which is looked at when the rows are
        path.write_bytes(changed)
        with pytest.raises(ShardError, match="is not a complete shard"):
            open_shard(path)


def test_an_ordinary_array_is_no_shard(tmp_path, rows):
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(ShardError, match="its footer is missing"):
        open_shard(tmp_path / "a.npy")


def test_a_failed_write_leaves_nothing(tmp_path, rows):
    def parts():
        yield rows[:1]
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_parts(tmp_path / "a.npy", parts(), rows.shape, rows.dtype, {})
    assert list(tmp_path.iterdir()) == []
