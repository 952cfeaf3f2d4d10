"""benchmarks/paper: the study of the paper, on small trees of generated images, and its claims."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skclip.benchmark import METHODS, Study, read_config, read_results, run
from skclip.datasets import FEW_SHOT_DATASETS, IMAGENET_SHIFTS, tiny_clip

from ..datasets.image_trees import small_spec, write_tree
from .result_rows import row, write_results

PAPER = Path(__file__).parents[2] / "benchmarks" / "paper"


@pytest.fixture(scope="module")
def claims():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("claims", PAPER / "claims.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    return read_config(PAPER / "paper.toml")


def test_the_study_of_the_paper_has_all_data_sets_with_both_backbones(config):
    tables = config["datasets"]
    for model in ("RN50", "ViT-B-16"):
        names = [table["few_shot"] for table in tables if table["model"] == model]
        assert names == list(FEW_SHOT_DATASETS)
    shifts = {table["few_shot"] for table in tables if "trained_on" in table}
    assert shifts == set(IMAGENET_SHIFTS)
    assert set(config["methods"]) <= set(METHODS)
    assert (config["shots"], config["seeds"]) == ([1, 2, 4, 8, 16, 32], [1, 2, 3])


# The trees have the same few images in every split.
@pytest.mark.filterwarnings("ignore:.* are also among those:skclip.exceptions.StudyWarning")
def test_the_study_of_the_paper_runs_from_trees_of_images(config, tmp_path):
    """All fifteen layouts through readers, the tiny CLIP, fits and shifts."""
    tables = []
    for table in config["datasets"][::2]:  # one backbone
        name = table["few_shot"]
        write_tree(name, tmp_path)
        small = {"few_shot": small_spec(name), "pretrained": tiny_clip()}
        tables.append({k: v for k, v in table.items() if k != "model"} | small)
    given = {"methods": ("zero-shot", "bayes"), "shots": (2,), "seeds": (1,), "verbose": 0}
    run(tables, tmp_path / "out", **given)
    rows = read_results(tmp_path / "out")
    assert {row["error"] for row in rows} == {""}
    assert {row["dataset"] for row in rows} == set(FEW_SHOT_DATASETS)
    study = Study(tmp_path / "out")
    assert {setting.dataset for setting in study.shifts} == set(IMAGENET_SHIFTS)


def test_published_numbers_are_percentages_of_known_methods_and_say_their_source():
    with (PAPER / "published.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({tuple(row.items())[:5] for row in rows}) == len(rows) == 89
    assert all(row["method"] in METHODS and 0 < float(row["percent"]) < 100 for row in rows)
    assert all("second-hand" in row["source"] for row in rows)


def test_the_documentation_says_what_to_put_where():
    text = (PAPER.parents[1] / "docs" / "protocol.rst").read_text(encoding="utf-8")
    for spec in FEW_SHOT_DATASETS.values():
        entry = text.partition(f"   * - {spec.name}\n")[2].partition("   * - ")[0]
        numbers = {str(spec.n_classes), *map(str, spec.counts.values())}
        expected = {f"``{spec.folder}``", f"``{spec.split_file}``" if spec.split_file else ""}
        lines = {line.removeprefix("     -").strip() for line in entry.splitlines()}
        assert lines >= (numbers | expected) - {""}, spec.name


# -- the claims, on results whose answer is known ---------------------------------------


def results(tmp_path, ece, **metrics):
    """Four draws of methods whose ECE is ``ece(method, shots)``, accuracy in order of name."""
    accuracy = {"clap": 0.7, "gda": 0.8, "bayes": 0.9}
    rows = [
        row(
            method,
            shots,
            seed,
            accuracy=accuracy[method],
            ece=ece(method, shots) + 1e-4 * (-1) ** seed,
            **{name: value[method] for name, value in metrics.items()},
        )
        for method in accuracy
        for shots in (1, 2, 4)
        for seed in (1, 2, 3, 4)
    ]
    return Study(write_results(tmp_path, rows))


def test_growth_of_the_ece_is_a_slope_per_doubling(claims, tmp_path):
    slope = {"clap": 0.02, "gda": 0.0, "bayes": -0.01}
    study = results(tmp_path, lambda method, shots: 0.1 + slope[method] * np.log2(shots))
    for method, expected in slope.items():
        found = claims.ece_slopes(study, method, study.settings)
        np.testing.assert_allclose(found, 100 * expected, atol=1e-9)
    verdicts = {claim[0][:2] + claim[0][14:19]: claim[3] for claim in claims.claims(study)}
    assert verdicts["2.CLAP "] == verdicts["3.Bayes"] == "supported"


@pytest.mark.parametrize(("sign", "expected"), [(-1, 1.0), (1, -1.0)])
def test_accuracy_tracks_calibration_where_ranks_agree(claims, tmp_path, sign, expected):
    order = {"clap": 1, "gda": 2, "bayes": 3}
    study = results(tmp_path, lambda method, shots: 0.5 + sign * 0.1 * order[method])
    np.testing.assert_allclose(claims.correlations(study), expected)


def test_share_of_best_counts_ties_and_reliable_cells_only(claims, tmp_path):
    coverage = {"clap": 0.300, "gda": 0.505, "bayes": 0.510}
    nothing = dict.fromkeys(coverage)
    study = results(
        tmp_path,
        lambda method, shots: 0.1,
        sample_coverage_95=coverage,
        sample_coverage_99={**nothing, "gda": 0.2},
    )
    shares = claims.shares_of_best(study, 95)
    assert {m: s.tolist() for m, s in shares.items()} == {
        "clap": [0] * 4,
        "gda": [1] * 4,  # within a point
        "bayes": [1] * 4,
    }
    assert claims.shares_of_best(study, 99)["bayes"].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("mean", "half", "below", "expected"),
    [
        (0.2, 0.1, True, "supported"),
        (0.2, 0.1, False, "not supported"),
        (0.9, 0.1, False, "supported"),
        (0.45, 0.1, True, "undecided"),
        (0.2, np.nan, True, "one draw, no verdict"),
    ],
)
def test_verdicts_follow_the_interval(claims, mean, half, below, expected):
    from skclip.benchmark import Interval

    assert claims.verdict(Interval(mean, half), 0.5, holds_below=below) == expected


@pytest.mark.feature_sets
def test_claims_are_judged_on_real_features(feature_sets):
    command = [sys.executable, str(PAPER / "claims.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2. The ECE of CLAP grows with shots" in done.stdout
