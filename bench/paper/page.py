"""What a section is made of, and the page of them all."""
from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).resolve().parent
plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "svg.fonttype": "none",
                     "svg.hashsalt": "fastvit", "font.size": 10})

AGREES, PARTLY, DIFFERS, UNDECIDED, OPEN = "agrees", "partly", "does not agree", "undecided", "not measured"


@dataclass
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass
class Plot:
    """An SVG image."""

    svg: str
    caption: str = ""


@dataclass
class Claim:
    """Something that the paper says, and what this run has to say to it."""

    text: str
    paper: str
    here: str
    verdict: str
    why: str = ""
    counted: bool = False  # and not measured: as certain in a quick run


@dataclass
class Section:
    title: str
    text: list[str] = field(default_factory=list)  # paragraphs
    blocks: list[Table | Plot] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)


def plot(draw: Callable[[Any], None], caption: str = "", height: float = 4.2) -> Plot:
    """What draw(axes) draws; `height` in inches."""
    figure, axes = plt.subplots(figsize=(7.2, height))
    draw(axes)
    figure.tight_layout()
    image = io.StringIO()
    figure.savefig(image, format="svg", metadata={"Date": None})  # the same drawing, the same bytes
    plt.close(figure)
    return Plot(image.getvalue()[image.getvalue().index("<svg"):], caption)


def ms(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def less(value: float, than: float) -> float:
    """How much less, in percent."""
    return 100 * (1 - value / than)


def change(percent: float) -> str:
    """With its sign."""
    return f"{percent:+.1f}%".replace("-", "−")


def compared(here: float, paper: float, noise: float) -> str:
    """The verdict on a gain: beyond the noise, at least half of the paper's agrees, less of it partly."""
    if abs(here) <= noise:
        return UNDECIDED
    return DIFFERS if here < 0 else AGREES if here >= paper / 2 else PARTLY


def apart(greater: Sequence[float], others: Sequence[float]) -> str:
    """The verdict on one of two groups being greater: each of its values, or none, or neither."""
    return AGREES if min(greater) > max(others) else DIFFERS if max(greater) < min(others) else UNDECIDED


def render(sections: Sequence[Section], about: dict[str, Any]) -> str:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.globals["svg"] = lambda block: jinja2.utils.markupsafe.Markup(block.svg)
    return environment.get_template("page.html.j2").render(sections=sections, about=about)
