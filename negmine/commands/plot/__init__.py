"""Pictures as SVG, without a plotting library."""

from negmine.commands.plot.figure import figure
from negmine.commands.plot.marks import Band, Marker, Panel, Point, Series, Steps, ticks
from negmine.commands.plot.picture import svg

__all__ = ["Band", "Marker", "Panel", "Point", "Series", "Steps", "figure", "svg", "ticks"]
