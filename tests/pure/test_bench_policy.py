"""The arithmetic of `make bench NAME=policy`, on numbers made by hand."""

from __future__ import annotations

import csv
import json

import pytest
from benchmarks.policy import check, command, fingerprint, judge, metrics, quick, report, runs
from benchmarks.policy.metrics import CLAIRVOYANT, OURS, Place, Results, Row

HERE = Place("tiny", 60.0, 1)


def row(policy=OURS, wait_value=None, *, p95=60.0, gpu=10.0, mean=30.0, trace="tiny", cold=60.0, slots=1, **changes):
    values = {
        "trace": trace,
        "policy": policy,
        "wait_value": wait_value,
        "cold_start_seconds": cold,
        "slots": slots,
        "jobs": 120,
        "mean_seconds": mean,
        "p50_seconds": mean,
        "p95_seconds": p95,
        "p99_seconds": p95,
        "gpu_hours": gpu,
        "work_gpu_hours": 8.0,
        "pod_starts": 10,
        "unused_starts": 2,
        "scale_actions": 20,
        "jobs_hit": 0,
    }
    return Row(**(values | changes))


@pytest.mark.parametrize(
    ("p95", "gpu", "strict", "within"),
    [
        (60.0, 10.0, False, True),  # the very same: nobody dominates
        (59.0, 10.0, True, True),
        (60.0, 9.9, True, True),
        (60.9, 9.0, False, True),  # less than a second longer
        (61.1, 9.0, False, False),
        (50.0, 10.09, False, True),  # less than 1 % more
        (50.0, 10.11, False, False),
    ],
)
def test_a_cell_is_covered_strictly_or_within_the_slack(p95, gpu, strict, within):
    (cell,) = metrics.cells(Results([row(wait_value=2.0, p95=p95, gpu=gpu), row("keda", p95=60.0, gpu=10.0)]))
    assert (cell.strict, cell.within) == (strict, within)


def test_any_setting_may_cover_a_peer_and_the_nearest_is_the_cheapest_that_is_as_quick():
    ours = [
        row(wait_value=0.1, p95=100, gpu=9),
        row(wait_value=2.0, p95=60.5, gpu=10.2),
        row(wait_value=16.0, p95=20, gpu=14),
    ]
    (cell,) = metrics.cells(Results([*ours, row("keda", p95=60.0, gpu=10.15)]))
    assert cell.within
    assert not cell.strict
    assert cell.nearest.wait_value == 2.0


def test_finer_settings_are_tried_between_one_that_is_cheap_and_one_that_is_quick():
    ours = [
        row(wait_value=0.1, p95=100, gpu=9),
        row(wait_value=2.0, p95=60, gpu=10),
        row(wait_value=16.0, p95=20, gpu=14),
    ]
    finer = (0.02, 0.5, 1.0, 4.0, 8.0, 64.0)

    def undecided(peer):
        return {value for _, value in metrics.undecided(Results([*ours, peer]), finer)}

    assert undecided(row("covered", p95=70, gpu=11)) == set()
    assert undecided(row("between", p95=80, gpu=9.5)) == {1.0}
    assert undecided(row("cheaper than all", p95=200, gpu=5)) == {0.02}
    assert undecided(row("quicker than all", p95=0, gpu=50)) == {64.0}


def test_settings_that_were_run_everywhere_are_what_is_left_out_of():
    other = Place("other", 60.0, 1)
    ours = [row(wait_value=v) for v in (1.0, 2.0, 5.0)] + [row(wait_value=v, trace="other") for v in (1.0, 2.0)]
    assert metrics.common_settings(Results(ours), [HERE, other]) == [1.0, 2.0]


def test_where_none_is_as_quick_the_quickest_is_the_nearest():
    ours = [row(wait_value=2.0, p95=60, gpu=10), row(wait_value=16.0, p95=20, gpu=14)]
    (cell,) = metrics.cells(Results([*ours, row("wpa", p95=0, gpu=50)]))
    assert not cell.within
    assert cell.nearest.wait_value == 16.0


def test_a_peer_that_is_better_than_one_setting_in_both_is_told():
    results = Results([row(wait_value=2.0, p95=60, gpu=10), row("kpa", p95=50, gpu=9), row("aws", p95=50, gpu=11)])
    assert [(place, peer.policy) for place, peer in metrics.worse_than_a_peer(results)] == [(HERE, "kpa")]


def test_regret_is_cost_over_the_best_clairvoyant_at_what_a_second_is_worth():
    # 120 jobs that wait 30 s each: one hour. v = 2: 10 + 2·1 = 12; the clairvoyants: 9 + 2·1 = 11, 10 + 0 = 10
    known = [row(CLAIRVOYANT, 60.0, gpu=9.0, mean=30.0), row(CLAIRVOYANT, 0.0, gpu=10.0, mean=0.0)]
    ours = row(wait_value=2.0, gpu=10.0, mean=30.0)
    results = Results([*known, ours])
    assert metrics.cost(ours, 2.0) == pytest.approx(12.0)
    assert metrics.regret(results, HERE, ours, 2.0) == pytest.approx(1.2)
    assert metrics.regret(results, HERE, ours, 0.0) == pytest.approx(10 / 9)


def two_traces():
    """Regrets at v = 1 (an hour waited counts an hour): ours 1.1 and 1.2, keda 1.5 and 1.5, kpa 1.2 and 2.0."""
    found = []
    for trace, ours, kpa in (("a", 11.0, 12.0), ("b", 12.0, 20.0)):
        found += [
            row(CLAIRVOYANT, 0.0, gpu=10.0, mean=0.0, trace=trace),
            row(wait_value=1.0, gpu=ours - 1, mean=30.0, trace=trace),
            row("keda", gpu=14.0, mean=30.0, trace=trace),
            row("kpa", gpu=kpa - 1, mean=30.0, trace=trace),
        ]
    return Results(found)


def test_means_over_traces_are_geometric_and_the_best_peer_is_one_for_all_of_them():
    results = two_traces()
    places = results.places()
    assert metrics.mean_regret(results, places, 1.0) == pytest.approx((1.1 * 1.2) ** 0.5)
    name, regret = metrics.best_peer(results, places, 1.0)
    assert (name, regret) == ("keda", pytest.approx(1.5))


def test_the_gap_is_closed_by_the_part_of_the_way_to_the_clairvoyant():
    assert metrics.gap_closed(1.5, 1.3) == pytest.approx(0.4)
    assert metrics.gap_closed(1.5, 1.6) == pytest.approx(-0.2)


def test_against_one_peer_waits_are_plain_means_and_gpu_hours_geometric():
    rows = []
    for trace, wait, gpu in (("a", 10.0, 8.0), ("b", 50.0, 9.0)):
        rows += [
            row(wait_value=2.0, mean=wait, gpu=gpu, trace=trace),
            row("runpod", mean=40.0, gpu=10.0, trace=trace),
        ]
    results = Results(rows)
    waits, gpu = metrics.against(results, results.places(), "runpod", 2.0)
    assert waits == pytest.approx(60 / 80)
    assert gpu == pytest.approx((0.8 * 0.9) ** 0.5)


def test_unused_starts_are_a_share_of_all_starts_of_all_traces():
    assert metrics.unused_share([row(pod_starts=10, unused_starts=1), row(pod_starts=90, unused_starts=19)]) == 0.2


def leaving_one_out():
    """v = 1 does well on a and b, v = 4 on c."""
    costs = {"a": (10.0, 12.0), "b": (10.0, 12.0), "c": (15.0, 10.0)}
    return Results(
        [
            one
            for trace, (first, second) in costs.items()
            for one in (
                row(CLAIRVOYANT, 0.0, gpu=10.0, mean=0.0, trace=trace),
                row(wait_value=1.0, gpu=first, mean=0.0, trace=trace),
                row(wait_value=4.0, gpu=second, mean=0.0, trace=trace),
                row("keda", gpu=10.0, mean=0.0, trace=trace),
            )
        ]
    )


def test_left_out_v_is_chosen_on_the_other_traces_and_read_off_this_one():
    results = leaving_one_out()
    found = {one.place.trace: one for one in metrics.leave_one_out(results, results.places(), 1.0)}
    # without c, v = 1 is best; without a, the others ask for (1.0·1.5)**.5 = 1.22 against (1.2·1.0)**.5 = 1.10: v = 4
    assert (found["c"].setting, found["c"].chosen, found["c"].hindsight) == (1.0, 1.5, 1.0)
    assert (found["a"].setting, found["a"].chosen, found["a"].hindsight) == (4.0, 1.2, 1.0)


def test_left_out_coverage_reads_the_setting_that_covers_the_peer_elsewhere():
    results = leaving_one_out()
    cells = metrics.cells(results)
    assert [cell.within for cell in cells] == [True, True, True]
    # c: v = 1 covers a and b, and not c. a: each v covers one of b and c; v = 4 misses by less (20 % against 50 %),
    # and misses on a as well; b likewise
    assert metrics.covered_when_left_out(results, cells) == 0.0


def everywhere(hits=0, runpod_wait=30.0):
    return [
        one
        for cold in judge.COLD_STARTS
        for one in (
            row(CLAIRVOYANT, 0.0, gpu=9.0, mean=0.0, cold=cold),
            *(row(wait_value=v, gpu=9.5, mean=20.0, p95=40.0, cold=cold, jobs_hit=hits) for v in (1.0, 2.0, 4.0, 16.0)),
            row("runpod", gpu=10.0, mean=runpod_wait, p95=60.0, cold=cold),
        )
    ]


def test_what_must_hold_is_judged_line_by_line():
    results = Results(everywhere())
    lines = judge.judge(results, metrics.cells(results))
    assert {line.measure.split("(")[0].strip(): line.holds for line in lines if line.must} == {
        "eps-Pareto coverage": True,
        "strict Pareto coverage": True,
        "gap from the best peer to the clairvoyant closed": True,
        "default v = 2: cells where a peer strictly dominates": True,
        "default v = 2: mean wait against runpod": True,  # 20 against 30
        "default v = 2: GPU-hours against runpod": True,  # 9.5 against 10
        "running jobs hit by ours, in 12 runs": True,
    }


def test_a_job_that_was_hit_and_a_wait_that_is_too_long_are_misses():
    results = Results(everywhere(hits=1, runpod_wait=24.0))
    missed = {line.measure for line in judge.judge(results, metrics.cells(results)) if line.holds is False}
    assert "default v = 2: mean wait against runpod (60 s, 1 slot)" in missed  # 20 against 24
    assert "running jobs hit by ours, in 12 runs" in missed
    assert not any("Pareto" in measure for measure in missed)


def test_every_table_can_be_made_and_goes_into_json():
    results = Results(everywhere())
    found = report.tables(results, metrics.cells(results))
    assert json.loads(json.dumps(found)) == found
    assert sum(bool(rows) for rows in found.values()) >= 4


def test_j_may_rise_by_one_percent():
    assert not quick.rises(1.20, 1.21)
    assert quick.rises(1.20, 1.213)


def test_a_peer_does_not_depend_on_our_engine_and_ours_does():
    ours = fingerprint.fingerprint("pool_operator.simulate.run")
    peer = fingerprint.fingerprint("pool_operator.simulate.peers.keda")
    assert ours != peer
    imported = fingerprint.sources("pool_operator.simulate.peers.keda")
    assert "pool_operator.simulate.policy" in imported
    assert not [name for name in imported if name.startswith("pool_operator.engine")]
    assert "pool_operator.engine.decide" in fingerprint.sources("pool_operator.simulate.run")


def test_what_has_been_run_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "CACHE", tmp_path)
    task = runs.Task(traces="", trace="podcast", cold_start_seconds=60.0, slots=1, policy="naive")
    first = runs.run_all([task], 1)
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text().replace('"jobs_hit": ', '"jobs_hit": 1'))
    (again,) = runs.run_all([task], 1)
    assert str(again.jobs_hit) == f"1{first[0].jobs_hit}"


def test_peers_are_compared_with_another_simulators_rows(tmp_path, capsys):
    path = tmp_path / "theirs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scale_down", "trace", "policy", "cold", "c", "gpu_h", "mean"])
        writer.writerow(["drain", "tiny", "keda_default", 60, 1, 10.0, 25.0])
        writer.writerow(["kill_30s", "tiny", "keda_default", 60, 1, 99.0, 99.0])
    assert check.run(path, [row("keda", gpu=10.1, mean=30.0)]) == 0
    shown = capsys.readouterr().out
    assert "+1.00%" in shown
    assert "+20.00%" in shown


def test_a_file_that_is_no_result_is_told(tmp_path, capsys):
    (tmp_path / "theirs.csv").write_text("a,b\n1,2\n")
    assert check.run(tmp_path / "theirs.csv", []) == 2
    assert "is not a CSV file of results" in capsys.readouterr().err


def test_a_peer_that_does_not_exist_is_told_with_those_that_do(capsys, monkeypatch):
    monkeypatch.delenv("TRACES", raising=False)
    assert command.main(["--against", "hpa"]) == 2
    assert "there is no 'hpa'; there are: keda, " in capsys.readouterr().err
