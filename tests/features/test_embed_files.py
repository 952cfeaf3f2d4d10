"""embed_files: the rows of transform, in a folder, whatever happens on the way."""

import json
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest

import skclip
from skclip import CLIPFeaturizer, embed_files
from skclip.exceptions import BackboneError, EmbedError, ImageError


@pytest.fixture
def embed(small_clip, tmp_path):
    def call(paths, **parameters):
        given = {"model": small_clip, "device": "cpu", "shard_size": 7, "batch_size": 4}
        out = parameters.pop("out", tmp_path / "out")
        return embed_files(paths, out, **{**given, **parameters})

    return call


@pytest.fixture
def expected(small_clip, paths):
    return CLIPFeaturizer(small_clip, device="cpu").transform(paths)


@pytest.fixture
def broken(paths, tmp_path):
    """Forty files of which the third and the tenth cannot be read."""
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    return [*paths[:2], text, *paths[3:9], tmp_path / "nowhere.png", *paths[10:]]


def assert_rows(report, expected, atol=5e-6):
    assert report.complete
    np.testing.assert_allclose(report.features, expected, rtol=0, atol=atol)


def test_row_i_belongs_to_path_i(embed, paths, expected):
    report = embed(paths)
    assert_rows(report, expected)
    assert isinstance(report.features, np.memmap)
    assert (report.n_files, report.n_rows, report.n_encoded) == (40, 40, 40)
    assert (report.n_shards, report.n_resumed, report.failures) == (6, 0, ())
    assert sorted(p.name for p in report.out.iterdir() if not p.name.startswith(".lock")) == [
        "failures.jsonl",
        "features.npy",
        "manifest.json",
    ]


def test_rows_do_not_depend_on_jobs_and_threads(embed, paths, tmp_path):
    """Bit for bit: a shard is cut into the same batches whoever makes it."""
    one = embed(paths, n_threads=1).features
    for i, parameters in enumerate([{"n_threads": 3}, {"n_jobs": 2, "n_threads": 2}]):
        with joblib.parallel_config(backend="threading"):
            report = embed(paths, out=tmp_path / f"{i}", **parameters)
        np.testing.assert_array_equal(report.features, one)


def test_float16_and_raw_length(embed, small_clip, paths):
    raw = CLIPFeaturizer(small_clip, device="cpu", normalize=False).transform(paths)
    report = embed(paths, normalize=False, dtype="float16")
    assert report.features.dtype == np.float16
    np.testing.assert_allclose(report.features, raw, rtol=2**-10, atol=1e-5)


def test_a_finished_folder_is_not_done_again(embed, paths, expected, encoded):
    embed(paths)
    assert sum(encoded) == 40
    report = embed(paths)
    assert sum(encoded) == 40
    assert (report.n_encoded, report.n_resumed) == (0, 6)
    assert_rows(report, expected)


def test_batch_size_and_threads_may_change_between_calls(embed, paths, encoded):
    embed(paths, merge=False)
    report = embed(paths, batch_size=3, n_threads=2)
    assert report.n_encoded == 0
    assert report.complete


def test_without_merge_the_shards_are_the_output(embed, paths, expected):
    report = embed(paths, merge=False)
    shards = sorted((report.out / "shards").iterdir())
    assert [len(np.load(path, mmap_mode="r")) for path in shards] == [7] * 5 + [5]
    rows = np.concatenate([np.load(path) for path in shards])
    np.testing.assert_allclose(rows, expected, rtol=0, atol=5e-6)


def test_ranks_share_the_work_and_a_last_call_merges(embed, paths, expected, encoded):
    reports = [embed(paths, rank=rank, world_size=4) for rank in (2, 0, 3, 1)]
    assert [report.complete for report in reports] == [False, False, False, True]
    assert [report.n_encoded for report in reports] == [7, 14, 7, 12]
    report = embed(paths)
    assert report.n_encoded == 0
    assert_rows(report, expected)


def test_a_stop_at_a_broken_file_keeps_the_finished_shards(embed, paths, tmp_path, encoded):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    items = [*paths[:30], bad, *paths[31:]]
    with pytest.raises(ImageError, match=r"item 30 \('.*bad.png'\): the file is empty"):
        embed(items)
    before = sum(encoded)
    report = embed(items, on_error="nan")
    assert report.n_resumed == 4
    assert sum(encoded) - before == report.n_encoded == 11
    assert np.isnan(report.features[30]).all()


def test_unreadable_files_become_nan_and_are_reported(embed, broken, expected):
    report = embed(broken, on_error="nan")
    bad = np.isin(np.arange(40), [2, 9])
    assert np.isnan(report.features[bad]).all()
    np.testing.assert_allclose(report.features[~bad], expected[~bad], rtol=0, atol=5e-6)
    assert [(f.position, f.reason) for f in report.failures] == [
        (2, "UnidentifiedImageError: cannot identify image file"),
        (9, "the file is missing"),
    ]
    lines = (report.out / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(broken[2]), str(broken[9])]
    assert embed(broken, on_error="nan").failures == report.failures


def test_skipped_files_have_no_row(embed, broken, expected):
    report = embed(broken, on_error="skip")
    positions = np.load(report.out / "positions.npy")
    assert report.n_rows == 38
    np.testing.assert_array_equal(positions, np.delete(np.arange(40), [2, 9]))
    assert_rows(report, expected[positions])
    assert [failed.position for failed in report.failures] == [2, 9]


def test_every_file_may_be_skipped(embed, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    report = embed([bad] * 9, on_error="skip")
    assert report.features.shape == (0, 16)
    assert [failed.position for failed in report.failures] == list(range(9))
    assert len(np.load(report.out / "positions.npy")) == report.n_rows == 0


def test_shards_with_failures_are_done_again_for_another_on_error(embed, broken, encoded):
    embed(broken, on_error="nan", merge=False)
    before = sum(encoded)
    report = embed(broken, on_error="skip")
    assert report.n_rows == 38
    assert sum(encoded) - before == 12  # the two shards with a failure


def test_a_merged_folder_of_another_on_error_is_refused(embed, broken):
    embed(broken, on_error="nan")
    with pytest.raises(EmbedError, match="must have been made with on_error='skip'; it was made w"):
        embed(broken, on_error="skip")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard_size": 8}, "shard_size=7, not 8"),
        ({"dtype": "float16"}, "dtype='float32', not 'float16'"),
        ({"normalize": False}, "normalize=True, not False"),
        ({"precision": "bf16"}, "precision='fp32', not 'bf16'"),
        ({"paths": ["other.png"] * 9}, "other paths, or another order of them"),
    ],
)
def test_a_folder_of_another_job_is_refused(embed, paths, changes, message):
    embed(paths[:9])
    with pytest.raises(EmbedError, match=f"hold the same job; that in .* has {message}"):
        embed(**{"paths": paths[:9], **changes})


def test_other_paths_are_another_job(embed, paths):
    """Also the same ones in another order."""
    embed(paths)
    with pytest.raises(EmbedError, match="hold the same job"):
        embed(paths[::-1])


def test_without_resume_a_used_folder_is_refused(embed, paths):
    embed(paths, resume=False)
    with pytest.raises(EmbedError, match="out must hold no embeddings when resume is False"):
        embed(paths, resume=False)


def test_a_foreign_features_file_is_not_overwritten(embed, paths, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "features.npy").write_text("mine")
    with pytest.raises(EmbedError, match="holds another features.npy"):
        embed(paths)
    assert (tmp_path / "out" / "features.npy").read_text() == "mine"


def test_other_weights_on_resuming_are_refused(embed, small_clip, paths, tmp_path):
    """The names are the same, the file is not: rows of two models must not be mixed."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "clip"
    shutil.copytree(small_clip.removeprefix("local-dir:"), folder)
    model = f"local-dir:{folder}"
    embed(paths, model=model, rank=0, world_size=2)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.proj"] += 1
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(EmbedError, match="The model must be the one that the finished shards"):
        embed(paths, model=model)


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign"])
def test_a_damaged_shard_never_reaches_the_output(embed, paths, expected, damage):
    report = embed(paths, merge=False)
    second = sorted((report.out / "shards").iterdir())[1]
    content = bytearray(second.read_bytes())
    if damage == "cut":
        second.write_bytes(content[:-100])
    elif damage == "foreign":
        np.save(second, np.ones((7, 16), np.float32))
    else:
        content[200] ^= 255
        second.write_bytes(content)
    report = embed(paths)
    assert report.n_encoded == 7
    assert_rows(report, expected)


def test_odd_names_are_paths_like_any_other(embed, paths, expected, tmp_path):
    """Unicode, blanks, line breaks, bytes that are no text, and as long as a name may be."""
    names = ["Füße 貓.png", "a b\tc\nd.png", "x" * 251 + ".png", "\udcff\udcfe.png"]
    copies = [Path(shutil.copy(paths[i], tmp_path / name)) for i, name in enumerate(names)]
    bad = tmp_path / "\udcff bad.png"
    bad.write_text("no image")
    report = embed([*copies, bad], on_error="nan")
    np.testing.assert_allclose(report.features[:4], expected[:4], rtol=0, atol=5e-6)
    line = (report.out / "failures.jsonl").read_text()
    assert json.loads(line)["path"] == str(bad)


def test_what_is_no_path_is_refused(embed, pixels):
    with pytest.raises(ImageError, match="Every item of paths must be a path .*; item 1 is uint8"):
        embed(["a.png", pixels[0]])


def test_a_model_that_cannot_be_loaded_says_so(embed, paths):
    with pytest.raises(BackboneError, match="must be followed by an existing folder"):
        embed(paths, model="local-dir:/nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on_error": "ignore"}, "on_error must be one of raise, nan, skip; got 'ignore'"),
        ({"dtype": "float64"}, "dtype must be one of float32, float16; got 'float64'"),
        ({"shard_size": 0}, "shard_size must be at least 1; got 0"),
        ({"rank": 2, "world_size": 2}, "rank must be at least 0 and below world_size; got rank=2"),
    ],
)
def test_wrong_parameters_are_named(embed, paths, changes, message):
    with pytest.raises(ValueError, match=message):
        embed(paths, **changes)


def test_any_sequence_of_paths_streams(embed, paths, expected):
    """A sequence that makes its paths when they are asked for need never be a list."""

    class Listing:
        def __len__(self):
            return len(paths)

        def __getitem__(self, i):
            return str(paths[i])

    assert_rows(embed(Listing()), expected)


def test_progress_is_shown_when_asked_for(embed, paths, capsys):
    embed(paths, verbose=1)
    assert "40/40" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_of_this_machine_share_the_work(embed, paths, expected):
    """joblib's own back end; each worker loads the model for itself."""
    report = embed(paths, n_jobs=2)
    assert report.n_encoded == 40
    assert_rows(report, expected)


def test_the_report_is_what_skclip_exports(embed, paths):
    assert isinstance(embed(paths[:2]), skclip.features.EmbedReport)
