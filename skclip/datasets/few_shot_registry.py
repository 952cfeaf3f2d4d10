"""The data sets of the few-shot literature: where their files lie and what they hold.

Layout and split files are those of Zhou et al., "Learning to prompt for vision-language
models", IJCV 2022 (CoOp), which later work shares. ImageNet's validation set is its test
set; its four shifted versions are for testing only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["FEW_SHOT_DATASETS", "IMAGENET_SHIFTS", "FewShotSpec"]

_SPLITS_URL = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"


@dataclass(frozen=True)
class FewShotSpec:
    """One data set: its layout under a root folder, and the numbers that must be found.

    Parameters
    ----------
    name : str
    folder : str
        Below the root.
    images : str
        Below `folder`; what paths in the split file are relative to.
    layout : {"split-file", "aircraft", "imagenet", "imagenet-folders", "imagenet-numbers"}
        How splits and labels are written down.
    n_classes : int
    counts : mapping
        Number of images of "train", "val" and "test", where they exist.
    template_set : str
        Of :func:`skclip.prompts.get_templates`.
    split_file : str
        JSON file below `folder`, for ``layout="split-file"``.
    renames : mapping
        Class names that CLIP should not be asked by, and what to ask instead.
    source : str
        Where the files come from.
    """

    name: str
    folder: str
    images: str
    layout: str
    n_classes: int
    counts: Mapping[str, int]
    template_set: str
    split_file: str = ""
    renames: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    source: str = _SPLITS_URL


def _split_file(
    name: str,
    folder: str,
    images: str,
    split: str,
    n_classes: int,
    counts: tuple[int, int, int],
    renames: Mapping[str, str] | None = None,
) -> FewShotSpec:
    """A data set with a split file of CoOp's and templates of its own name."""
    return FewShotSpec(
        name=name,
        folder=folder,
        images=images,
        layout="split-file",
        n_classes=n_classes,
        counts=MappingProxyType(dict(zip(("train", "val", "test"), counts, strict=True))),
        template_set=name,
        split_file=f"split_zhou_{split}.json",
        renames=MappingProxyType(renames or {}),
    )


def _imagenet_shift(
    name: str, folder: str, images: str, n_classes: int, n_images: int, source: str
) -> FewShotSpec:
    return FewShotSpec(
        name=name,
        folder=folder,
        images=images,
        layout="imagenet-numbers" if name == "imagenet-v2" else "imagenet-folders",
        n_classes=n_classes,
        counts=MappingProxyType({"test": n_images}),
        template_set="imagenet-select",
        source=f"https://github.com/{source}",
    )


_EUROSAT = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}
_CALTECH = {
    "airplanes": "airplane",
    "Faces": "face",
    "Leopards": "leopard",
    "Motorbikes": "motorbike",
}

# fmt: off
_SPECS = (
    _split_file("caltech101", "caltech-101", "101_ObjectCategories", "Caltech101",
                100, (4128, 1649, 2465), _CALTECH),
    _split_file("oxford-pets", "oxford_pets", "images", "OxfordPets", 37, (2944, 736, 3669)),
    _split_file("stanford-cars", "stanford_cars", "", "StanfordCars", 196, (6509, 1635, 8041)),
    _split_file("flowers102", "oxford_flowers", "jpg", "OxfordFlowers", 102, (4093, 1633, 2463)),
    _split_file("dtd", "dtd", "images", "DescribableTextures", 47, (2820, 1128, 1692)),
    _split_file("eurosat", "eurosat", "2750", "EuroSAT", 10, (13500, 5400, 8100), _EUROSAT),
    _split_file("ucf101", "ucf101", "UCF-101-midframes", "UCF101", 101, (7639, 1898, 3783)),
    _split_file("food101", "food-101", "images", "Food101", 101, (50500, 20200, 30300)),
    _split_file("sun397", "sun397", "SUN397", "SUN397", 397, (15880, 3970, 19850)),
    FewShotSpec("fgvc-aircraft", "fgvc_aircraft", "images", "aircraft", 100,
                MappingProxyType({"train": 3334, "val": 3333, "test": 3333}), "fgvc-aircraft"),
    FewShotSpec("imagenet", "imagenet", "images", "imagenet", 1000,
                MappingProxyType({"train": 1281167, "test": 50000}), "imagenet-select"),
    _imagenet_shift("imagenet-v2", "imagenetv2", "imagenetv2-matched-frequency-format-val",
                    1000, 10000, "modestyachts/ImageNetV2"),
    _imagenet_shift("imagenet-sketch", "imagenet-sketch", "images",
                    1000, 50889, "HaohanWang/ImageNet-Sketch"),
    _imagenet_shift("imagenet-a", "imagenet-adversarial", "imagenet-a",
                    200, 7500, "hendrycks/natural-adv-examples"),
    _imagenet_shift("imagenet-r", "imagenet-rendition", "imagenet-r",
                    200, 30000, "hendrycks/imagenet-r"),
)
# fmt: on

# name -> spec, in the order of the literature's tables.
FEW_SHOT_DATASETS = MappingProxyType({spec.name: spec for spec in _SPECS})
IMAGENET_SHIFTS = ("imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r")
