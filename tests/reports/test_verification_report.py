"""The page of one verification: what it says, that missing parts read honestly, and how a browser shows it."""

from __future__ import annotations

import html.parser
import math
import re
import stat

import numpy as np
import pytest

from fingerprint.errors import FingerprintError
from fingerprint.reports import page, verification_document, verification_figures, wording
from fingerprint.reports import verification as reports
from fingerprint.reports.blocks import Drawing
from tests.reports import browser, verification_sample
from tests.reports.verification_sample import make_report, replace

NASTY = '<script>window.hacked=true</script><img src=x onerror="window.hacked=true"> & $a$ “x” \x1b[2J \udcff'
in_a_browser = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium on PATH")


class Page(html.parser.HTMLParser):
    """Text of a page without its style, and its tags."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.parts, self._style = [], [], False
        self.feed(text)
        self.text = " ".join("".join(self.parts).replace("\u00a0", " ").split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False
        self.parts.append(" ")

    def handle_data(self, data):
        self.parts += [] if self._style else [data]


def page_of(path) -> Page:
    return Page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def whole():
    return make_report()


def text_of(report):
    """The page's text, quickly: without its figures."""
    drawings = {name: Drawing(name, name) for name in ("score_over_time", "attention", "calibration")}
    return Page(page.render(verification_document.build(report, drawings))).text


def test_the_answer_comes_first_then_what_it_rests_on(whole):
    text = text_of(whole)
    for sentence in (
        "Accepted: the facial motion in “interview_0412.mp4” fits the claim that “Anna Marie” drives it.",
        "reaches the threshold of 0.413, at which 0.99 % (95 % interval 0.41 to 2.16 %) of false claims were accepted",
        "times more probable if Anna Marie drives the video than if someone else does",
        "24 people, 240 mated, 1,152 non-mated comparisons",
        "“Anna Marie”, 5 videos, 212 windows",
        "Frame rate 25 is unlike that of the training data.",
        "Not who the person is.",
        "Not whether the video is real or fake.",
        "Imitation is not ruled out.",
        "does not see the order of frames",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ):
        assert sentence in text
    assert text.index("Accepted: the facial motion") < text.index("Frame rate 25") < text.index("Not who")


def test_a_rejected_claim_reads_so(whole):
    text = text_of(replace(whole, decision="rejected", score=0.12, llr=-3.0))
    assert "Rejected: the facial motion in “interview_0412.mp4” does not fit the claim" in text
    assert "The score of 0.120 stays below the threshold of 0.413" in text
    assert "20 times more probable if someone else drives the video than if Anna Marie does" in text
    assert "20 : 1 against the claim" in text


def test_only_networks_blind_to_order_are_said_to_be(whole):
    other = replace(whole, ids={**whole.ids, "architecture": "another"})
    assert "order of frames" not in text_of(other)


@pytest.mark.parametrize(
    ("llr", "words"),
    [
        (0.0, "about as probable if A drives the video as if someone else does"),
        (math.log(2), "2.0 times more probable if A drives"),
        (math.log(9.97), "10 times more"),
        (math.log(1234), "1,200 times more probable"),
        (-math.log(37.4), "37 times more probable if someone else drives the video than if A does"),
        (40.0, "more than 1,000,000 times more probable if A"),
    ],
)
def test_likelihood_ratios_in_words(llr, words):
    assert words in wording.odds(llr, "A")


def test_missing_parts_read_honestly(whole):
    no_threshold = text_of(replace(whole, threshold=None, decision="undecided"))
    assert "Undecided: there is no threshold to hold the score against, so it stays open" in no_threshold
    assert "Accepted" not in no_threshold and "FMR 1 %" not in no_threshold
    no_calibration = text_of(replace(whole, calibration=None, llr=None))
    assert "the score cannot be read as strength of evidence" in no_calibration
    assert "times more probable" not in no_calibration
    point = {**whole.threshold, "fmr_interval": None, "identities": None}
    no_interval = text_of(replace(whole, threshold=point))
    assert "0.99 % (no interval could be made) of false claims" in no_interval and "[0.41" not in no_interval
    seen = {"fmr_interval": None, "fmr_upper": 0.117, "fmr": 0.0, "identities": 24}
    no_error = text_of(replace(whole, threshold={**whole.threshold, **seen}))
    assert "0.0 % (95 % upper limit 11.7 %) of false claims" in no_error
    assert "95 % upper limit 11.7 % 0 errors" in no_error
    unknown = text_of(replace(whole, evidence={}, enrolment={}, ids={}, provenance={}, pictures=[], warnings=[]))
    assert "not known" in unknown and not re.search(r"\b(nan|None)\b", unknown)


def test_a_video_without_any_window_has_a_page(tmp_path):
    empty = make_report(windows=0, score=None, llr=None, decision="undecided", threshold=None, pictures=[])
    shown = page_of(reports.write(empty, tmp_path / "page.html"))
    assert "no score could be made" in shown.text and "no window of this video has a score" in shown.text
    assert "no frame lies in a window" in shown.text
    assert sum(tag == "img" for tag, _ in shown.tags) == 1, "development scores are drawn, no score among them"


def test_one_window_has_a_page(tmp_path):
    shown = page_of(reports.write(make_report(windows=1), tmp_path / "page.html"))
    assert "1 window scored" in shown.text


def test_a_running_test_shows_its_bounds_and_asked_rates(whole, tmp_path):
    running = replace(whole, sequential=verification_sample.sequential(whole), threshold=None, sha256=None)
    shown = page_of(reports.write(running, tmp_path / "page.html"))
    assert "asked to accept at most 1.0 % of false claims and to reject at most 10.0 % of true ones" in shown.text
    assert "The bound to accept was reached after 7.6 s" in shown.text and "asked, not measured" in shown.text
    assert "Not the error rates of the running test." in shown.text
    assert "SHA-256 of the video none: a stream is seen only once" in shown.text
    assert sum(tag == "img" for tag, _ in shown.tags) == 4
    bounds = {"upper": 100.0, "lower": -100.0, "decision": None}
    still = replace(running, sequential={**running.sequential, **bounds}, decision="undecided")
    text = page_of(reports.write(still, tmp_path / "page.html")).text
    assert "Undecided: the evidence reached neither bound" in text and "Neither bound was reached." in text
    nothing = replace(still, sequential={**still.sequential, "seconds": [], "llr": []}, pictures=[])
    assert "the running test saw no window" in page_of(reports.write(nothing, tmp_path / "page.html")).text


def test_rates_with_few_errors_are_greyed(whole):
    text = text_of(whole)
    assert "0.99 % † [0.41, 2.16] 11 errors" in text and "8.1 % † [4.1, 13.7] 19 errors" in text
    many = text_of(replace(whole, threshold={**whole.threshold, "mated": 2400, "non_mated": 11520}))
    assert "0.99 % [0.41, 2.16] 114 errors" in many and "†" not in many


def test_a_score_beyond_the_calibration_is_called_extrapolated(whole):
    beyond = replace(whole, score=0.999, llr=7.2)
    assert "lies above every score that the calibration was fitted on" in text_of(beyond)
    assert "extrapolated" not in text_of(whole)


def test_the_figure_holds_the_ratio_within_its_bounds(whole):
    bounded = {**whole.calibration, "scale": 9000.0, "llr_bounds": [-2.4, 3.7]}
    drawing = verification_figures.draw_all(replace(whole, calibration=bounded, llr=3.7))["calibration"]
    assert "log likelihood ratio +3.70" in drawing.caption


def test_the_page_needs_nothing_else_and_is_its_owners_alone(whole, tmp_path):
    path = reports.write(whole, tmp_path / "new" / "page.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["page.html"]
    shown = page_of(path)
    policy = [attrs for tag, attrs in shown.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")
    assert not [tag for tag, _ in shown.tags if tag in ("script", "iframe", "object", "link", "form")]
    sources = [attrs["src"] for _, attrs in shown.tags if "src" in attrs]
    assert len(sources) == 3 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(attrs["alt"] for tag, attrs in shown.tags if tag == "img")
    assert path.stat().st_size < 3_000_000
    assert reports.write(whole, path).read_bytes() == path.read_bytes()


def hostile(report):
    fields = {"claim": NASTY, "video": NASTY, "sha256": NASTY, "warnings": [NASTY]}
    named = {"name": NASTY, "source": NASTY}
    return replace(
        report, **fields, ids={NASTY: NASTY, "architecture": NASTY}, provenance={NASTY: NASTY},
        enrolment={**report.enrolment, "name": NASTY}, threshold={**report.threshold, **named},
        evidence={**report.evidence, NASTY: NASTY},
    )  # fmt: skip


def test_hostile_names_are_text(whole, tmp_path):
    shown = page_of(reports.write(hostile(whole), tmp_path / "page.html"))
    assert not [tag for tag, attrs in shown.tags if tag == "script" or "onerror" in attrs]
    assert "<script>window.hacked=true</script><img src=x onerror=" in shown.text
    assert "\x1b" not in shown.text


def test_parts_that_do_not_fit_are_refused(whole):
    with pytest.raises(FingerprintError, match="one of accepted, rejected, undecided"):
        replace(whole, decision="maybe")
    with pytest.raises(FingerprintError, match="one length"):
        replace(whole, running_score=whole.running_score[:-1])
    with pytest.raises(FingerprintError, match="one length"):
        replace(whole, frame_attention=np.zeros(3))


@in_a_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_sideways_scrolling(whole, width, tmp_path):
    full = replace(whole, sequential=verification_sample.sequential(whole))
    found = browser.measure(reports.write(full, tmp_path / "page.html"), width)
    assert found["width"] <= width
    assert len(found["images"]) == 4 and all(complete and wide > 400 for complete, wide, _ in found["images"])
    assert found["requests"] == [] and found["scripts"] == 0
    assert "Accepted: the facial motion" in found["text"]


@in_a_browser
def test_a_browser_shows_hostile_names_as_text(whole, tmp_path):
    path = reports.write(hostile(whole), tmp_path / "page.html")
    found = browser.measure(path, 390)
    assert found["width"] <= 390 and not found["hacked"] and found["scripts"] == 0
    assert "<script>window.hacked=true</script>" in found["text"]
    assert not [tag for tag, attrs in Page(browser.dump_dom(path)).tags if tag == "script" or "onerror" in attrs]


@in_a_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_picture_of_the_page_has_ink_on_paper(whole, dark, tmp_path):
    image = pytest.importorskip("PIL.Image")
    png = browser.screenshot(reports.write(whole, tmp_path / "page.html"), tmp_path / "page.png", 1200, 900, dark=dark)
    pixels = np.asarray(image.open(png).convert("L"))
    assert pixels.shape == (900, 1200)
    assert (np.median(pixels) < 60) == dark
    assert pixels.std() > 15
