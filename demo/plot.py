"""A picture of a run as a small SVG: replicas over time, and jobs that wait. No plotting library needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 56, 34, 40
REPLICAS, WAITING = "#1f6feb", "#d29922"
Steps = Sequence[tuple[float, int]]


def write_plot(path: Path, *, replicas: Steps, waiting: Steps, title: str) -> None:
    """Both as steps (time, value from then on), on one time axis, each with its own scale."""
    times = [at for at, _ in (*replicas, *waiting)]
    start, end = min(times), max(times)
    span = max(1.0, end - start)

    def line(steps: Steps, colour: str, most: int) -> str:
        points, value = [], 0
        for at, after in steps:
            x = LEFT + (at - start) / span * (WIDTH - LEFT - RIGHT)
            points += [(x, value), (x, after)]
            value = after
        points.append((float(WIDTH - RIGHT), value))
        text = " ".join(f"{x:.1f},{_y(y, most):.1f}" for x, y in points)
        return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{text}"/>'

    most_replicas, most_waiting = _most(replicas), _most(waiting)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
        *_axis(most_replicas, LEFT - 8, "end", REPLICAS),
        *_axis(most_waiting, WIDTH - RIGHT + 8, "start", WAITING),
        *_seconds(span),
        line(waiting, WAITING, most_waiting),
        line(replicas, REPLICAS, most_replicas),
        (
            f'<text x="{WIDTH - RIGHT}" y="20" text-anchor="end">'
            f'<tspan fill="{REPLICAS}">replicas</tspan>  <tspan fill="{WAITING}" dx="8">jobs waiting</tspan></text>'
        ),
        "</svg>",
    ]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _most(steps: Steps) -> int:
    return max(1, *(value for _, value in steps)) if steps else 1


def _y(value: float, most: int) -> float:
    return HEIGHT - BOTTOM - value / most * (HEIGHT - TOP - BOTTOM)


def _axis(most: int, x: int, anchor: str, colour: str) -> list[str]:
    found = []
    for part in (0, 1, 2):
        value = most * part / 2
        y = _y(value, most)
        found.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        found.append(f'<text x="{x}" y="{y + 4:.1f}" text-anchor="{anchor}" fill="{colour}">{value:g}</text>')
    return found


def _seconds(span: float) -> list[str]:
    step = next((one for one in (5, 10, 20, 30, 60, 120, 300, 600, 1800) if span / one <= 10), 3600)
    found = []
    for number in range(int(span // step) + 1):
        x = LEFT + number * step / span * (WIDTH - LEFT - RIGHT)
        found.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#555555">{number * step} s</text>'
        )
    return found
