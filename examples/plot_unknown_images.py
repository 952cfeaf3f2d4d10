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

from skclip import BayesAdapterClassifier, ClassPrompts, CLIPFeaturizer, ood_score
from skclip.datasets import load_digits_images, tiny_clip

data = load_digits_images(shift="rotated")
featurizer = CLIPFeaturizer(pretrained=tiny_clip())
X, y = featurizer.fit_transform(data.images), data.labels
rng = np.random.default_rng(0)
known = [name for name in np.unique(y) if name != "nine"]
support = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:8] for k in known])
new = np.setdiff1d(np.arange(len(X)), support)

prompts = ClassPrompts(featurizer, templates="a photo of the digit {}.")
classifier = BayesAdapterClassifier(prompts).fit(X[support], y[support])

# %%
# Energies of later images of the nine digits, and of nines.
unknown = y[new] == "nine"
energy = ood_score(classifier, X[new])
print(f"AUROC {roc_auc_score(unknown, energy):.3f}")

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
bins = np.linspace(energy.min(), energy.max(), 41)
ax.hist(energy[~unknown], bins, density=True, alpha=0.6, color="#0072B2", label="known digits")
ax.hist(energy[unknown], bins, density=True, alpha=0.6, color="#D55E00", label="nines, unknown")
ax.set(xlabel="energy, larger is stranger", ylabel="density")
ax.legend()
