from tamt_ray.testing import check_method


def test_the_contract_is_kept() -> None:
    check_method({"method": "snip", "batches": 2, "batch_size": 4})
