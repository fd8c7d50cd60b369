from concurrent.futures import ThreadPoolExecutor

import pytest

from bakehouse.core.thread_pool import map_ahead


@pytest.mark.parametrize("ahead", [1, 4])
def test_results_come_in_order_and_no_more_than_asked_for_are_made_ahead(ahead):
    begun = []
    with ThreadPoolExecutor(3) as pool:
        results = map_ahead(pool, lambda n: begun.append(n) or n * n, range(50), ahead)
        for number in range(50):
            assert next(results) == number * number
            assert len(begun) <= number + ahead + 1
        assert list(results) == []


def test_an_error_comes_where_its_result_would():
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(pool, lambda n: 1 // n, [1, 0, 1], 2)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
