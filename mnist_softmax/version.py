"""Which version is this? The one place that says so; packaging reads it too."""

__version__ = "0.1.0"
