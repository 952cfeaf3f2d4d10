"""Devices that are not here are refused by name, before anything is computed."""

import pytest
import torch

from skclip import BayesAdapterClassifier, ClassPrompts
from skclip.datasets import make_clip_features, tiny_clip
from skclip.utils.device import resolve_device

ABSENT = ["meta", "cuda:99", torch.device("meta"), "xla", "hpu", "vulkan"]
if not torch.backends.mps.is_available():
    ABSENT.append("mps")
MALFORMED = ["gpu", "cpu:x", "", -1]


@pytest.mark.parametrize("device", ABSENT)
def test_a_device_that_computes_nothing_here_is_refused(device):
    with pytest.raises(ValueError, match=r"device='.*' was asked for but torch .*device"):
        resolve_device(device)


@pytest.mark.parametrize("device", MALFORMED)
def test_what_is_no_device_is_refused(device):
    with pytest.raises(ValueError, match="device must be 'auto' or a torch device such as 'cpu'"):
        resolve_device(device)


def test_classifiers_and_prompts_refuse_them_too():
    data = make_clip_features(4, 3, random_state=0)
    with pytest.raises(ValueError, match="device='meta' was asked for"):
        BayesAdapterClassifier(data.prototypes, device="meta").fit(data.X, data.y)
    with pytest.raises(ValueError, match="device='meta' was asked for"):
        ClassPrompts(pretrained=tiny_clip(), device="meta").encode(["a", "b"])
