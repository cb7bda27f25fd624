"""Writing: strict JSON, whole files, a self-contained page, even tables, no crash where parts are missing."""

from __future__ import annotations

import html.parser
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from fingerprint.errors import FingerprintError
from fingerprint.reports import figures, strict_json, wording
from fingerprint.reports import report as reports

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not balance."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.parts, self.weak, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = " ".join("".join(self.parts).replace("\u00a0", " ").split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append((tag, "weak" in dict(attrs).get("class", "").split()))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop()[0] == tag, f"</{tag}> closes nothing"
        self.parts.append(" ")

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "style":
            return
        self.parts.append(data)
        if any(weak for _, weak in self.open):
            self.weak.append(data)


def page_of(written) -> Page:
    return Page(written["html"].read_text("utf-8"))


def no_constant(name):
    raise AssertionError(f"{name} in JSON")


def test_json_is_strict_and_holds_all_but_the_arrays(report, written):
    found = json.loads(written["json"].read_text("utf-8"), parse_constant=no_constant)
    assert found["schema"] == reports.SCHEMA
    assert found["training"][7]["loss"] is None
    assert found["config"]["limit"] is None
    assert found["rates"] == strict_json.plain(report.rates)
    assert found["controls"] == report.controls
    assert not {"scores", "mated", "same_target", "embeddings", "embedding_driver"} & set(found)
    assert found["attention"][0]["video_id"] == "RAVDESS_01_self"
    assert "landmarks" not in found["attention"][0]


def test_plain_values():
    given = {
        1: np.float32("nan"),
        "a": np.arange(2),
        "b": {np.int64(3)},
        "c": (np.bool_(True), -np.inf),
        "d": np.str_("x"),
    }
    assert strict_json.plain(given) == {"1": None, "a": [0, 1], "b": [3], "c": [True, None], "d": "x"}
    assert strict_json.plain(np.array(["2020-01-01"], "datetime64[D]")[0]) == "2020-01-01"
    assert json.loads(strict_json.dumps(given), parse_constant=no_constant)


def test_page_is_self_contained_and_well_formed(written):
    text, page = written["html"].read_text("utf-8"), page_of(written)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name, "#")
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:40])
    assert "url(" not in text and "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} <= set(page.ids)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len([name for name in written if figures.is_figure_name(name)]) == 12
    assert all(attributes["alt"].strip() for attributes in images)
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "width=device-width" in text


def test_ids_never_become_markup(sample, report, written):
    page = page_of(written)
    assert page.text.count(" ".join(sample.NASTY.split())) >= 6
    markdown = written["markdown"].read_text("utf-8")
    prose = re.sub(r"(?ms)^```json\n.*?^```$", "", markdown)
    assert "<script" not in prose and not re.search(r"(?<!\\)\]\(javascript", prose)
    assert re.findall(r"(?<!\\)`", prose) == []
    fenced = sample.replace(report, config={"note": "```\n# out"}, attention=[], embeddings=None)
    assert "\\n# out" in reports_markdown(fenced)


def reports_markdown(report) -> str:
    from fingerprint.reports import document, markdown

    return markdown.render(document.build(report, []))


def test_every_rate_is_shown_with_its_interval(report, written):
    page, markdown = page_of(written), written["markdown"].read_text("utf-8")
    seen = 0
    for row in [*report.rates, *report.controls]:
        for name, entry in row.get("rates", {}).items():
            if entry["value"] is None:
                continue
            value, spread = wording.number(name, entry), wording.interval(name, entry)
            assert re.fullmatch(r"\[[\d.]+, [\d.]+\]", spread)
            pattern = re.escape(value) + "( †)? " + re.escape(spread)
            assert re.search(pattern, page.text), (name, value, spread)
            assert re.search(pattern, markdown), (name, value, spread)
            seen += 1
    assert seen > 60
    for point in report.thresholds.values():
        assert wording.number("fmr", point["test_fmr"]) in page.text
    assert "0.812345" in page.text and "43.2 % [39.1, 47.5]" in page.text and "+0.007 [-0.019, +0.034]" in page.text


def test_reasons_stand_for_missing_rates(written):
    page = page_of(written)
    assert "EER on the convex hull is not defined, left out in this sample" in page.text
    assert "same sentence: no rates, no sentence is known" in page.text


def test_unreliable_rates_are_greyed_and_explained(report, written):
    page = page_of(written)
    weak = " ".join(page.weak)
    for row in report.rates:
        for name, entry in row["rates"].items():
            if entry.get("unreliable"):
                assert f"{wording.number(name, entry)} †" in weak
    assert "†" not in " ".join(text for text in page.parts if text not in page.weak and "marked †" not in text)
    assert "fewer than 30 errors stand behind the rate" in page.text
    assert " †" in written["markdown"].read_text("utf-8")


def test_markdown_tables_are_even(written):
    tables = re.findall(r"(?m)(?:^\|.*\n)+", written["markdown"].read_text("utf-8"))
    assert len(tables) >= 8
    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1, table


def test_markdown_links_the_figures(written):
    links = re.findall(r"\]\((figures/[^)]+)\)", written["markdown"].read_text("utf-8"))
    assert len(links) == 12
    assert all((written["markdown"].parent / link).is_file() for link in links)


def test_write_replaces_and_leaves_nothing_behind(sample, report, tmp_path):
    first = reports.write(report, tmp_path / "deep" / "down")
    assert "attention_2" in first
    (tmp_path / "deep/down/figures/mine.png").write_bytes(b"kept")
    second = reports.write(
        sample.replace(report, title="Second", attention=report.attention[:1]), tmp_path / "deep" / "down"
    )
    assert "Second" in second["html"].read_text("utf-8")
    assert json.loads(second["json"].read_text("utf-8"))["title"] == "Second"
    left = {
        str(path.relative_to(tmp_path / "deep/down")) for path in (tmp_path / "deep/down").rglob("*") if path.is_file()
    }
    expected = {str(path.relative_to(tmp_path / "deep/down")) for path in second.values()} | {"figures/mine.png"}
    assert left == expected


def test_a_failed_write_leaves_the_old_file(report, tmp_path, monkeypatch):
    written = reports.write(report, tmp_path)
    before = written["html"].read_bytes()

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        reports.write(report, tmp_path)
    assert written["html"].read_bytes() == before
    assert not [path for path in tmp_path.rglob(".*")]


def test_same_report_same_files(report, written, tmp_path):
    again = reports.write(report, tmp_path)
    assert {name: path.read_bytes() for name, path in again.items()} == {
        name: path.read_bytes() for name, path in written.items()
    }


def test_lengths_must_agree(sample, report):
    with pytest.raises(FingerprintError, match="one score"):
        sample.replace(report, mated=report.mated[:-1])
    with pytest.raises(FingerprintError, match="one driver"):
        sample.replace(report, embedding_driver=report.embedding_driver[:-1])


def test_everything_missing_becomes_sentences(sample, report, tmp_path):
    nothing = {name: {} for name in ("provenance", "data", "model", "protocol", "acquisition", "thresholds", "config")}
    nothing |= {name: [] for name in ("rates", "controls", "training", "warnings", "attention")}
    nothing |= {"scores": np.zeros(0), "mated": np.zeros(0, bool), "same_target": np.zeros(0, bool)}
    nothing |= {"embeddings": None, "embedding_driver": [], "embedding_target": []}
    nothing |= {"per_identity": {}, "identification": {}}
    written = reports.write(sample.replace(report, **nothing), tmp_path)
    assert set(written) == {"json", "markdown", "html"}
    page = page_of(written)
    for sentence in (
        "No error rate could be measured",
        "no validation log in this run",
        "no training log in this run",
        "no embeddings in this run",
        "no attention examples in this run",
        "no trial has a score",
        "No controls in this run",
        "No thresholds were fixed on validation identities in this run",
        "No protocol in this run",
        "No rates of single people in this run",
        "not asked for in this run",
        "not checked",
    ):
        assert sentence in page.text, sentence


def test_failed_scores_and_constant_scores(sample, report, tmp_path):
    failed = sample.replace(report, scores=np.full(len(report.scores), np.nan))
    assert "one class has no trial with a score" in page_of(reports.write(failed, tmp_path / "a")).text
    constant = sample.replace(report, scores=np.full(len(report.scores), 0.25))
    assert {"roc", "det", "scores"} <= set(reports.write(constant, tmp_path / "b"))


def test_text_that_is_no_text_is_written(sample, report, tmp_path):
    odd = sample.replace(report, title="bad \udcff byte \x00 \x1b[2J", attention=[], embeddings=None)
    text = reports.write(odd, tmp_path)["html"].read_text("utf-8")
    assert "\x00" not in text and "\x1b" not in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
def test_a_browser_draws_the_page_without_sideways_scrolling(written, tmp_path):
    frame = tmp_path / "phone.html"
    frame.write_text(
        f'<iframe id="f" src="{written["html"].as_uri()}" style="width:390px;height:900px"></iframe>'
        '<p id="out">none</p>'
        "<script>f.onload=()=>{let d=f.contentDocument;"
        "out.textContent='wide '+d.documentElement.scrollWidth+' images '+"
        "[...d.images].filter(i=>i.complete&&i.naturalWidth>400).length}</script>"
    )
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --allow-file-access-from-files --virtual-time-budget=5000"
    command = [
        "chromium",
        *flags.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        frame.as_uri(),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    wide, images = map(int, re.search(r"wide (\d+) images (\d+)", found).groups())
    assert wide <= 390
    assert images == 12
