"""
Unknown images come in
======================

A classifier gives every image one of its classes, also those that belong to none of them. Its
logits know more than its probabilities, which divide their scale out.
"""

# %%
# Real images of handwritten digits, turned, and the tiny CLIP that ships with skclip. Eight
# labelled images of nine digits each; the tenth digit comes in later, and nobody said so.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from skclip import (
    BayesAdapterClassifier,
    ClassPrompts,
    CLIPFeaturizer,
    OpenSetClassifier,
    ood_score,
)
from skclip.datasets import load_digits_images, tiny_clip

data = load_digits_images(shift="rotated")
featurizer = CLIPFeaturizer(pretrained=tiny_clip())
X, y = featurizer.fit_transform(data.images), data.labels
rng = np.random.default_rng(0)
known = [name for name in np.unique(y) if name != "nine"]
support = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:8] for k in known])
new = np.setdiff1d(np.arange(len(X)), support)

prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
classifier = OpenSetClassifier(BayesAdapterClassifier(prompts), false_alarm_rate=0.05)
classifier.fit(X[support], y[support])
print(classifier.predict(X[new[:8]]))

# %%
# Energies of later images of the nine digits, and of nines. The threshold comes from the support
# alone: every labelled image is scored by a model without it. What lies right of it is "unknown".
# The dotted line is the naive threshold, from the scores of the fitted images themselves.
unknown = y[new] == "nine"
energy = ood_score(classifier.estimator_, X[new])
flagged = classifier.is_outlier(X[new])
naive = np.quantile(ood_score(classifier.estimator_, X[support]), 0.95)
print(f"false alarms {flagged[~unknown].mean():.1%}, found {flagged[unknown].mean():.1%}")
print(f"naive false alarms {(energy > naive)[~unknown].mean():.1%}")
print(f"AUROC {roc_auc_score(unknown, energy):.3f}")

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
bins = np.linspace(energy.min(), energy.max(), 41)
ax.hist(energy[~unknown], bins, density=True, alpha=0.6, color="#0072B2", label="known digits")
ax.hist(energy[unknown], bins, density=True, alpha=0.6, color="#D55E00", label="nines, unknown")
ax.axvline(classifier.threshold_, color="0.3", label="threshold, left out")
ax.axvline(naive, color="0.3", linestyle=":", label="naive threshold")
ax.set(xlabel="energy, larger is stranger", ylabel="density")
ax.legend(loc="upper left")
