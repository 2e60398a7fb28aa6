from typing import Any

import pytest

from alexnet.recipes.fields import Recipe, Stop
from alexnet.recipes.named import Optimization, find_recipe
from alexnet.training.schedule import Schedule


def test_the_rate_is_divided_at_plateaus_three_times_and_then_training_ends() -> None:
    schedule = Schedule(Optimization(plateau_patience_epochs=2, plateau_threshold=0.01))
    rates, sentences = [], []
    for epoch, error in enumerate([0.9, 0.8, 0.795, 0.80, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]):
        rates.append(schedule.rate(epoch))
        sentences.append(schedule.observe(epoch, error))
    # 0.795 is no improvement on 0.8 by 0.01; two epochs without one drop the rate.
    assert rates == pytest.approx([0.01] * 4 + [0.001] * 3 + [0.0001] * 2 + [0.00001] * 2)
    assert sentences[3] == "no improvement on 80.00% error for 2 epochs: learning rate divided by 10 (1 of 3)"
    assert sentences[10] is None
    assert schedule.ended(11) == "no improvement on 70.00% error for 2 epochs after 3 drops of the learning rate"


def test_a_plateau_schedule_goes_on_after_a_checkpoint_as_if_nothing_had_happened() -> None:
    errors = [0.9, 0.85, 0.86, 0.84, 0.85, 0.85, 0.85, 0.6, 0.6]
    whole = Schedule(Optimization(plateau_patience_epochs=2))
    for epoch, error in enumerate(errors):
        whole.observe(epoch, error)
    part = Schedule(Optimization(plateau_patience_epochs=2))
    for epoch, error in enumerate(errors):
        again = Schedule(Optimization(plateau_patience_epochs=2))
        again.restore(part.state())
        again.observe(epoch, error)
        part = again
    assert part.state() == whole.state()


def test_averages_reach_back_a_tenth_of_the_updates_so_far_and_then_average_epochs() -> None:
    schedule = Schedule(Optimization(average_epochs=2), num_batches=10)
    places = (0, 0.1, 0.9, 1, 1.9, 4.9, 19.8, 19.9, 20, 40)
    shares = [schedule.average_share(place) for place in places]
    # From the first ten updates on, one in every ten updates so far; one in 2 * 10 from the 200th update on.
    assert shares == pytest.approx([1, 1, 1, 1 / 1.1, 1 / 2, 1 / 5, 1 / 19.9, 1 / 20, 1 / 20, 1 / 20])
    assert Schedule(Optimization(average_epochs=0.05), num_batches=10).average_share(30) == 1


def test_of_many_updates_every_so_many_count_in_the_average_and_as_much_more() -> None:
    schedule = Schedule(Optimization(average_epochs=2), num_batches=100)  # 200 updates: every third
    assert [schedule.average_share(place / 100) for place in (0, 1, 2, 3)] == [0, 0, 1, 0]
    shares = [schedule.average_share(place / 100) for place in (599, 2399, 2400, 2401, 9_998)]
    assert shares == pytest.approx([3 / 60, 3 / 200, 0, 0, 3 / 200])
    endless = Schedule(Optimization(average_epochs=1e30, total_epochs=100), num_batches=100)  # a tenth to the end
    assert [endless.average_share(place / 100) for place in (14, 9_989)] == pytest.approx([1, 15 / 999])


def test_training_ends_at_the_last_epoch_at_the_latest() -> None:
    schedule = Schedule(Optimization(total_epochs=5))
    assert schedule.ended(4) is None
    assert schedule.ended(5) == "5 epochs, as the recipe says"


def test_an_epoch_without_a_training_error_ends_nothing_unless_asked_to() -> None:
    schedule = Schedule(Optimization(stop_train_error=0))
    schedule.observe_training(0.0)
    assert schedule.ended(1) is None
    schedule = Schedule(Optimization(stop_train_error=0.1))
    schedule.observe_training(0.11)
    assert schedule.ended(1) is None
    schedule.observe_training(0.1)
    reason = "its training top-1 error of 10.00% is no more than stop_train_error, 10.00%"
    assert schedule.ended(2) == reason
    again = Schedule(Optimization(stop_train_error=0.1))
    again.restore(schedule.state())
    assert again.ended(2) == reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"schedule": "cosine"}, False),
        ({"schedule": "cosine", "stop_train_error": 0.25}, True),
        ({"schedule": "cosine", "patience_epochs": 3}, True),
    ],
)
def test_what_may_end_a_training_early_is_known(changes: dict[str, Any], expected: bool) -> None:
    patience = changes.pop("patience_epochs", None)
    recipe = Recipe(optimization=Optimization(**changes), stop=Stop(patience_epochs=patience))
    assert recipe.may_end_early is expected


def test_training_ends_when_the_best_epoch_is_long_ago() -> None:
    schedule = Schedule(Optimization(schedule="constant"), stop=Stop(patience_epochs=3, metric="loss"))
    found = []
    for epoch, loss in enumerate([2.0, 1.5, 1.6, 1.5, 1.4, 1.4, 1.5, 1.6]):
        again = Schedule(Optimization(schedule="constant"), stop=Stop(patience_epochs=3, metric="loss"))
        again.restore(schedule.state())
        schedule = again
        assert schedule.ended(epoch) is None
        found.append(schedule.observe_best(epoch, loss))
    assert found == [True, True, False, False, True, False, False, False]
    assert schedule.ended(8) == "no improvement on the best loss 1.4 in epoch 5 for 3 epochs"


def test_the_rate_falls_at_given_epochs() -> None:
    schedule = Schedule(Optimization(schedule="epochs", drop_epochs=(2, 4), total_epochs=6, drop_factor=2))
    assert [schedule.rate(epoch) for epoch in range(6)] == [0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025]


def test_the_rate_rises_from_zero_and_falls_along_a_cosine() -> None:
    schedule = Schedule(Optimization(schedule="cosine", total_epochs=11, warmup_epochs=1, learning_rate=0.02))
    assert schedule.rate(0) == 0
    assert schedule.rate(0.5) == pytest.approx(0.01)
    assert schedule.rate(1) == pytest.approx(0.02)
    assert schedule.rate(6) == pytest.approx(0.01)
    assert schedule.rate(11) == pytest.approx(0)


NAMES = ("layers.conv1.weight", "layers.conv1.bias", "layers.fc8.weight", "layers.fc8.bias")


def test_the_2012_schedule_gives_every_parameter_its_recorded_rate() -> None:
    # computerhistory/AlexNet-Source-Code, notes in layers/layer-params-145.cfg
    schedule = Schedule(find_recipe("source-2012").optimization)
    rates = {epoch: tuple(schedule.rates(epoch, NAMES).values()) for epoch in (0, 24.99, 25, 51, 67, 71, 72, 79, 90)}
    expected = {
        0: (0.01, 0.02, 0.01, 0.02),
        24.99: (0.01, 0.02, 0.01, 0.02),
        25: (0.001, 0.02, 0.001, 0.02),
        51: (0.0001, 0.02, 0.0001, 0.02),
        67: (0.00001, 0.02, 0.0001, 0.02),
        71: (0.00001, 0.02, 0.0001, 0.02),
        72: (0, 0, 0.0001, 0.02),
        79: (0, 0, 0.00001, 0.02),
        90: (0, 0, 0.00001, 0.02),
    }
    for epoch, found in rates.items():
        assert found == pytest.approx(expected[epoch]), epoch
    assert not schedule.ended(90)
    assert schedule.ended(91)


def test_without_further_options_every_parameter_has_exactly_the_rate_of_the_schedule() -> None:
    for name in ("paper", "small-data"):
        schedule = Schedule(find_recipe(name).optimization)
        for progress in (0.0, 0.3, 1.7, 20.123):
            assert set(schedule.rates(progress, NAMES).values()) == {schedule.rate(progress)}


def test_caffe_divides_at_numbers_of_updates_and_its_biases_follow() -> None:
    schedule = Schedule(find_recipe("caffe").optimization, num_batches=5005)  # ILSVRC-2012 in batches of 256
    at = {step: tuple(schedule.rates(step / 5005, NAMES[2:]).values()) for step in (0, 99_999, 100_000, 400_000)}
    assert at[0] == at[99_999] == pytest.approx((0.01, 0.02))
    assert at[100_000] == pytest.approx((0.001, 0.002))
    assert at[400_000] == pytest.approx((1e-6, 2e-6))


def test_factors_slow_or_freeze_layers() -> None:
    schedule = Schedule(Optimization(rate_factors={"conv1": 0.0, "fc8": 0.1}))
    assert tuple(schedule.rates(0, NAMES).values()) == pytest.approx((0, 0, 0.001, 0.001))
