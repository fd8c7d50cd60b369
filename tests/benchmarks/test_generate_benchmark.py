"""`benchmarks.generate`: both programs draw the same image, and a row whose images differ has no speed."""

from __future__ import annotations

import pytest

from benchmarks.generate import ROWS, Measured, Work, measure, table


@pytest.mark.parametrize("work", ROWS["tiny"], ids=lambda work: work.title)
def test_both_draw_the_same_images(work):
    found = measure(work, rounds=1)
    assert found.difference <= 2
    assert all(len(times) == 1 and times[0] > 0 for times in found.seconds.values())


def cells(found: Measured) -> list[str]:
    made = table([(Work("crumb", 2, 128, 20), found)], "")
    return [column._cells[0] for column in made.columns]


def test_ratios_are_medians_of_the_rounds():
    times = {"diffusers": [4.0, 2.0, 9.0], "bakehouse": [2.0, 2.0, 3.0]}
    shown = cells(Measured(times, {"diffusers": [3.0] * 3, "bakehouse": [2.0] * 3}, difference=1))
    assert shown == ["crumb, 128 px, 20 steps, batch 2", "0.50", "1.00", "2.00", "1.50"]


def test_different_images_have_no_speed():
    times = {"diffusers": [4.0], "bakehouse": [2.0]}
    assert cells(Measured(times, times, difference=7))[1:] == ["the images differ by 7 levels", "", "", ""]
