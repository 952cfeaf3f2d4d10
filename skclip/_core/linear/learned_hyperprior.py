"""Coefficients of the text's hyperprior; written by benchmarks/learn_hyperprior.py.

Of the log precision (over the square of a hundredth of the logit scale) and of the log
temperature, by quantity of the task, as :func:`skclip._core.linear.hyperprior.describe`
measures them.
"""

LOG_PRECISION = {
    "intercept": 3.042,
    "log_classes": 0.623,
    "log_text_loss": -0.640,
}
LOG_TEMPERATURE = {
    "intercept": -0.213,
    "log_text_loss": 0.072,
    "log_shots": 0.082,
    "log_views": -0.131,
}
# Standard deviation of the log temperature around its centre.
TEMPERATURE_WIDTH = 0.232
# Weight of a left-out row that was alone in its class.
LONE_ROW_WEIGHT = 0.087
# Without text: precision over the number of features, and the log temperature at few shots.
PLAIN_PRECISION_PER_FEATURE = 0.026
PLAIN_LOG_TEMPERATURE = -1.02
PLAIN_TEMPERATURE_WIDTH = 0.258
