"""Chart of a range test: one self-contained SVG file."""

from __future__ import annotations

from bakehouse.core.svg_charts import Axes, Line, Point, Size, VerticalMark, line_chart, standalone
from bakehouse.training.lr_finder.suggestion import RangeTestResult

SIZE = Size(width=640, height=360, left=64, right=104, top=36, bottom=40)
HEADROOM = 0.35
"""Range above zero, as a share of the largest decrease; higher values are clipped, since divergence dwarfs the rest."""

STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1d2733; --subject: #2563c9; --drift: #b8620a;
--pick: #1a7f4b }
@media (prefers-color-scheme: dark) { svg { background: #14181d; color: #dde3ea; --subject: #7fb0ff; --drift: #f0a860;
--pick: #62d394 } }
.subject { --c: var(--subject) } .drift { --c: var(--drift) } .pick { --c: var(--pick) }
.rule { stroke: currentColor; stroke-opacity: .14 } .tick { fill: currentColor }
.line { fill: none; stroke: var(--c); stroke-width: 2 } .line.drift { stroke-dasharray: 5 4 } .name { fill: var(--c) }
"""


def lr_chart(test: RangeTestResult) -> str:
    """Return the chart: measurements over the learning rate (log scale), in percent of the initial loss."""
    subject = [Point.bare(m.lr, 100 * m.subject / test.base_loss) for m in test.measurements]
    drift = [Point.bare(m.lr, 100 * m.drift / test.base_loss) for m in test.measurements]
    lowest, highest = min(p.y for p in subject), max(p.y for p in drift)
    axes = Axes(
        title="Loss over the learning rate",
        x_name="learning rate",
        y_unit=" %",
        y_low=1.1 * lowest,
        y_high=max(-HEADROOM * lowest, min(highest, -lowest)),
        log_x=True,
        signed=True,
    )
    lines = [Line("class drift", drift, "drift", marks=False), Line("subject loss", subject, "subject", marks=False)]
    name = "lr" if test.lr is not None else "text_lr"
    suggested = VerticalMark(test.peak_lr, f"optimizer.{name} = {test.peak_lr:g}", "pick")
    return standalone(line_chart(lines, axes, SIZE, [suggested]), f"Learning rate {test.peak_lr:g}: {test.why}", STYLE)
