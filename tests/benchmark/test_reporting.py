"""The report: numbers from the rows, a page that needs nothing else."""

import csv
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from skclip.benchmark import Study, interval, recommend, report, run
from skclip.benchmark.diagrams import _risk, pooled_predictions, reliability_diagrams
from skclip.benchmark.figures import curves_over_shots, rank_diagram
from skclip.benchmark.ranks import compare_ranks
from skclip.benchmark.rendering import to_csv, to_latex, to_rst
from skclip.benchmark.tables import CROSS
from skclip.exceptions import DatasetError
from skclip.pages import Table
from tests.browsers import width_in_browser

from .result_rows import row, write_results


def table(out, name):
    with (out / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def results(feature_file, tmp_path_factory):
    """A small study of two data sets, one of which is a shift of the first."""
    out = tmp_path_factory.mktemp("results")
    datasets = [
        {"features": str(feature_file), "name": "small"},
        {"features": str(feature_file), "name": "again", "support": "val"},
        {"features": str(feature_file), "name": "shifted", "trained_on": "small"},
    ]
    run(datasets, out, methods=("zero-shot", "gda", "bayes"), shots=(1, 2), seeds=(1, 2), verbose=0)
    return out


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    return report(results, tmp_path_factory.mktemp("report"))


def test_the_interval_is_students():
    """t = 4.3027 with two degrees of freedom; the standard error is 1 / sqrt(3)."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.30265 / np.sqrt(3)), rel=1e-5)
    assert np.isnan(interval([1.0]).half_width)
    assert np.isnan(interval([]).mean)


def test_a_table_has_means_over_draws_and_marks_the_best(tmp_path):
    rows = [
        row("bayes", s, seed, accuracy=0.8 + 0.1 * seed * (s == 2))
        for s in (1, 2)
        for seed in (0, 1)
    ]
    rows += [row("gda", 1, seed, accuracy=0.85) for seed in (0, 1)]
    out = report(write_results(tmp_path, rows), formats=("csv", "rst"))
    assert table(out, "accuracy") == [
        ["Data set", "Method", "1", "2"],
        ["ants", "GDA", "85.0 ± 0.0", ""],
        ["ants", "BayesAdapter", "80.0 ± 0.0", "85.0 ± 63.5"],
    ]
    text = (out / "tables" / "accuracy.rst").read_text(encoding="utf-8")
    assert "**85.0 ± 0.0**" in text
    assert "**85.0 ± 63.5**" in text


def test_an_average_is_only_over_draws_that_all_data_sets_have(tmp_path):
    rows = [row("bayes", seed=seed, ece=0.1) for seed in (1, 2, 3)]
    rows += [row("bayes", seed=seed, ece=0.3, dataset="bees") for seed in (2, 3)]
    study = Study(write_results(tmp_path, rows))
    np.testing.assert_allclose(study.draws("ece", study.settings)["bayes", 1], [0.2, 0.2])


def test_unreliable_coverage_is_a_cross(tmp_path):
    """Reliable in two draws of three: their mean. In one of three: a cross."""
    coverages = {"sample_coverage_95": (0.5, 0.7, None), "sample_coverage_99": (0.4, None, None)}
    rows = [
        row("bayes", seed=seed, **{name: values[seed] for name, values in coverages.items()})
        for seed in range(3)
    ]
    header, entries = table(
        report(write_results(tmp_path, rows), formats=("csv",)), "sample_coverage"
    )
    assert dict(zip(header, entries, strict=True)) == {
        "Shots": "1",
        "Data set": "ants",
        "Method": "BayesAdapter",
        **dict.fromkeys(("0.80", "0.85", "0.90"), "50.0"),
        "0.95": "60.0",
        "0.99": CROSS,
    }


def test_shifts_stand_beside_what_was_fitted(tmp_path):
    rows = [row("bayes", 16, accuracy=0.7, ece=0.1, dataset="imagenet")]
    rows += [
        row("bayes", 16, accuracy=a, ece=0.2, dataset=name, support="imagenet:train")
        for name, a in (("imagenet-v2", 0.6), ("imagenet-a", 0.4))
    ]
    out = report(write_results(tmp_path, rows), formats=("csv",))
    assert table(out, "shifts")[:2] == [
        [
            "Metric",
            "Fitted on",
            "Method",
            "itself",
            "imagenet-a",
            "imagenet-v2",
            "average of shifts",
        ],
        ["Accuracy, %", "imagenet", "BayesAdapter", "70.0", "40.0", "60.0", "50.0"],
    ]
    assert {line[0] for line in table(out, "accuracy")[1:]} == {"imagenet"}


def test_methods_are_printed_by_their_labels(results):
    label_of = Study(results).label_of
    assert label_of("zs-lp") == "ZS-LP"
    assert label_of("lp++ + temperature") == "LP++ + temperature"
    assert label_of("mine") == "mine"


def test_a_method_of_a_study_has_its_own_label_until_it_is_that_of_the_registry(
    feature_file, tmp_path
):
    """Everywhere: in tables, figures and the recommendation."""
    study = {"datasets": [{"features": str(feature_file), "name": "small"}], "out": tmp_path}
    study |= {"shots": (1, 2), "seeds": (1, 2), "verbose": 0}
    own = {"name": "gda", "estimator": "GaussianDAClassifier", "label": "Ours & <theirs>"}
    run(**study, methods=[own], calibrators=("none", "temperature"))
    label = "Ours & <theirs>"
    assert recommend(tmp_path).label.startswith(label)
    out = report(tmp_path)
    for name in ("accuracy", "mean_ranks", "fit_seconds", "sample_coverage"):
        if (out / "tables" / f"{name}.csv").exists():
            assert f"{label} + temperature" in (out / "tables" / f"{name}.csv").read_text(), name
    page = (out / "index.html").read_text(encoding="utf-8")
    assert label not in page
    assert "Ours &amp; &lt;theirs&gt;" in page
    run(**study, methods=["gda"])
    assert Study(tmp_path).label_of("gda") == "GDA"


def test_every_format_escapes_what_it_must():
    entries = pd.DataFrame({"n_": [f"1 ± {CROSS}"]}, index=pd.Index(["<b>*"], name="x_1"))
    entry = Table("t", "A & B, 5 %", entries, "50 % of `n_`.", best=entries != "")
    latex = to_latex(entry)
    assert r"\caption{A \& B, 5 \%}" in latex
    assert r"x\_1 & n\_ \\" in latex
    assert r"$<$b>* & \textbf{1 $\pm$ $\times$} \\" in latex
    assert "50 \\% of `n\\_`.\n\\end{table}" in latex
    rst = to_rst(entry)
    assert "   * - x_1\n     - n\\_\n" in rst
    assert f"   * - <b>\\*\n     - **1 ± {CROSS}**\n" in rst


@pytest.mark.parametrize("text", [".. include:: /etc/passwd", ":f: x", ">>> f()", "- x", "-"])
def test_a_cell_is_no_directive(text):
    """Nor a list, a field or a test: what is first is a letter, or escaped."""
    entries = pd.DataFrame({"1": [text]}, index=pd.Index([text], name=text))
    lines = [line.strip(" *-") for line in to_rst(Table(text, text, entries)).splitlines()]
    assert text not in lines
    assert f"\\{text}".strip(" -") in [line.strip(" *") for line in lines]


def test_a_negative_number_stays_a_number():
    table = Table("t", "t", pd.DataFrame({"1": ["-1.5"]}, index=pd.Index(["=f()"], name="@m")))
    assert "     - -1.5" in to_rst(table)
    assert to_csv(table) == "'@m,1\n'=f(),-1.5\n"


def test_every_table_is_written_in_every_format(written):
    stems = {}
    for path in (written / "tables").iterdir():
        stems.setdefault(path.suffix, set()).add(path.stem)
    assert set(stems) == {".rst", ".csv", ".tex"}
    assert stems[".rst"] == stems[".csv"] == stems[".tex"]
    assert {
        "accuracy",
        "ece_by_dataset",
        "aece",
        "nll",
        "sample_coverage",
        "class_coverage",
    } <= stems[".csv"]
    assert {"shifts", "mean_ranks", "fit_seconds"} <= stems[".csv"]


def test_figures_are_whole_svg_files_that_name_every_method(written):
    names = {path.stem for path in (written / "figures").iterdir()}
    assert {"over_shots", "risk_coverage", "reliability", "ranks_nll"} <= names
    for path in (written / "figures").iterdir():
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert "#010203" not in path.read_text(encoding="utf-8")
        texts = " ".join(root.itertext())
        assert all(label in texts for label in ("Zero-shot", "GDA", "BayesAdapter")), path


def test_curves_are_the_means_with_their_intervals(results):
    study = Study(results)
    figure = Figure()
    curves_over_shots(study, {"accuracy": ("Accuracy, %", 100)}, "precomputed")(figure)
    (axes,) = figure.axes
    found = study.intervals("accuracy", study.settings)
    bands = iter(axes.collections)
    for line, method in zip(axes.lines, study.methods, strict=True):
        mean, half = 100 * np.array(list(found.loc[method])).T
        np.testing.assert_allclose(line.get_xydata(), np.column_stack([study.shots, mean]))
        if half.any():  # zero-shot has none
            box = next(bands).get_paths()[0].get_extents()
            assert (box.y0, box.y1) == pytest.approx(((mean - half).min(), (mean + half).max()))
    assert next(bands, None) is None
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [study.label_of(method) for method in study.methods]


def test_the_rank_diagram_has_methods_at_their_ranks_and_bars_over_equals():
    test = compare_ranks(("gda", "bayes", "clap", "proker"), np.tile([1, 2, 3, 4], (20, 1)))
    figure = Figure()
    rank_diagram(test, {"bayes": "BayesAdapter"}.get)(figure)
    (axes,) = figure.axes
    stems = [line.get_xdata()[0] for line in axes.lines if line.get_linewidth() == 0.8]
    assert sorted(stems) == [1, 2, 3, 4]
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 3]
    np.testing.assert_allclose(
        bars, [[0.96, 2.04], [1.96, 3.04], [2.96, 4.04], [1, 1 + test.critical_difference]]
    )
    assert "BayesAdapter  2.00" in [text.get_text() for text in axes.texts]


def test_reliability_diagrams_are_the_accuracies_of_their_bins(results):
    study = Study(results)
    confidence = np.repeat([0.05, 0.55, 0.95], [30, 50, 20])
    correct = np.r_[np.arange(30) < 3, np.arange(50) < 25, np.arange(20) < 18]
    figure = Figure()
    reliability_diagrams(study, {"bayes": (confidence, correct)})(figure)
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.05, 0.1], [0.55, 0.5], [0.95, 0.9]])
    shares = [patch.get_height() for patch in axes.patches]
    np.testing.assert_allclose(shares, [0.3, 0, 0, 0, 0, 0.5, 0, 0, 0, 0.2])


def test_figures_of_predictions_need_predictions(results, tmp_path):
    shutil.copy(results / "results.csv", tmp_path)
    out = report(tmp_path, formats=())
    names = {path.stem for path in (out / "figures").iterdir()}
    assert "over_shots" in names
    assert not names & {"risk_coverage", "reliability"}
    assert not (out / "index.html").exists()


def test_predictions_say_what_the_rows_say(results):
    """The pooled accuracy of all draws is the mean of the rows': test splits are as long."""
    study = Study(results)
    settings = [setting for setting in study.settings if setting.dataset == "small"]
    pooled = pooled_predictions(study, settings, 2)
    assert list(pooled) == study.methods
    for method, (confidence, correct) in pooled.items():
        accuracy = study.draws("accuracy", settings)[method, 2].mean()
        assert correct.mean() == pytest.approx(accuracy)
        coverage, risk = _risk(confidence, correct)
        assert coverage[-1] == 1
        assert risk[-1] == pytest.approx(1 - accuracy)


def test_failures_are_listed_and_counted(tmp_path):
    rows = [row("bayes"), row("gda") | {"status": "failed", "error": "ValueError: no & no"}]
    out = report(write_results(tmp_path, rows))
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "1 fits, 1 more failed" in page
    assert "ValueError: no &amp; no" in page


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([row("bayes")], {"formats": ("pdf",)}, r"formats must be among rst, .*; got \['pdf'\]"),
        (
            [row("bayes") | {"status": "failed"}],
            {},
            "Results must hold at least one fit that went well; got 1 that failed",
        ),
    ],
)
def test_what_cannot_be_reported_is_refused(tmp_path, rows, changes, message):
    with pytest.raises(ValueError, match=message):
        report(write_results(tmp_path, rows), **changes)


# -- the page ---------------------------------------------------------------------------


class _Resources(HTMLParser):
    """Everything that a browser would fetch, and ids, tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.fetched, self.ids, self.scripts = [], [], 0
        self.tags, self.attributes, self.texts = set(), set(), []

    def handle_data(self, data):
        self.texts.append(data)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("src", "srcset", "data", "poster") or (
                name.endswith("href") and tag != "a"
            ):
                self.fetched.append(value)
            if name == "id":
                self.ids.append(value)


def test_the_page_fetches_nothing(written):
    text = (written / "index.html").read_text(encoding="utf-8")
    page = _Resources()
    page.feed(text)
    # Inside the page, or data.
    assert all(value.startswith(("#", "data:")) for value in page.fetched)
    assert page.scripts == 0
    assert "@import" not in text
    assert all(url.startswith("#") for url in re.findall(r"url\(['\"]?([^)'\"]*)", text))
    assert "prefers-color-scheme: dark" in text


def test_ids_of_the_page_are_unique(written):
    """Figures share a page: a clip path of one must not be that of another."""
    page = _Resources()
    page.feed((written / "index.html").read_text(encoding="utf-8"))
    repeated = {name for name in page.ids if page.ids.count(name) > 1}
    assert not repeated


def test_names_are_shown_as_they_are_whatever_is_in_them(tmp_path):
    """Names of data sets, methods and models come from files: no markup, no formula."""
    data = '<script>alert("x")</script>'
    methods = ('"><img src=x onerror=alert(1)>', "a $\\frac$ b", "bayes")
    backbones = ('RN50 "x" onload=alert(1) <y> & z', "ViT {{ 7 * 7 }}")
    rows = [
        row(m, k, seed, dataset=name, backbone=b, nll=0.1 * i + 0.01 * seed)
        for i, m in enumerate(methods)
        for k in (1, 2)
        for seed in (1, 2)
        for name in (data, "bees")
        for b in backbones
    ]
    rows.append(row("gda", 1) | {"status": "failed", "error": "ValueError: <svg onload=f()>"})
    out = report(write_results(tmp_path, rows))
    page = _Resources()
    page.feed((out / "index.html").read_text(encoding="utf-8"))
    assert page.scripts == 0
    assert "img" not in page.tags
    assert not [name for name in page.attributes if name.startswith("on")]
    texts = " ".join(page.texts)
    assert all(name in texts for name in (data, *methods[:2], *backbones))
    assert "ValueError: <svg onload=f()>" in texts
    assert all(url.startswith(("#", "data:")) for url in page.fetched)
    drawn = {path: ElementTree.parse(path).getroot() for path in (out / "figures").iterdir()}
    curves = " ".join(next(r for p, r in drawn.items() if p.stem.startswith("over")).itertext())
    assert all(name in curves for name in methods[:2])


@pytest.mark.parametrize(
    "names",
    [
        ("BayesAdapter", "bayes"),  # one label
        ("long" * 20_000, "long" * 20_000 + "er"),
        ("熊猫", "पांडा"),  # of which the fonts have no glyphs
        ("$x_{", "$\\frac{a}$"),
        ("\x00", "\ud800"),
    ],
)
def test_methods_of_any_names_are_drawn(tmp_path, names):
    rows = [
        row(name, k, dataset=data, nll=0.1 + 0.1 * i)
        for i, name in enumerate((*names, "gda"))
        for k in (1, 2)
        for data in ("ants", "bees")
    ]
    out = report(write_results(tmp_path, rows))
    for path in (out / "figures").iterdir():
        ElementTree.parse(path)
        assert path.stat().st_size < 200_000
    assert len(table(out, "mean_ranks")) == 6


def test_a_draw_that_is_there_twice_is_refused(tmp_path):
    """A method whose name says a calibrator, which another row has."""
    rows = [row("bayes + temperature"), row("bayes") | {"calibrator": "temperature"}]
    with pytest.raises(DatasetError, match=r"one row for each draw; got .*'bayes \+ temperature'"):
        Study(write_results(tmp_path, rows))


def test_the_package_does_not_load_the_benchmark():
    """`import skclip` must not pay for pandas and templates where scikit-learn does not."""
    code = (
        "import sys, skclip; print([m for m in ('skclip.benchmark', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reporting_loads_no_interactive_backend(results, tmp_path):
    code = (
        "import sys; from skclip.benchmark import report\n"
        f"assert 'matplotlib' not in sys.modules; report({str(results)!r}, {str(tmp_path)!r})\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page(written, tmp_path, scheme, browser):
    preferred = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    address = (written / "index.html").as_uri()
    picture = tmp_path / "page.png"
    shown = browser(preferred, "--window-size=1100,1400", f"--screenshot={picture}", address)
    assert "CONSOLE" not in shown.stderr
    dumped = browser(preferred, "--dump-dom", address).stdout
    assert "<title>Results: again, small</title>" in dumped
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"), dtype=float)
    assert pixels.shape == (1400, 1100)
    assert pixels.std() > 10  # something is drawn
    assert (np.median(pixels) > 128) == (scheme == "light")


@pytest.mark.parametrize("width", [1100, 500, 390])
def test_wide_tables_and_figures_scroll_inside_the_page(written, tmp_path, browser, width):
    """The page itself is no wider than the window."""
    assert width_in_browser(browser, written / "index.html", width) == width
