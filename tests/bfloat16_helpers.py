"""What several test files of matmul_precision="bfloat16" use."""

import numpy as np
import pytest

from fastrnn.kernels.linalg import bfloat16

ROUNDING = 2.0**-8  # of a factor, relative
f4 = np.float32

# What compiles for minutes, and adds nothing to the tests of products and gradients but the way to them.
needs_instruction = pytest.mark.skipif(bfloat16.problem() is not None, reason=str(bfloat16.problem()))
