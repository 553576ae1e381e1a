from bench.step import PLAIN, compare, main, schedule_of


class Clockwork:
    """Takes known times, and notes who was asked."""

    def __init__(self, name, seconds, order):
        self.name, self.seconds, self.order = name, seconds, order

    def step(self, index):
        self.order.append(self.name)
        return self.seconds(index)


def test_ratios_by_hand():
    order = []
    contestants = {
        PLAIN: Clockwork(PLAIN, lambda index: 2.0, order),
        "decoupled": Clockwork("decoupled", lambda index: 9.0 if index < 2 else
                               12.0 if index == 3 else 2.2, order)}
    found = compare(contestants, steps=5, warm=2)
    assert found["ratio"] == {"decoupled": 1.1}
    assert found["ratio_of_sums"] == {"decoupled": round((4 * 2.2 + 12) / 10, 4)}
    assert order[:4] == [PLAIN, "decoupled", "decoupled", PLAIN], "turns change"


def test_reweighting_is_among_the_timed_steps():
    schedule = schedule_of(40, 3)
    assert len(schedule.milestones) == 4
    assert sum(step >= 3 for step in schedule.milestones) == 3
    assert schedule.prune_step > 43


def test_bad_model_is_one_line(tmp_path, capsys):
    assert main(["--root", str(tmp_path), "--model", str(tmp_path / "none"),
                 "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "bench").exists()
