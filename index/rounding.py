"""How far computed inner products can be from exact ones.

    |fl(q . x) - q . x| <= gamma_n sum of |q_i x_i|,   gamma_n = n u / (1 - n u),   u = 2^-24

for float32 and any order of n operations on each product (Higham, Accuracy and Stability of Numerical Algorithms,
section 3.1). With Cauchy and Schwarz the sum is at most the sum over the experts of ||q_m|| ||x_m||.
"""

from __future__ import annotations

LARGEST_NORM = 1.001  # of a clip's expert; what is put into an index is held to it
UNIT = 2.0**-24  # of float32
ULP = 2.0**-22  # more than a score's own rounding to float32, and than that of a threshold made of it
BFLOAT16 = 2.0**-8  # largest relative error of a number rounded to bfloat16, which has 8 bits


def gamma(terms: int) -> float:
    """gamma_n of an inner product of so many terms, of inputs that are rounded to float32 and a rounded result."""
    operations = terms + 6
    return operations * UNIT / (1 - operations * UNIT)
