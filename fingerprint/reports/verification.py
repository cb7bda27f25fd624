"""One verification as one page: does this person drive this video, how sure is that, and what does it rest on."""

from __future__ import annotations

import os
from pathlib import Path

from fingerprint.reports import page, report, verification_document, verification_figures
from fingerprint.reports.verification_report import VerificationReport


def write(found: VerificationReport, path: str | os.PathLike) -> Path:
    """Write the page; it appears whole or not at all, and only its owner can read it (it shows a face)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = verification_document.build(found, verification_figures.draw_all(found))
    return report.replace_file(path, page.render(content), mode=0o600)
