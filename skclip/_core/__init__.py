"""The numerical core: pure functions on tensors.

Only torch and the standard library are imported here; there is no scikit-learn, no
input or output and no global random state.

Conventions
-----------
The same letters mean the same things in every module:

=============  =======================================================================
``X``          (n, d) features, one row per image
``T``          (c, d) text prototypes
``W``          (c, d) adapted prototypes
``tau``        logit scale: logits are ``tau * X @ W.T + b``
``y``          (n,) class codes 0..c-1
``a``          (n,) sample weights
``lam``        (c,) prior precision, inverse squared weight units
``Z``          (n, r) features in an orthonormal basis of span(X), r = rank(X)
``P``          (n, c) probabilities
``H``          (n, c) curvature of the log-likelihood in the logits, ``a * P * (1 - P)``
=============  =======================================================================
"""
