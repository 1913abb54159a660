"""The page of results: Markdown, with plots where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .plots import draw

HEAD = """# holdall beside its peers

{date}, {rounds} rounds, {minutes} minutes; {what}.

All figures come from one run of `make bench-peers`. The contenders of a scenario take turns, each
once a round and in another order each round; a figure is the median of the rounds, and the spread
beside it is what lies between the smallest and the largest, as a part of the median. Differences
smaller than the spreads mean nothing. Each measurement of a disk has a fresh folder. Floors do the
same work with a bare dict or bare system calls and keep no promise.
"""


def write(results: dict[str, Any], out: Path) -> None:
    """Writes `report.md`, and the plots beside it."""
    plots = draw(results, out)
    quick = "a QUICK run: whether it works, not how fast" if results["quick"] else "a full run"
    page = [HEAD.format(what=quick, **{k: results[k] for k in ("date", "rounds", "minutes")})]
    page.append(_about(results))
    page.append(_targets(results["targets"]))
    if "targets" in plots:
        page.append(f"![Targets: measured over wanted]({plots['targets']})\n")
    drawn = ""
    for name, scenario in results["scenarios"].items():
        group = name.partition("/")[0]
        if group != drawn:
            drawn = group
            page.append(f"## {TITLES.get(group, group)}\n")
            if group in plots:
                page.append(f"![{TITLES.get(group, group)}]({plots[group]})\n")
        page.append(_scenario(name, scenario))
    (out / "report.md").write_text("\n".join(page))


TITLES = {
    "cache": "Memory",
    "disk": "Small values on disk",
    "array": "Large values",
    "list": "Counting and listing",
    "lag": "Loop lag",
    "start": "Starting",
}


def _about(results: dict[str, Any]) -> str:
    machine = "; ".join(f"{name}: {value}" for name, value in results["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in results["versions"].items())
    return f"**Machine.** {machine}.\n\n**Versions.** {versions}.\n"


def _targets(targets: list[dict[str, Any]]) -> str:
    met = sum(target["verdict"].startswith("met") for target in targets)
    missed = sum(target["verdict"].startswith("missed") for target in targets)
    lines = [
        f"## Targets: {met} met, {missed} missed, {len(targets) - met - missed} not measured\n",
        "| target | wanted | measured | against | floor | verdict |",
        "|---|---:|---:|---|---|---|",
    ]
    for target in targets:
        at = "" if target["measured"] is None else f"{target['measured']:.3g}"
        said = target["verdict"]
        said = f"**{said}**" if said.startswith("missed") else said
        lines.append(
            f"| {target['text']} | {target['wanted']} | {at} | {target['against']} "
            f"| {target['floor']} | {said} |"
        )
    return "\n".join(lines) + "\n"


def _named(label: str, one: dict[str, Any]) -> str:
    """Ours in bold, floors in italics."""
    marks = {"holdall": f"**{label}**", "floor": f"*floor: {label}*"}
    shown = marks.get(str(one["kind"])) or label
    return shown + (f" ({one['note']})" if one.get("note") else "")


def _scenario(name: str, scenario: dict[str, Any]) -> str:
    contenders = scenario["contenders"]
    ours = next((c["median"] for c in contenders.values() if c["kind"] == "holdall"), None)
    lines = [
        f"### {scenario['title']}\n",
        f"`{name}`. {scenario['measures']} *Left out:* {scenario['leaves out']}\n",
        f"| | {scenario['unit']} | spread | beside the first |",
        "|---|---:|---:|---:|",
    ]
    order = {"holdall": 0, "peer": 1, "floor": 2}
    for label, one in sorted(contenders.items(), key=lambda item: order[item[1]["kind"]]):
        shown = _named(label, one)
        if one["median"] is None:
            lines.append(f"| {shown} | {one['absent']} | | |")
            continue
        rounds = one["rounds"]
        spread = (max(rounds) - min(rounds)) / one["median"] if one["median"] else 0.0
        beside = f"{one['median'] / ours:.2f}" if ours else ""
        width = f"{spread:.0%}" if len(rounds) > 1 else ""
        lines.append(f"| {shown} | {one['median']:,.4g} | {width} | {beside} |")
    cells = {label: c["details"] for label, c in contenders.items() if c.get("details")}
    if cells:
        names = list(next(iter(cells.values())))
        lines += ["", f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
        for label, details in cells.items():
            row = " | ".join(f"{details[cell]:.4g}" if cell in details else "" for cell in names)
            lines.append(f"| {label} | {row} |")
    return "\n".join(lines) + "\n"
