"""The logistic function and the slopes of both nonlinearities, of scalars of both precisions; exp, tanh are `math`'s.

A one of the smallest integer type leaves float32 as it is, and float64 too; 1 and 1.0 would make float64 of both.
"""

import math

import numpy as np

from ..driver import device_function

ONE = np.int8(1)
# Its exponential is 0 in float32, and in float64 one that can be inverted.
LOWEST = np.float32(-700)


@device_function
def sigmoid(x):
    """Logistic function 1 / (1 + exp(-x)); NaN stays NaN."""
    x = LOWEST if x < LOWEST else x
    return ONE / (ONE + math.exp(-x))


@device_function
def tanh_slope(y):
    """Derivative of tanh where it has the value y: 1 - y**2."""
    return ONE - y * y


@device_function
def sigmoid_slope(y):
    """Derivative of the logistic function where it has the value y: y (1 - y)."""
    return y * (ONE - y)
