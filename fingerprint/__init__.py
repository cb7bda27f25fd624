"""Tell who drives a talking-head video, from facial motion alone."""

__version__ = "0.1.0"
