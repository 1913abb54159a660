"""The runner of the benchmarks leaves nothing out and hides no miss."""

from __future__ import annotations

import json
import subprocess
import sys
from xml.dom import minidom

from benches.peers import verdicts
from benches.peers.model import Absent, Contender, Context, Measured, Scenario, Target
from benches.peers.plots import _smaller
from benches.peers.runner import run
from benches.peers.scenarios import every

import docs_examples


def scenario(*targets, better="lower", **contenders):
    def measure(figure):
        def measured(context):
            if isinstance(figure, Exception):
                raise figure
            return figure

        return measured

    made = tuple(
        Contender(name, "holdall" if name == "holdall" else "peer", measure(figure))
        for name, figure in contenders.items()
    )
    return Scenario("t/one", "One", "ns", "", "", made, targets, better)


def verdict(one, tmp_path):
    (found,) = verdicts.judge(one, run(one, Context(tmp_path), 3))
    return found


def test_a_target_is_met_at_exactly_its_ratio(tmp_path):
    target = Target("", "faster", 5, ("a", "b"))
    found = verdict(scenario(target, holdall=10.0, a=50.0, b=90.0), tmp_path)
    assert (found.verdict, found.measured, found.against) == ("met", 5.0, "a")


def test_the_best_peer_counts_and_a_miss_is_called_one(tmp_path):
    target = Target("", "faster", 5, ("a", "b"))
    assert verdict(scenario(target, holdall=10.0, a=90.0, b=49.0), tmp_path).verdict == "missed"
    at_most = Target("", "at most", 2, ("a",))
    assert verdict(scenario(at_most, holdall=10.0, a=4.9), tmp_path).verdict == "missed"
    below = Target("", "below", 9)
    assert verdict(scenario(below, holdall=10.0), tmp_path).verdict == "missed"


def test_more_is_better_where_the_scenario_says_so(tmp_path):
    target = Target("", "above", 0, ("a", "b"))
    one = scenario(target, better="higher", holdall=50.0, a=40.0, b=50.5)
    assert verdict(one, tmp_path).verdict == "missed"


def test_a_single_cell_below_the_bound_is_a_miss(tmp_path):
    target = Target("", "cells", -0.5, ("a",))
    ours, theirs = Measured(50, {"x": 60.0, "y": 40.0}), Measured(45, {"x": 49.0, "y": 41.0})
    found = verdict(scenario(target, better="higher", holdall=ours, a=theirs), tmp_path)
    assert (found.verdict, found.measured) == ("missed", -1.0)


def test_a_peer_that_is_missing_or_fails_is_named(tmp_path):
    target = Target("", "faster", 5, ("a", "b", "c"))
    one = scenario(
        target, holdall=1.0, a=9.0, b=Absent("not installed: b"), c=OSError("no /home/x/y")
    )
    found = verdict(one, tmp_path)
    assert found.verdict == "met; without b (not installed: b), c (failed: OSError: no PATH)"


def test_without_any_rival_or_without_us_nothing_is_met(tmp_path):
    target = Target("", "faster", 5, ("a",))
    nobody = verdict(scenario(target, holdall=1.0, a=Absent("not installed: a")), tmp_path)
    assert nobody.verdict.startswith("not measured")
    unbuilt = verdict(scenario(target, holdall=Absent("not built: x"), a=1.0), tmp_path)
    assert unbuilt.verdict == "not measured: not built: x"


def test_every_scenario_says_what_it_leaves_out_and_its_targets_name_its_contenders():
    names = [one.name for one in every()]
    assert len(names) == len(set(names))
    for one in every():
        assert one.measures and one.leaves_out and one.contenders, one.name
        there = {contender.name for contender in one.contenders}
        for target in one.targets:
            floor = {target.floor} - {""}
            assert {target.ours, *target.against, *floor} <= there, (one.name, target.text)


def test_a_figure_in_a_plot_is_not_shortened():
    head = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"><svg>'
    svg = f'{head}<g id="patch_1"><path d="M 1.25 2\n"/><text x="1.23456">0.0834</text></g></svg>'
    less = f'{head}<path d="M 1.2 2"/><text x="1.2">0.0834</text></svg>'
    assert _smaller(svg) == less
    minidom.parseString(less)


def test_a_quick_run_writes_a_page_whoever_is_installed(tmp_path):
    command = [sys.executable, "-m", "benches.peers", "--quick", "--only", "cache/get-many"]
    command += ["--out", str(tmp_path / "out"), "--folder", str(tmp_path)]
    subprocess.run(command, cwd=docs_examples.ROOT, check=True, capture_output=True, timeout=50)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    contenders = results["scenarios"]["cache/get-many"]["contenders"]
    assert contenders["holdall"]["median"] > 0
    assert all(one["median"] is not None or one["absent"] for one in contenders.values())
    assert len(results["targets"]) == 1
    page = (tmp_path / "out" / "report.md").read_text()
    assert "get_many of 100" in page
    assert str(tmp_path) not in page + json.dumps(results)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
