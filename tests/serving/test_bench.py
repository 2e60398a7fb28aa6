"""What alexnet bench serve counts."""

from typing import Any

import pytest

from alexnet.benchmark.serving import count_exchanged


def test_an_answer_of_another_picture_is_counted_and_rounding_is_not() -> None:
    expected = [{"ant": 0.9, "bee": 0.1}, {"bee": 0.8, "ant": 0.2}]
    right = [[{"ant": 0.905, "bee": 0.095}], [{"bee": 0.79, "ant": 0.21}] * 2]
    assert count_exchanged(expected, right) == 0
    assert count_exchanged(expected, list(reversed(right))) == 3
    assert count_exchanged(expected, [[{"cat": 1.0}], []]) == 1


def test_many_clients_get_every_answer_and_each_its_own(load: Any) -> None:
    pytest.importorskip("gradio", reason="needs the extra web, which make test-extras installs")
    from alexnet.benchmark.serving import ask_many
    from serving.conftest import picture, serving

    images = [picture(seed) for seed in range(10)]
    with serving(load()) as server:
        alone = ask_many(server.address.port, images, 1, 10)
        many = ask_many(server.address.port, images, 16, 205)
    assert [len(answers) for answers in many.answers] == [21] * 5 + [20] * 5
    assert (many.resets, many.rate > 0) == (0, True)
    assert count_exchanged([answers[0] for answers in alone.answers], many.answers) == 0
