"""
Calibrated probabilities from four images per class
===================================================

Adapt a CLIP model to images that it was not trained for, and look at what its
probabilities are worth: a reliability diagram and a risk-coverage curve.
"""

# %%
# Real images of handwritten digits, turned, blurred, faded and noisy, and the tiny CLIP
# that ships with skclip. It knows upright, clean digits only.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, ZeroShotClassifier
from skclip.datasets import load_digits_images, tiny_clip
from skclip.metrics import ReliabilityDisplay, RiskCoverageDisplay

data = load_digits_images(shift="combined")
featurizer = CLIPFeaturizer(pretrained=tiny_clip())
X = featurizer.fit_transform(data.images)

# %%
# Four labelled images per class; the rest is for testing.
rng = np.random.default_rng(0)
support = np.concatenate([rng.permutation(np.flatnonzero(data.target == k))[:4] for k in range(10)])
test = np.setdiff1d(np.arange(len(X)), support)

prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
classifiers = {
    "zero-shot": ZeroShotClassifier(prompts),
    "logistic regression": LogisticRegression(C=100, max_iter=1000),
    "Bayesian adapter": BayesAdapterClassifier(prompts),
}
for classifier in classifiers.values():
    classifier.fit(X[support], data.labels[support])

# %%
# On the diagonal, confidence equals accuracy.
figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
for ax, (name, classifier) in zip(axes, classifiers.items(), strict=True):
    ReliabilityDisplay.from_estimator(classifier, X[test], data.labels[test], ax=ax, name=name)

# %%
# Accept only the predictions of which the classifier is most sure: how many of them are
# wrong?
figure, ax = plt.subplots(figsize=(5.5, 4.2), layout="constrained")
for name, classifier in classifiers.items():
    RiskCoverageDisplay.from_estimator(classifier, X[test], data.labels[test], ax=ax, name=name)
