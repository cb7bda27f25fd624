"""Typed errors: each says what was found, what was wanted and where to look."""


class FingerprintError(Exception):
    """Base of every error this package raises on purpose."""


class UnknownName(FingerprintError, KeyError):
    """A name that no table knows; the message lists the known ones."""

    def __init__(self, kind: str, name: str, known):
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(map(str, self.known))}")

    def __str__(self) -> str:
        return self.args[0]


class ArrayRefused(FingerprintError, ValueError):
    """A landmark file or array that is not what its place demands.

    Args:
        where: file or record the array came from.
        reason: short machine-readable reason, e.g. `"shape"`, `"dtype"`, `"non_finite"`, `"pickle"`, `"truncated"`.
        detail: what was found and what was wanted.
    """

    def __init__(self, where, reason: str, detail: str):
        self.where, self.reason, self.detail = str(where), reason, detail
        super().__init__(f"{where}: {detail} [{reason}]")

    def __reduce__(self):
        return type(self), (self.where, self.reason, self.detail)


class VideoRefused(FingerprintError, ValueError):
    """A video that cannot be used.

    Args:
        where: the file or device.
        reason: short machine-readable reason, e.g. `"missing"`, `"not_a_video"`, `"truncated"`.
        detail: what was found and what was wanted.
    """

    def __init__(self, where, reason: str, detail: str):
        self.where, self.reason, self.detail = str(where), reason, detail
        super().__init__(f"{where}: {detail} [{reason}]")

    def __reduce__(self):
        return type(self), (self.where, self.reason, self.detail)


class ModelFileMissing(FingerprintError):
    """MediaPipe's model file is nowhere, or not the one that results are made with."""


class WeightsMissing(FingerprintError):
    """A quality network's weights are nowhere, or not those that results are made with."""


class LibraryMissing(FingerprintError, ImportError):
    """A library that only an extra of the installation brings; the message names the extra."""


class NameRefused(FingerprintError, ValueError):
    """A file or identity name that matches no known pattern."""


class DatasetError(FingerprintError):
    """A data set that is missing, incomplete, damaged or not usable as asked."""


class ProtocolError(FingerprintError, ValueError):
    """A trial list that cannot be made, leaks, or names unknown videos."""


class RatesError(FingerprintError, ValueError):
    """Scores from which the asked error rate does not follow (an empty class, all NaN)."""


class ConfigError(FingerprintError, ValueError):
    """A configuration that cannot run, found before the first step."""


class NonFinite(FingerprintError, FloatingPointError):
    """NaN or infinity in inputs, loss or gradient; the message names the step and the videos."""


class CheckpointError(FingerprintError):
    """A checkpoint or released model that is damaged, absent or of another architecture."""


class WorkdirLocked(FingerprintError):
    """Another run holds the working directory."""


class GalleryError(FingerprintError):
    """A gallery that is damaged, of another model or version, or that knows no such person."""


class ClaimRefused(FingerprintError):
    """A video from which no score can honestly be made: too short, no face, no threshold to decide by."""
