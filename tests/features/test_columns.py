"""Columns of images as tables have them: pandas, polars, pyarrow, Hugging Face datasets."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skclip import BayesAdapterClassifier, CLIPFeaturizer
from skclip.exceptions import ImageError
from skclip.features import open_image

datasets = pytest.importorskip("datasets")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def names(paths):
    return [str(path) for path in paths[:5]]


@pytest.fixture(scope="module")
def featurizer(small_clip):
    return CLIPFeaturizer(pretrained=small_clip, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def expected(featurizer, names):
    return featurizer.transform(names)


def contents(names):
    return [Path(name).read_bytes() for name in names]


def undecoded(names):
    """As datasets writes images to Parquet: the content, and what the file was called."""
    return [
        {"bytes": content, "path": f"gone/{i}.png"} for i, content in enumerate(contents(names))
    ]


def by_path(names):
    """As datasets keeps images of a folder: the file stays where it is."""
    return [{"bytes": None, "path": name} for name in names]


def images(names):
    return [Image.open(io.BytesIO(content)) for content in contents(names)]


ITEMS = {"paths": list, "bytes": contents, "undecoded": undecoded, "by path": by_path}
COLUMNS = {
    "list": list,
    "pandas Series": pd.Series,
    "pandas table": lambda items: pd.DataFrame({"image": items}, index=range(7, 12)),
    "pandas of arrow": lambda items: pd.Series(items, dtype=pd.ArrowDtype(pa.array(items).type)),
    "polars Series": pl.Series,
    "polars table": lambda items: pl.DataFrame({"image": items}),
    "pyarrow array": pa.array,
    "pyarrow column": lambda items: pa.table({"image": items})["image"],
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS)
def test_a_column_is_the_list_of_its_items(featurizer, names, expected, items, column):
    np.testing.assert_array_equal(featurizer.transform(column(items(names))), expected)


@pytest.mark.parametrize("column", [list, pd.Series, pl.Series], ids=["list", "pandas", "polars"])
def test_a_column_of_opened_images(featurizer, names, expected, column):
    np.testing.assert_array_equal(featurizer.transform(column(images(names))), expected)


@pytest.fixture(scope="module")
def photographs(names):
    """A data set with an image column, as load_dataset("imagefolder") makes it."""
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict({"image": names, "label": [0, 1, 0, 1, 0]}, kinds)


@pytest.mark.parametrize("decoded", [True, False])
def test_the_image_column_of_a_dataset(featurizer, photographs, expected, decoded):
    """Decoded images come one by one; undecoded ones are not decoded twice."""
    rows = photographs.cast_column("image", datasets.Image(decode=decoded))
    np.testing.assert_array_equal(featurizer.transform(rows["image"]), expected)


def test_an_embedded_dataset_through_parquet(featurizer, photographs, expected, tmp_path):
    """What is on the hub is read by pandas and polars, too: the content of every image."""
    photographs.map(lambda row: row, features=photographs.features).to_parquet(
        tmp_path / "rows.parquet"
    )
    for read in (pd.read_parquet, pl.read_parquet):
        column = read(tmp_path / "rows.parquet")["image"]
        np.testing.assert_array_equal(featurizer.transform(column), expected)


def test_a_dataset_is_split_and_scored_like_a_list(small_clip, paths, kinds):
    """scikit-learn takes rows of the column by number; nothing is read that is not asked for."""
    column = datasets.Dataset.from_dict(
        {"image": [str(path) for path in paths]}, datasets.Features({"image": datasets.Image()})
    )["image"]
    pipeline = make_pipeline(CLIPFeaturizer(pretrained=small_clip), BayesAdapterClassifier())
    scores = cross_val_score(pipeline, column, kinds, cv=4)
    np.testing.assert_array_equal(scores, cross_val_score(pipeline, paths, kinds, cv=4))


def test_missing_images_of_every_library(featurizer, names, expected):
    """None, NA and a struct of nothing are images that cannot be read."""
    tolerant = CLIPFeaturizer(featurizer.model, featurizer.pretrained, on_error="nan")
    for column in (
        [names[0], {"bytes": None, "path": None}],
        pd.Series([names[0], None], dtype="string"),
        pl.Series([names[0], None]),
        pl.Series([{"bytes": None, "path": names[0]}, None]),
        pa.array([names[0], None]),
    ):
        with pytest.warns(match="1 of 2 images"):
            found = tolerant.transform(column)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-6)  # of another batch
        assert np.isnan(found[1]).all()


def test_whole_rows_are_refused_with_the_way_to_the_column(featurizer, photographs):
    message = r"Pass the images alone, such as X\['image'\] of a table with keys 'image', 'label'"
    with pytest.raises(ImageError, match=message):
        featurizer.transform(photographs)
    with pytest.raises(ImageError, match=message):
        featurizer.transform(list(photographs))


def test_a_path_beside_the_content_is_only_a_name(names):
    """The files of a data set from the hub are not on this machine."""
    row = undecoded(names)[0]
    assert open_image(row).tobytes() == open_image(names[0]).tobytes()
    with pytest.raises(ImageError, match="there is no image"):
        open_image({"bytes": None, "path": None})
