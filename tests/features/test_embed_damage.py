"""What happened to a folder between two calls of embed_files is noticed before it is believed."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skclip import CLIPFeaturizer, embed_files
from skclip.datasets import tiny_clip
from skclip.exceptions import BackboneError, EmbedError
from skclip.features.embed import embedding
from skclip.utils.locks import is_locked, locked

MODEL = {"pretrained": tiny_clip(), "device": "cpu", "shard_size": 4}
POSITIONS = [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def files(paths, tmp_path_factory):
    """Ten files of which the fourth cannot be read."""
    bad = tmp_path_factory.mktemp("bad") / "bad.png"
    bad.write_text("no image")
    return [*paths[:3], bad, *paths[4:10]]


@pytest.fixture(scope="module")
def expected(files):
    return CLIPFeaturizer(pretrained=tiny_clip(), device="cpu").transform(
        [files[i] for i in POSITIONS]
    )


@pytest.fixture(scope="module", params=[True, False], ids=["merged", "shards"])
def made(request, files, tmp_path_factory):
    """A folder as embed_files left it, and whether it is merged."""
    out = tmp_path_factory.mktemp("made") / "out"
    embed_files(files, out, on_error="skip", merge=request.param, **MODEL)
    return out, request.param


def assert_right(report, expected):
    """Rows, and everything that is said about them."""
    assert report.complete
    np.testing.assert_allclose(report.features, expected, rtol=0, atol=5e-6)
    assert np.load(report.out / "positions.npy").tolist() == POSITIONS
    lines = (report.out / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["position"] for line in lines] == [3]
    assert [(failed.position, failed.path) for failed in report.failures] == [
        (3, json.loads(lines[0])["path"])
    ]


def holds_after(damage, made, files, expected, out):
    """Call again on a damaged copy: right rows, or an error that says what to do."""
    shutil.copytree(made[0], out)
    try:
        damage(out)
        report = embed_files(files, out, on_error="skip", **MODEL)
    except EmbedError as error:
        assert "Remove" in str(error) or "Pass" in str(error)  # noqa: PT017
    else:
        assert_right(report, expected)
    finally:
        shutil.rmtree(out)


def regular_files(out):
    return sorted(p for p in out.rglob("*") if p.is_file() and not p.name.startswith(".lock"))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_of_any_file_is_noticed(data, made, files, expected, tmp_path):
    """A bit, a cut, an insertion, foreign content, or the file is gone."""

    def damage(out):
        path = data.draw(st.sampled_from(regular_files(out)))
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "zero", "foreign", "gone"]))
        if kind == "gone":
            path.unlink()
            return
        if kind == "flip" and content:
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del content[place:]
        elif kind == "insert":
            content[place:place] = data.draw(st.binary(min_size=1, max_size=9))
        elif kind == "zero":
            content[place:] = bytes(len(content) - place)
        else:
            content = bytearray(data.draw(st.binary(max_size=99)))
        path.write_bytes(content)

    holds_after(damage, made, files, expected, tmp_path / "out")


def test_a_changed_row_of_the_output_is_an_error(files, tmp_path):
    """There is nothing left to make it anew from."""
    out = tmp_path / "out"
    embed_files(files, out, on_error="skip", **MODEL)
    content = bytearray((out / "features.npy").read_bytes())
    content[131] ^= 1
    (out / "features.npy").write_bytes(content)
    with pytest.raises(EmbedError, match=r"it is not: .* its checksum is wrong. Remove the folder"):
        embed_files(files, out, on_error="skip", **MODEL)


@pytest.mark.slow
def test_no_changed_byte_of_any_file_gives_a_wrong_row(made, files, expected, tmp_path):
    for path in regular_files(made[0]):
        name, size = path.relative_to(made[0]), path.stat().st_size
        for position in range(0, size, max(1, size // 60)):

            def damage(out, name=name, position=position):
                content = bytearray((out / name).read_bytes())
                content[position] ^= 255
                (out / name).write_bytes(content)

            holds_after(damage, made, files, expected, tmp_path / "out")


def test_shards_that_changed_places_are_made_again(files, expected, tmp_path):
    """Each is whole, and of this job."""
    out = tmp_path / "out"
    embed_files(files, out, on_error="skip", merge=False, **MODEL)
    one, two, aside = (out / "shards" / f"{name}.npy" for name in ("00000001", "00000002", "x"))
    one.rename(aside), two.rename(one), aside.rename(two)
    report = embed_files(files, out, on_error="skip", **MODEL)
    assert report.n_encoded == 6
    assert_right(report, expected)


def test_a_damaged_shard_of_another_rank_is_not_complete(files, expected, tmp_path):
    """The last rank to end says whether the job is done."""
    out = tmp_path / "out"
    given = {**MODEL, "on_error": "skip", "world_size": 2}
    embed_files(files, out, rank=0, **given)
    shard = out / "shards" / "00000000.npy"
    content = bytearray(shard.read_bytes())
    content[150] ^= 1  # in the rows
    shard.write_bytes(content)
    assert not embed_files(files, out, rank=1, **given).complete
    assert embed_files(files, out, rank=0, **given).complete
    assert_right(embed_files(files, out, on_error="skip", **MODEL), expected)


def test_damage_during_the_call_is_found_by_the_merge(files, tmp_path, monkeypatch):
    original = embedding._work

    def work(job, *args):
        n_encoded = original(job, *args)
        content = bytearray(job.shard_file(1).read_bytes())
        content[150] ^= 1
        job.shard_file(1).write_bytes(content)
        return n_encoded

    monkeypatch.setattr(embedding, "_work", work)
    with pytest.raises(EmbedError, match="its checksum is wrong. It was removed: call again"):
        embed_files(files, tmp_path / "out", on_error="skip", **MODEL)


@pytest.mark.parametrize("text", ["", "[]", "{}", "no", "[" * 100_000, '{"format": 2}', "\xff"])
@pytest.mark.parametrize("used", [True, False], ids=["with rows", "without"])
def test_a_damaged_or_foreign_manifest_is_an_error(text, used, files, tmp_path):
    """It may be somebody's, so that it is not replaced."""
    out = tmp_path / "out"
    out.mkdir()
    if used:
        embed_files(files, out, on_error="skip", **MODEL)
    (out / "manifest.json").write_text(text)
    with pytest.raises(EmbedError, match="manifest.json must be what embed_files wrote; it is not"):
        embed_files(files, out, on_error="skip", **MODEL)
    assert (out / "manifest.json").read_text() == text


def test_a_file_or_a_folder_in_the_place_of_the_other_is_an_error_and_stays(files, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        with pytest.raises(EmbedError, match=r"out must be a folder, or not exist; "):
            embed_files(files, out, on_error="skip", **MODEL)
    assert file.read_text() == "mine"
    (tmp_path / "out" / "features.npy").mkdir(parents=True)
    with pytest.raises(EmbedError, match=r"features\.npy must be a file .* it is a folder"):
        embed_files(files, tmp_path / "out", on_error="skip", **MODEL)


# Where and with what it was started


def test_relative_paths_in_another_folder_are_other_paths(paths, tmp_path, monkeypatch):
    """Two folders with files of the same names: their rows must not be mixed."""
    for i, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        shutil.copy(paths[i], tmp_path / name / "a.png")
    monkeypatch.chdir(tmp_path / "one")
    embed_files(["a.png"], tmp_path / "out", **MODEL)
    embed_files([tmp_path / "one" / "a.png"], tmp_path / "out", **MODEL)  # the same
    monkeypatch.chdir(tmp_path / "two")
    with pytest.raises(EmbedError, match="that in .* has other paths"):
        embed_files(["a.png"], tmp_path / "out", **MODEL)


@pytest.mark.parametrize("resume", [True, False])
def test_a_start_that_failed_does_not_take_the_folder(files, expected, tmp_path, resume):
    """A model with a typing error, or a first file that cannot be read."""
    out = tmp_path / "out"
    with pytest.raises(BackboneError):
        embed_files(files, out, pretrained="local-dir:/nowhere", device="cpu")
    report = embed_files(files, out, on_error="skip", resume=resume, **MODEL)
    assert_right(report, expected)


def test_another_job_that_took_the_folder_meanwhile_is_not_mixed_in(files, tmp_path, monkeypatch):
    original = embedding._work

    def work(job, *args):
        text = (job.out / "manifest.json").read_text()
        (job.out / "manifest.json").write_text(text.replace('"float32"', '"float16"'))
        return original(job, *args)

    monkeypatch.setattr(embedding, "_work", work)
    with pytest.raises(EmbedError, match="has dtype='float16', not 'float32'"):
        embed_files(files, tmp_path / "out", on_error="skip", **MODEL)
    assert not list((tmp_path / "out" / "shards").iterdir())


# Several calls at the same time


def test_a_lock_ends_with_its_process(tmp_path):
    """Also when it is killed."""
    script = (
        "import os, pathlib, sys; from skclip.utils.locks import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read(); os._exit(9)"
    )
    lock = tmp_path / ".lock"
    command = [sys.executable, "-c", script, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert is_locked(lock)
        process.kill()
        process.wait()
    assert not is_locked(lock)


def test_a_folder_that_cannot_be_written_has_no_lock(tmp_path, monkeypatch):
    """What is finished can still be looked at."""

    def refuse(self, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("skclip.utils.locks.FileLock.acquire", refuse)
    with locked(tmp_path / ".lock"):
        pass


def call(arguments):
    files, out, rank, world_size = arguments
    import torch

    torch.set_num_threads(1)
    given = {**MODEL, "shard_size": 2, "on_error": "skip"}
    report = embed_files(files, out, rank=rank, world_size=world_size, **given)
    return report.n_encoded, report.complete


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("n", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_equal_calls_on_one_folder_take_turns(n, files, expected, tmp_path):
    """One does the work, the others wait for it and find it done."""
    with multiprocessing.get_context("fork").Pool(n) as pool:
        done = pool.map(call, [(files, tmp_path / "out", 0, 1)] * n, chunksize=1)
    assert sorted(done) == [(0, True)] * (n - 1) + [(9, True)]
    report = embed_files(files, tmp_path / "out", on_error="skip", **{**MODEL, "shard_size": 2})
    assert_right(report, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("n", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_ranks_and_a_call_for_all_at_the_same_time(n, files, expected, tmp_path):
    """Work is done twice, but nothing is lost, and nobody removes what another is writing."""
    for turn in range(n):
        out = tmp_path / f"out-{turn}"
        shares = [(files, out, 0, 1), (files, out, 0, 2), (files, out, 1, 2), (files, out, 0, 1)]
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.map(call, shares, chunksize=1)
        report = embed_files(files, out, on_error="skip", **{**MODEL, "shard_size": 2})
        assert_right(report, expected)


def test_who_waits_says_so(files, tmp_path, caplog):
    out = tmp_path / "out"
    out.mkdir()
    released = []

    def release(record):
        released.append(record.getMessage())
        held.release()
        return True

    from filelock import FileLock

    held = FileLock(out / ".lock-0-of-1")
    held.acquire()
    caplog.handler.addFilter(release)
    with caplog.at_level("WARNING", logger="skclip.utils.locks"):
        embed_files(files, out, on_error="skip", **MODEL)
    caplog.handler.removeFilter(release)
    assert released == [f"another call works on this share of {out}; waiting until it ends"]


def test_a_file_that_another_rank_is_writing_is_not_removed(files, tmp_path):
    """What a killed process left is, when nobody works there."""
    out = tmp_path / "out"
    embed_files(files, out, on_error="skip", merge=False, **MODEL)
    writing = out / "shards" / "1234.tmp"
    writing.write_bytes(b"half")
    with locked(out / ".lock-1-of-2"):
        embed_files(files, out, on_error="skip", **MODEL)
        assert writing.exists()
    embed_files(files, out, on_error="skip", **MODEL)
    assert not (out / "shards").exists()
