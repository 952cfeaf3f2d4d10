"""Rows are found by their keys, whoever wrote them; what is lost counts as unknown."""

import hashlib
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from skclip.store import Cache, Table, cache_info, clear_cache, write_shard
from skclip.store.cache import parse_size
from skclip.store.index import KeyIndex


def keys_of(*names):
    digests = b"".join(hashlib.sha256(str(name).encode()).digest() for name in names)
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def rows_of(*names):
    return np.array([[name, -name] for name in names], np.float32).reshape(-1, 2)


def put(table, *names):
    table.put(keys_of(*names), rows_of(*names))
    table.refresh()


def assert_holds(table, *names):
    known, rows = table.get(keys_of(*names))
    assert known.all()
    np.testing.assert_array_equal(rows, rows_of(*names))


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path / "table", 2, np.float32)


def test_rows_come_back_in_the_order_asked_for(table):
    put(table, 1, 2, 3)
    put(table, 4, 5)
    assert_holds(table, 5, 1, 4, 1)


def test_what_is_unknown_is_told(table):
    put(table, 1, 2)
    known, rows = table.get(keys_of(7, 2, 8))
    assert known.tolist() == [False, True, False]
    np.testing.assert_array_equal(rows, rows_of(2))


def test_an_empty_table_knows_nothing(table):
    table.refresh()
    known, rows = table.get(keys_of(1))
    assert not known.any()
    assert rows.shape == (0, 2)


def test_keys_that_share_their_first_bytes_are_never_confused():
    """Only eight bytes are sorted; the others are compared."""
    one = np.zeros((1, 32), np.uint8)
    other = one.copy()
    other[0, 31] = 1
    index = KeyIndex([one])
    assert index.find(other)[0].tolist() == [-1]
    assert index.find(one)[0].tolist() == [0]


def test_another_process_reads_what_this_one_wrote(table):
    put(table, 1, 2)
    again = Table(table.folder, 2, np.float32)
    again.refresh()
    assert_holds(again, 2, 1)


def test_many_small_shards_become_one(tmp_path):
    """A call for each image must not leave a file for each image."""
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    for i in range(100):
        cache.put(table, keys_of(i % 90), rows_of(i % 90))
    files = list(table.folder.glob("*.npy"))
    assert len(files) <= 33
    table.refresh()
    assert_holds(table, *range(90))
    assert len(table) <= 100


def test_a_shard_that_is_removed_under_a_reader_counts_as_unknown(table):
    put(table, 1, 2)
    for path in table.folder.iterdir():
        path.unlink()
    known, _ = table.get(keys_of(1, 2))
    assert not known.any()


def test_a_damaged_shard_is_removed_and_its_rows_are_unknown(table, caplog):
    put(table, 1, 2)
    (path,) = table.folder.iterdir()
    content = bytearray(path.read_bytes())
    content[130] ^= 255
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        known, _ = table.get(keys_of(1, 2))
    assert not known.any()
    assert "its checksum is wrong; it is removed and its rows are computed again" in caplog.text
    assert not path.exists()


def test_damage_is_noticed_also_where_the_shard_was_sound_before(table):
    """In the same process, which has looked at its checksum once."""
    put(table, 1, 2)
    assert_holds(table, 1, 2)
    (path,) = table.folder.iterdir()
    content = bytearray(path.read_bytes())
    content[130] ^= 255
    path.write_bytes(content)
    assert not table.get(keys_of(1, 2))[0].any()


def test_a_truncated_shard_is_removed(table, caplog):
    put(table, 1)
    (path,) = table.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    again = Table(table.folder, 2, np.float32)
    again.refresh()
    assert "is not a complete shard" in caplog.text
    assert len(again) == 0


def write_many(arguments):
    folder, worker = arguments
    cache = Cache(folder)
    table = cache.table({"kind": "image"}, 2, np.float32)
    for i in range(40):
        name = worker * 1000 + i
        cache.put(table, keys_of(name, i), rows_of(name, i))
        table.refresh()
        known, rows = table.get(keys_of(name, i))
        # Compaction by another process may hide a row for a moment; it must never change it.
        np.testing.assert_array_equal(rows, rows_of(*np.array([name, i])[known]))
    return worker


def test_processes_write_at_the_same_time(tmp_path):
    """They also compact each other's shards; no row is lost or wrong in the end."""
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        assert list(pool.map(write_many, [(tmp_path, w) for w in range(3)])) == [0, 1, 2]
    table = Cache(tmp_path).table({"kind": "image"}, 2, np.float32)
    table.refresh()
    assert_holds(table, *(w * 1000 + i for w in range(3) for i in range(40)), *range(40))


def test_another_identity_is_another_table(tmp_path):
    cache = Cache(tmp_path)
    one = cache.table({"weights": "a"}, 2, np.float32)
    other = cache.table({"weights": "b"}, 2, np.float32)
    cache.put(one, keys_of(1), rows_of(1))
    other.refresh()
    assert not other.get(keys_of(1))[0].any()
    assert cache.table({"weights": "a"}, 2, np.float32) is one


def test_beyond_the_limit_the_longest_unused_go(tmp_path):
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    for name in range(4):
        cache.put(table, keys_of(name), rows_of(name))
    table.refresh()
    for path in table.folder.glob("*.npy"):
        os.utime(path, (1, 1))
    assert_holds(table, 2)  # used now
    size = cache_info(tmp_path).n_bytes // 4
    limited = Cache(tmp_path, limit=2 * size)
    limited.put(table, keys_of(9), rows_of(9))
    table.refresh()
    assert table.get(keys_of(0, 1, 2, 3, 9))[0].tolist() == [False, False, True, False, True]


def test_info_counts_what_is_there(tmp_path):
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image", "precision": "fp32"}, 2, np.float32, "ViT")
    cache.put(table, keys_of(1, 2), rows_of(1, 2))
    cache.put(table, keys_of(3), rows_of(3))
    info = cache_info(tmp_path)
    (space,) = info.spaces
    assert (space.kind, space.model, space.precision) == ("image", "ViT", "fp32")
    assert (space.n_rows, space.n_shards) == (3, 2)
    on_disk = sum(path.stat().st_size for path in space.folder.glob("*.npy"))
    assert info.n_bytes == space.n_bytes == on_disk


def test_clearing_removes_what_is_ours_and_nothing_else(tmp_path):
    """Someone may pass a folder that holds other things."""
    (tmp_path / "notes.npy").write_text("mine")
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    cache.put(table, keys_of(1), rows_of(1))
    ours = sum(path.stat().st_size for path in table.folder.iterdir())
    (table.folder / "foreign.txt").write_text("mine")
    assert clear_cache(tmp_path) == ours > cache_info(tmp_path).n_bytes
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"notes.npy", "foreign.txt"}
    assert cache_info(tmp_path).n_bytes == 0
    assert clear_cache(tmp_path) == 0


def test_an_abandoned_temporary_file_is_removed(tmp_path):
    cache = Cache(tmp_path, limit="1 GB")
    table = cache.table({"kind": "image"}, 2, np.float32)
    cache.put(table, keys_of(1), rows_of(1))
    old, new = table.folder / "old.tmp", table.folder / "new.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    cache.evict()
    assert not old.exists()
    assert new.exists()


def test_a_file_is_no_cache_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="cache_dir must be a folder; .*file' is a file"):
        Cache(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "size"), [(5, 5), ("7", 7), ("20 GB", 20 * 10**9), ("1.5k", 1500), ("2MiB", 2**21)]
)
def test_sizes_are_numbers_or_text(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("size", [-1, "many", "-3 GB"])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="A size must be a number of bytes or text such as"):
        parse_size(size)


# Other processes, and files of others


def test_a_foreign_array_in_the_folder_of_a_table_is_left_alone(tmp_path):
    """Neither taken for rows, nor counted, nor removed: by reading, evicting or clearing."""
    cache = Cache(tmp_path, limit=0)
    table = cache.table({"kind": "image"}, 2, np.float32)
    table.folder.mkdir(parents=True)
    mine = table.folder / "my-rows.npy"
    np.save(mine, np.ones((5, 2), np.float32))
    content = mine.read_bytes()
    cache.put(table, keys_of(1), rows_of(1))
    table.refresh()
    assert len(table) == 0
    assert cache_info(tmp_path).n_bytes == 0
    clear_cache(tmp_path)
    assert mine.read_bytes() == content


@pytest.mark.parametrize("call", [cache_info, clear_cache], ids=lambda call: call.__name__)
def test_files_that_vanish_while_they_are_counted(call, tmp_path, monkeypatch):
    """Another process clears the same cache between the listing and the look."""
    cache = Cache(tmp_path)
    for kind in ("image", "text"):
        cache.put(cache.table({"kind": kind}, 2, np.float32), keys_of(1), rows_of(1))
    original = Path.stat

    def vanish(path, **options):
        if path.suffix in (".npy", ".json"):
            path.unlink(missing_ok=True)
        return original(path, **options)

    monkeypatch.setattr(Path, "stat", vanish)
    call(tmp_path)
    monkeypatch.undo()
    assert cache_info(tmp_path).n_bytes == 0


def test_a_folder_that_is_cleared_while_it_is_written_to_gets_the_rows(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    original, clears = write_shard, iter([True, True])

    def write(path, *args):
        if next(clears, False):
            clear_cache(tmp_path)
        original(path, *args)

    monkeypatch.setattr("skclip.store.table.write_shard", write)
    cache.put(table, keys_of(1), rows_of(1))
    table.refresh()
    assert_holds(table, 1)


def test_a_folder_that_is_cleared_while_it_is_made_gets_the_rows(tmp_path, monkeypatch):
    """pathlib looks at a folder once more after it was there, and says that it exists."""
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    cache.put(table, keys_of(1), rows_of(1))
    original, clears = Path.is_dir, iter([True, True])

    def is_dir(path):
        if path == table.folder and next(clears, False):
            clear_cache(tmp_path)
        return original(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    cache.put(table, keys_of(2), rows_of(2))
    table.refresh()
    assert_holds(table, 2)


def test_a_file_that_another_process_is_writing_survives_clearing(tmp_path):
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    cache.put(table, keys_of(1), rows_of(1))
    (table.folder / "writing.tmp").write_bytes(b"half")
    clear_cache(tmp_path)
    assert [path.name for path in table.folder.iterdir()] == ["writing.tmp"]


def test_a_folder_that_cannot_be_read_is_an_empty_one(tmp_path, caplog):
    """A file stands in for a folder without permission, which root would read."""
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    table.folder.parent.mkdir()
    table.folder.write_text("")
    for _ in range(3):
        table.refresh()
        assert not table.get(keys_of(1))[0].any()
    assert caplog.text.count("cannot be read, so it counts as empty") == 1
    with pytest.raises(OSError, match="exists|Not a directory"):
        cache.put(table, keys_of(1), rows_of(1))


def test_a_shard_that_cannot_be_read_is_not_removed(table, monkeypatch):
    """No permission, or a disk that is away for a moment, is no damage."""
    put(table, 1)
    (path,) = table.folder.iterdir()

    def refuse(self, *args, **kwargs):
        raise PermissionError("Permission denied")

    again = Table(table.folder, 2, np.float32)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        again.refresh()
        assert not table.get(keys_of(1))[0].any()
    assert path.exists()


@pytest.mark.parametrize("text", ["[]", "3", "nonsense", "\xff"])
def test_a_damaged_description_costs_the_names_only(text, tmp_path):
    cache = Cache(tmp_path)
    table = cache.table({"kind": "image"}, 2, np.float32)
    cache.put(table, keys_of(1), rows_of(1))
    (table.folder / "space.json").write_text(text)
    assert [(s.kind, s.n_rows) for s in cache_info(tmp_path).spaces] == [("unknown", 1)]
