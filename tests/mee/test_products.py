"""Products are chosen by the instruction set; a precision that a processor emulates is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee import products
from mee.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(params=["AVX2", "AVX512", "SVE256"])
def processor(request, monkeypatch):
    """A kind of processor, by what torch says that it uses."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    products._has_onednn.cache_clear()
    yield request.param
    products._has_onednn.cache_clear()


def test_products_by_either_library_are_the_product(processor):
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert products._has_onednn() == (known and processor == "AVX512")

    @given(rows=st.integers(0, 9), width=st.integers(1, 40), clips=st.integers(0, 40))
    def law(rows, width, clips):
        torch.manual_seed(rows * 31 + width)
        x, y = torch.randn(width, rows).T, torch.randn(clips, width)  # rows of x do not lie together
        torch.testing.assert_close(products.float32_product(x, y), x @ y.T, rtol=1e-5, atol=1e-5)

    law()


@pytest.mark.parametrize(("seconds", "pays"), [(0.5, True), (1.0, False), (20.0, False)])
def test_a_precision_pays_by_the_time_of_its_products(monkeypatch, says, seconds, pays):
    monkeypatch.setattr(products, "_pays_on_cpu", products._pays_on_cpu.__wrapped__)  # not what is known already
    monkeypatch.setattr(products, "_seconds", lambda x: seconds if x.dtype == torch.bfloat16 else 1.0)
    assert products.pays(torch.bfloat16, CPU) == pays
    if pays:
        products.require_pays(torch.bfloat16, CPU, "--mixed-precision bf16", "--mixed-precision no")
        return
    with pytest.raises(InputError) as error:
        products.require_pays(torch.bfloat16, CPU, "--mixed-precision bf16", "--mixed-precision no")
    says(str(error.value))
