import pytest

from alexnet.recipes import Optimization
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
    assert (
        sentences[10] == "no improvement on 70.00% error for 2 epochs after 3 drops of the learning rate: training ends"
    )
    assert schedule.finished
    assert schedule.ended(11)


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


def test_training_ends_at_the_last_epoch_at_the_latest() -> None:
    schedule = Schedule(Optimization(total_epochs=5))
    assert not schedule.ended(4)
    assert schedule.ended(5)


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
