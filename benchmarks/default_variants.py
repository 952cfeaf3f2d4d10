"""The default of BayesAdapterClassifier with one change each, derived from "bayes".

Tables as ``resolve_methods`` reads them; parameters of the default stand nowhere else in the
comparisons.
"""

from dataclasses import replace
from itertools import product

from skclip import Laplace, Variational
from skclip.benchmark.method_registry import METHODS, resolve_methods


def _variant(name, label, **parameters):
    return {"name": f"bayes-{name}", "base": "bayes", "label": label, "parameters": parameters}


_PLAIN = (
    _variant("isotropic", "isotropic prior", prior_shape="isotropic"),
    _variant("precision-30", "precision 30", prior_precision=30.0),
    _variant("precision-100", "precision 100", prior_precision=100.0),
    _variant("precision-300", "precision 300", prior_precision=300.0),
    _variant("temperature-1", "temperature 1", temperature=1.0),
    _variant("temperature-0.83", "temperature 1 / 1.2", temperature=1 / 1.2),
    _variant("no-prior", "no prior (precision 0.01)", prior_precision=0.01),
    _variant("no-text", "no prototypes", prototypes=None),
)
# Averages over a posterior: they take up to minutes.
_AVERAGES = (
    _variant(
        f"{posterior}-{covariance}-{name}",
        f"{posterior}, {covariance}, {name}",
        posterior=kind(covariance, temperature=temperature),
    )
    for (posterior, kind), covariance in product(
        (("laplace", Laplace), ("variational", Variational)), ("full", "diagonal", "isotropic")
    )
    for name, temperature in (("tempered", "auto"), ("untempered", 1.0))
)
# name -> Method
DEFAULT = replace(METHODS["bayes"], label="default")
PLAIN = {method.name: method for method in (DEFAULT, *resolve_methods(_PLAIN))}
AVERAGES = {method.name: method for method in resolve_methods(_AVERAGES)}
LAPLACE = resolve_methods([_variant("laplace", "Laplace posterior", posterior="laplace")])[0]
