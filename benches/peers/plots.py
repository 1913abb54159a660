"""The plots of the page: SVG by matplotlib, text as text, so that they are small."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .model import Absent, peer

COLOURS = {"holdall": "#0b6e4f", "peer": "#8d99ae", "floor": "#d9a441"}


def draw(results: dict[str, Any], out: Path) -> dict[str, str]:
    """Draws what can be drawn; file names by group, none without matplotlib."""
    try:
        matplotlib = peer("matplotlib")
    except Absent:
        return {}
    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "holdall",
            "font.size": 8,
            "font.family": "sans-serif",
        }
    )
    pyplot: Any = peer("matplotlib.pyplot")
    made: dict[str, str] = {}
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, scenario in results["scenarios"].items():
        if any(one["median"] for one in scenario["contenders"].values()):
            groups.setdefault(name.partition("/")[0], []).append(scenario)
    for group, scenarios in groups.items():
        made[group] = _bars(pyplot, scenarios, out / f"{group}.svg")
    targets = [target for target in results["targets"] if target["margin"] is not None]
    if targets:
        made["targets"] = _margins(pyplot, targets, out / "targets.svg")
    return made


def _bars(pyplot: Any, scenarios: list[dict[str, Any]], path: Path) -> str:
    """One panel for each scenario, on logarithmic axes, the best on top."""
    heights = [1.0 + 0.17 * len(scenario["contenders"]) for scenario in scenarios]
    figure, panels = pyplot.subplots(
        len(scenarios), 1, figsize=(7.2, sum(heights)), squeeze=False,
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    for axes, scenario in zip(panels[:, 0], scenarios, strict=True):
        shown = [(name, one) for name, one in scenario["contenders"].items() if one["median"]]
        shown.sort(key=lambda item: item[1]["median"], reverse=scenario["better"] == "lower")
        names = [name for name, _ in shown]
        values = [one["median"] for _, one in shown]
        colours = [COLOURS[one["kind"]] for _, one in shown]
        axes.scatter(values, names, c=colours, s=22, zorder=3)
        least = [min(one["rounds"]) for _, one in shown]
        most = [max(one["rounds"]) for _, one in shown]
        axes.hlines(range(len(shown)), least, most, color="black", linewidth=0.8)
        for row, value in enumerate(values):
            axes.text(most[row], row, f"   {value:.3g}", va="center", size=7)
        axes.tick_params(length=0)
        if scenario["better"] == "lower" and min(values) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(axis="x", linewidth=0.3)
        axes.set_title(f"{scenario['title']} ({scenario['unit']})", loc="left", fontsize=9)
        axes.margins(x=0.12)
        axes.minorticks_off()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return _saved(pyplot, figure, path)


def _margins(pyplot: Any, targets: list[dict[str, Any]], path: Path) -> str:
    """How far each target is met: right of 1 is met."""
    figure, axes = pyplot.subplots(figsize=(8.4, 0.8 + 0.19 * len(targets)), layout="constrained")
    names = [target["text"] for target in reversed(targets)]
    margins = [min(max(target["margin"], 0.01), 100) for target in reversed(targets)]
    colours = [
        "#0b6e4f" if t["verdict"].startswith("met") else "#b23a48" for t in reversed(targets)
    ]
    axes.scatter(margins, range(len(names)), c=colours, s=18, zorder=3)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x", linewidth=0.3)
    axes.minorticks_off()
    axes.set_title("Measured over wanted: right of 1 is met", loc="left", fontsize=9)
    return _saved(pyplot, figure, path)


def _saved(pyplot: Any, figure: Any, path: Path) -> str:
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    path.write_text(_smaller(path.read_text()))
    return path.name


def _smaller(svg: str) -> str:
    """The same picture in a fifth of the bytes: it is kept in the repository."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<clipPath.*?</clipPath>", "", svg, flags=re.DOTALL)
    groups: list[bool] = []

    def plainer(match: re.Match[str]) -> str:
        tag = _plainer(match[0])
        if tag == "</g>":
            return tag if groups.pop() else ""
        if tag.startswith("<g") and not tag.endswith("/>"):
            groups.append(tag != "<g>")
        return "" if tag in ("<g>", "<g/>") else tag

    svg = re.sub(r"<[^>]*>", plainer, svg)
    svg = svg.replace("*{stroke", "text{font-family: sans-serif} *{stroke")
    return re.sub(r"\s*\n\s*", "\n", svg)


def _plainer(tag: str) -> str:
    """One tag without what does not show: text between tags is left alone."""
    if tag.startswith(("<!", "<?")):
        return tag
    if tag.startswith("<g"):
        tag = re.sub(r' id="[^"]*"', "", tag)
    tag = re.sub(r' clip-path="[^"]*"', "", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    tag = re.sub(r"; font-family: [^;\"]*|; stroke-line(cap|join): \w+", "", tag)
    tag = re.sub(r"(\d+\.\d)\d+", r"\1", tag)
    return re.sub(r"\s*\n\s*", " ", tag).replace(' "', '"')
