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


def _split_file_spec(name, folder, images, split, n_classes, counts, template_set, renames=None):
    return FewShotSpec(
        name=name,
        folder=folder,
        images=images,
        layout="split-file",
        n_classes=n_classes,
        counts=MappingProxyType(dict(zip(("train", "val", "test"), counts, strict=True))),
        template_set=template_set,
        split_file=f"split_zhou_{split}.json",
        renames=MappingProxyType(renames or {}),
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

_SPECS = (
    _split_file_spec(
        *("caltech101", "caltech-101", "101_ObjectCategories", "Caltech101"),
        *(100, (4128, 1649, 2465), "caltech101", _CALTECH),
    ),
    _split_file_spec(
        *("oxford-pets", "oxford_pets", "images", "OxfordPets"),
        *(37, (2944, 736, 3669), "oxford-pets"),
    ),
    _split_file_spec(
        *("stanford-cars", "stanford_cars", "", "StanfordCars"),
        *(196, (6509, 1635, 8041), "stanford-cars"),
    ),
    _split_file_spec(
        *("flowers102", "oxford_flowers", "jpg", "OxfordFlowers"),
        *(102, (4093, 1633, 2463), "flowers102"),
    ),
    _split_file_spec(
        *("dtd", "dtd", "images", "DescribableTextures"), *(47, (2820, 1128, 1692), "dtd")
    ),
    _split_file_spec(
        *("eurosat", "eurosat", "2750", "EuroSAT"),
        *(10, (13500, 5400, 8100), "eurosat", _EUROSAT),
    ),
    _split_file_spec(
        *("ucf101", "ucf101", "UCF-101-midframes", "UCF101"), *(101, (7639, 1898, 3783), "ucf101")
    ),
    _split_file_spec(
        *("food101", "food-101", "images", "Food101"), *(101, (50500, 20200, 30300), "food101")
    ),
    _split_file_spec(
        *("sun397", "sun397", "SUN397", "SUN397"), *(397, (15880, 3970, 19850), "sun397")
    ),
    FewShotSpec(
        name="fgvc-aircraft",
        folder="fgvc_aircraft",
        images="images",
        layout="aircraft",
        n_classes=100,
        counts=MappingProxyType({"train": 3334, "val": 3333, "test": 3333}),
        template_set="fgvc-aircraft",
    ),
    FewShotSpec(
        name="imagenet",
        folder="imagenet",
        images="images",
        layout="imagenet",
        n_classes=1000,
        counts=MappingProxyType({"train": 1281167, "test": 50000}),
        template_set="imagenet-select",
    ),
    FewShotSpec(
        name="imagenet-v2",
        folder="imagenetv2",
        images="imagenetv2-matched-frequency-format-val",
        layout="imagenet-numbers",
        n_classes=1000,
        counts=MappingProxyType({"test": 10000}),
        template_set="imagenet-select",
        source="https://github.com/modestyachts/ImageNetV2",
    ),
    FewShotSpec(
        name="imagenet-sketch",
        folder="imagenet-sketch",
        images="images",
        layout="imagenet-folders",
        n_classes=1000,
        counts=MappingProxyType({"test": 50889}),
        template_set="imagenet-select",
        source="https://github.com/HaohanWang/ImageNet-Sketch",
    ),
    FewShotSpec(
        name="imagenet-a",
        folder="imagenet-adversarial",
        images="imagenet-a",
        layout="imagenet-folders",
        n_classes=200,
        counts=MappingProxyType({"test": 7500}),
        template_set="imagenet-select",
        source="https://github.com/hendrycks/natural-adv-examples",
    ),
    FewShotSpec(
        name="imagenet-r",
        folder="imagenet-rendition",
        images="imagenet-r",
        layout="imagenet-folders",
        n_classes=200,
        counts=MappingProxyType({"test": 30000}),
        template_set="imagenet-select",
        source="https://github.com/hendrycks/imagenet-r",
    ),
)

# name -> spec, in the order of the literature's tables.
FEW_SHOT_DATASETS = MappingProxyType({spec.name: spec for spec in _SPECS})
IMAGENET_SHIFTS = ("imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r")
