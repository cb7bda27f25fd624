"""Open-set identification: who of the people enrolled drives this video, or is it none of them?

DIR at FAR: the share of probes of enrolled people whose own template scores highest and at least the threshold
(detection and identification rate at rank 1), where the threshold lets the share FAR of the probes of people who are
not enrolled pass with their highest score (Phillips, Grother and Micheals, Handbook of Face Recognition, 2005;
ISO/IEC 19795-1, FNIR = 1 - DIR and FPIR = FAR).

Half of the people are enrolled, the others are impostors; several random halves, rates averaged. Templates are drawn
once, so that every template meets every probe once, whatever the number of halves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ProtocolError
from fingerprint.verification.error_rates import RULE_OF_30
from fingerprint.verification.plan import VideoTable
from fingerprint.verification.trials import TrialList

HALVES = 10
_PAIRS = 1 << 21  # scored at a time
_CELLS = 1 << 22


@dataclasses.dataclass(frozen=True)
class Gallery:
    """One template a person, the probes, and who is enrolled in each half.

    Attributes:
        names: of the people with a template. templates: rows of the video table of each.
        probes: rows of the video table; never a source clip of the own driver's template.
        person: place of each probe's driver in `names`.
        enrolled: by half.
        notes: what was left out.
    """

    names: tuple[str, ...]
    templates: tuple[tuple[int, ...], ...]
    probes: Int[np.ndarray, " probe"]
    person: Int[np.ndarray, " probe"]
    enrolled: Bool[np.ndarray, "half person"]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Searches:
    """What searching the gallery of each half gave.

    Attributes:
        person: of each probe, as in `Gallery`.
        enrolled: by half.
        found: score of the own template where it scores above all other enrolled ones, else -inf; NaN: no score.
        highest: highest score of an enrolled template of another person; NaN: no score.
    """

    person: Int[np.ndarray, " probe"]
    enrolled: Bool[np.ndarray, "half person"]
    found: Float[np.ndarray, "half probe"]
    highest: Float[np.ndarray, "half probe"]


def draw(videos: Mapping[str, np.ndarray], *, seed: int, enrolment_clips: int = 1, halves: int = HALVES) -> Gallery:
    """Draw a template a person from videos that show their own face, and the halves.

    Where the own faces of the table are rendered, real videos (ORIG) are neither enrolled nor probes. Probes are all
    other videos of people with a template, also those on another's face.

    Raises:
        ProtocolError: fewer than four people who can be enrolled and have a probe left.
    """
    table, rng = VideoTable.of(videos), np.random.default_rng(seed)
    rendered = bool(table.self_made.any())
    usable = ~table.original if rendered else np.ones(table.count, bool)
    names, templates, probes, person, short = [], [], [], [], 0
    for code in np.unique(table.driver[usable]):
        own = np.flatnonzero(usable & table.own_face & (table.driver == code))
        shuffled = rng.permutation(own)
        first = np.sort(np.unique(table.clip[shuffled], return_index=True)[1])[:enrolment_clips]
        rows = shuffled[first]
        left = np.flatnonzero(usable & (table.driver == code) & ~np.isin(table.clip, table.clip[rows]))
        if len(rows) < enrolment_clips or not len(left):
            short += 1
            continue
        person.append(np.full(len(left), len(names)))
        probes.append(table.order[left])
        names.append(table.names[code])
        templates.append(tuple(sorted(table.order[rows].tolist())))
    if len(names) < 4:
        raise ProtocolError(
            f"identification wants four people with {enrolment_clips} source clips of their own face and a further "
            f"one, found {len(names)}"
        )
    ranks = np.argsort([rng.permutation(len(names)) for _ in range(halves)], axis=1)
    skipped = int((~usable).sum())
    notes = [f"{short} people left out: fewer than {enrolment_clips} source clips of their own face and a further one"]
    notes += [f"{skipped} real videos (ORIG) left out"] if skipped else []
    return Gallery(
        tuple(names),
        tuple(templates),
        np.concatenate(probes),
        np.concatenate(person),
        ranks < len(names) // 2,
        tuple(notes[not short :]),
    )


def search(gallery: Gallery, score: Callable[[TrialList], Float[np.ndarray, " trial"]]) -> Searches:
    """Score every template against every probe, some templates at a time, and keep what each half needs.

    Args:
        gallery: from `draw`.
        score: of the trials of a list, as verification scores them; NaN where a side was not acquired.
    """
    people, probes, halves = len(gallery.names), len(gallery.probes), len(gallery.enrolled)
    own = np.full(probes, np.nan)
    highest = np.full((halves, probes), -np.inf)
    step = max(1, _PAIRS // probes)
    for first in range(0, people, step):
        templates = np.arange(first, min(first + step, people))
        scores = score(_trials(gallery, templates)).reshape(len(templates), probes)
        for row, template in zip(scores, templates, strict=True):
            mine = gallery.person == template
            own[mine] = row[mine]
            others = np.where(mine | np.isnan(row), -np.inf, row)
            enrolled = gallery.enrolled[:, template]
            highest[enrolled] = np.maximum(highest[enrolled], others)
    # a video without a window has no score with anybody
    highest[np.isneginf(highest)] = np.nan
    found = np.where(own > highest, own, -np.inf)
    found = np.where(np.isnan(own) | np.isnan(highest), np.nan, found)
    return Searches(gallery.person, gallery.enrolled, found, highest)


def rates(searches: Searches, far: Sequence[float], *, replicates: int = 1000, seed: int) -> list[dict[str, Any]]:
    """DIR at each FAR, mean over the halves; JSON-able.

    A probe without a score is left out. Ties count against: a gallery in which all score the same identifies nobody.
    Where the asked FAR cannot be met exactly, the threshold gives a lower one. The interval resamples people as
    drivers of probes, of both kinds, with the galleries held as they are: simulated 95 % intervals held the truth in
    89 % of cases with 16 people and in 93 % with 32.

    Returns:
        One dict a FAR: far, value, low, high, errors (false alarms allowed in the smallest half), unreliable, and
        reason where there is no value: a half with fewer than 1 / FAR probes of people not enrolled shows nothing.
    """
    people = searches.enrolled.shape[1]
    weights = np.ones((1, people))
    if replicates:
        drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=replicates)
        weights = np.concatenate([weights, drawn])
    sides = [_sides(searches, half) for half in range(len(searches.enrolled))]
    smallest = min(len(alarms) for _, _, alarms, _ in sides)
    enough = all(len(found) for found, *_ in sides) and smallest > 0
    found = np.mean([_dir(*side, np.asarray(far), weights) for side in sides], axis=0) if enough else ()
    entries = []
    for number, share in enumerate(far):
        entry = {"far": float(share), "value": None, "low": None, "high": None}
        if smallest * share < 1 - 1e-9 or not enough:
            reason = f"{smallest} probes of people who are not enrolled cannot show it"
            entries.append(entry | {"errors": None, "unreliable": True, "reason": reason})
            continue
        known = found[number, 1:][~np.isnan(found[number, 1:])]
        low, high = np.percentile(known, [2.5, 97.5]).tolist() if len(known) else (None, None)
        errors = int(smallest * share + 1e-9)
        entry |= {"value": float(found[number, 0]), "low": low, "high": high}
        entries.append(entry | {"errors": errors, "unreliable": errors < RULE_OF_30, "reason": None})
    return entries


def _trials(gallery: Gallery, templates: Int[np.ndarray, " template"]) -> TrialList:
    """These templates against every probe, template by template."""
    template_index = np.repeat(np.arange(len(templates), dtype=np.int32), len(gallery.probes))
    reference = np.repeat(templates.astype(np.int32), len(gallery.probes))
    probe = np.tile(gallery.person.astype(np.int32), len(templates))
    return TrialList(
        templates=tuple(gallery.templates[template] for template in templates),
        template_index=template_index,
        probe_index=np.tile(gallery.probes.astype(np.int32), len(templates)),
        mated=reference == probe,
        conditions={},
        reference_driver=reference,
        probe_driver=probe,
        drivers=gallery.names,
        protocol="identification",
        seed=0,
        hash="",
    )


def _sides(searches: Searches, half: int):
    """Of a half: scores that identify and their people, highest scores of impostors, descending, and their people."""
    inside = searches.enrolled[half][searches.person]
    inside_known = inside & ~np.isnan(searches.found[half])
    outside = np.flatnonzero(~inside & ~np.isnan(searches.highest[half]))
    outside = outside[np.argsort(-searches.highest[half][outside], kind="stable")]
    return (
        searches.found[half][inside_known],
        searches.person[inside_known],
        searches.highest[half][outside],
        searches.person[outside],
    )


def _dir(found, found_person, alarms, alarm_person, far, weights) -> Float[np.ndarray, "far replicate"]:
    """DIR under each row of weights; NaN where a side weighs nothing."""
    order = np.argsort(found, kind="stable")
    found, found_person = found[order], found_person[order]
    # `score >= threshold` of the lowest threshold that still holds: above the highest score refused, so above all of a
    # tie; by the number of alarms let through
    start = np.searchsorted(found, np.append(alarms, -np.inf), side="right")
    out = np.full((len(far), len(weights)), np.nan)
    step = max(1, _CELLS // (len(alarms) + len(found)))
    for first in range(0, len(weights), step):
        part = weights[first : first + step]
        passed = np.cumsum(part[:, alarm_person], axis=1)
        below = np.concatenate([np.zeros((len(part), 1)), np.cumsum(part[:, found_person], axis=1)], axis=1)
        for row in np.flatnonzero((passed[:, -1] > 0) & (below[:, -1] > 0)):
            allowed = np.searchsorted(passed[row], far * passed[row, -1] * (1 + 1e-12), side="right")
            out[:, first + row] = 1 - below[row, start[allowed]] / below[row, -1]
    return out
