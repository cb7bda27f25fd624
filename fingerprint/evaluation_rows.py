"""What an evaluation measures: rows of error rates, people apart, and who is found in a gallery."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from ml_collections import ConfigDict

from fingerprint.data.record_sources import RecordSource
from fingerprint.embed import WindowEmbeddings
from fingerprint.errors import ProtocolError
from fingerprint.validation import VideoTrials, make_trials
from fingerprint.verification import identification, per_identity
from fingerprint.verification.calibration import LinearCalibration
from fingerprint.verification.rates_table import report_rates
from fingerprint.verification.score_file import ScoreTable
from fingerprint.verification.trials import subset


class Rows:
    """Rows of error rates of one model on one split, and what stands beside them.

    Attributes:
        config: the whole configuration. subject: trials of its protocol. scores: of these trials.
        points: `thresholds` and `calibration` from development identities. training: what the model says of its
            training data (`generators`, `corpora`), or nothing.
    """

    def __init__(self, config: ConfigDict, subject: VideoTrials, scores, points: dict[str, Any], training):
        self.config, self.subject, self.scores = config, subject, scores
        self.points, self.training = points, training or {}

    def of(self, table: ScoreTable, conditions=None) -> list[dict[str, Any]]:
        """Error rates of every condition, with operating points from development identities."""
        line = self.points.get("calibration")
        return report_rates(
            table,
            calibration=LinearCalibration.from_dict(line) if line else None,
            thresholds={name: point["threshold"] for name, point in self.points.get("thresholds", {}).items()},
            replicates=self.config.evaluate.replicates,
            seed=self.config.seed,
            conditions=conditions,
        )

    def part(self, chosen: Bool[np.ndarray, "trial"]) -> ScoreTable:
        """Some of the trials, with their scores."""
        subject = self.subject
        ids, measures = subject.videos["video_id"].tolist(), subject.measures()[chosen]
        return ScoreTable.from_trials(subset(subject.trials, chosen), ids, self.scores[chosen], measures)

    def within_generators(self) -> list[dict[str, Any]]:
        """Rows of trials whose videos are all of one generator: each generator, those that training saw, and those that
        it did not; none where the split has one generator, unless training did not see it.

        No source clip stands on both sides of a mated trial, nor a clip with its rendering by another generator.
        """
        generators, code = self._generators()
        within = _one_code(code, self.subject.trials)
        known = self.training.get("generators")
        unseen = [] if known is None else [name for name in generators if name not in known]
        seen = [] if known is None else [name for name in generators if name in known]
        kinds = {}
        if len(generators) > 1:
            said = {name: ", not seen in training" for name in unseen} | {name: ", seen in training" for name in seen}
            kinds = {
                f"generator_{name}": ((name,), f"Both sides made by {name}{said.get(name, '')}.") for name in generators
            }
        if len(unseen) > 1 or (unseen and not kinds):
            kinds["unseen_generator"] = (unseen, f"Both sides by one generator, unseen in training: {_list(unseen)}.")
        if len(seen) > 1:
            kinds["seen_generator"] = (seen, f"Both sides by one generator, seen in training: {_list(seen)}.")
        rows = []
        for condition, (names, description) in kinds.items():
            chosen = np.isin(within, np.flatnonzero(np.isin(generators, names)))
            rows.append(self._row(self.part(chosen), condition, description))
        return rows

    def unseen_corpus(self) -> list[dict[str, Any]]:
        """A row of probes whose corpus training did not see, where that is known and there are any."""
        known, corpora = self.training.get("corpora"), self.subject.videos["corpus"]
        new = np.zeros(len(corpora), bool) if known is None else ~np.isin(corpora, known)
        chosen = new[self.subject.trials.probe_index]
        if not chosen.any():
            return []
        description = f"Probes of a corpus that training never saw: {_list(sorted(set(corpora[new].tolist())))}."
        return [self._row(self.part(chosen), "unseen_corpus", description)]

    def balanced(self) -> list[dict[str, Any]]:
        """A row of as many non-mated as mated trials, the more frequent class drawn, if the configuration asks."""
        if not self.config.evaluate.balanced_pairs:
            return []
        rng, scored = np.random.default_rng(self.config.seed), ~np.isnan(self.scores)
        mated = self.subject.trials.mated
        sides = [np.flatnonzero(scored & side) for side in (mated, ~mated)]
        count = min(map(len, sides))
        chosen = np.zeros(len(mated), bool)
        for side in sides:
            chosen[rng.permutation(side)[:count]] = True
        description = f"As many non-mated as mated trials, drawn with seed {self.config.seed} from those with a score."
        return [self._row(self.part(chosen), "balanced_pairs", description)]

    def further(self, source: RecordSource, windows: WindowEmbeddings) -> list[dict[str, Any]]:
        """A row for every further protocol and every further number of enrolment clips; one that the data cannot give
        says why."""
        options = self.config.evaluate
        if options.protocol == "pairs_csv":
            return []  # the file says who is enrolled with what
        variants = [(f"protocol_{name}", {"protocol": name}, f"Protocol {name}.") for name in options.more_protocols]
        variants += [
            (f"enrolled_{clips}", {"enrolment_clips": clips}, f"Enrolled with {clips} clips, scores averaged.")
            for clips in options.more_enrolment_clips
        ]
        rows = []
        for condition, changes, description in variants:
            if changes.get("protocol") in (options.protocol, self.subject.trials.protocol):
                continue
            varied = options.copy_and_resolve_references()
            varied.update(changes)
            try:
                trials = VideoTrials(
                    source,
                    make_trials(varied, seed=self.config.seed),
                    scoring=self.subject.scoring,
                    cohort=self.subject.cohort,
                )
            except ProtocolError as error:
                rows.append(_empty_row(condition, description, str(error)))
                continue
            ids = trials.videos["video_id"].tolist()
            table = ScoreTable.from_trials(trials.trials, ids, trials.scores(windows), trials.measures())
            rows.append(self._row(table, condition, description))
        return rows

    def people(self, table: ScoreTable) -> dict[str, Any]:
        """What each person's trials gave; JSON-able.

        Returns:
            protocol, people (`PerIdentity.rows`), left_out (reason by name), and unseen_minus_seen: the mean AUC within
            generators that training did not see minus that within those it saw, people paired (None where not known).
        """
        options = {"replicates": self.config.evaluate.replicates, "seed": self.config.seed}
        whole = per_identity.measure(table, **options)
        found = {"protocol": table.protocol, "people": whole.rows(), "left_out": whole.left_out}
        return found | {"unseen_minus_seen": self._unseen_minus_seen(options)}

    def identify(self, windows: WindowEmbeddings) -> dict[str, Any]:
        """Open-set identification, JSON-able: people, enrolled, probes, halves, notes, entries
        (`identification.rates`), and curve, more FAR for the figure; only a reason where the data cannot show it."""
        options = self.config.evaluate
        if not options.identification_far:
            return {}
        try:
            gallery = identification.draw(
                self.subject.videos, seed=self.config.seed, enrolment_clips=options.enrolment_clips
            )
        except ProtocolError as error:
            return {"reason": str(error)}
        searches = identification.search(gallery, lambda trials: self.subject.scores(windows, trials))
        seeded = {"replicates": options.replicates, "seed": self.config.seed}
        return {
            "people": len(gallery.names),
            "enrolled": int(gallery.enrolled[0].sum()),
            "enrolment_clips": options.enrolment_clips,
            "probes": len(gallery.probes),
            "without_score": int(np.isnan(searches.found[0]).sum()),
            "halves": len(gallery.enrolled),
            "notes": list(gallery.notes),
            "entries": identification.rates(searches, options.identification_far, **seeded),
            "curve": identification.rates(searches, np.geomspace(1e-6, 1, 49), replicates=0, seed=0),
        }

    def _row(self, table: ScoreTable, condition: str, description: str) -> dict[str, Any]:
        return self.of(table, ("all",))[0] | {"condition": condition, "description": description}

    def _generators(self) -> tuple[list[str], Int[np.ndarray, "video"]]:
        names, code = np.unique(self.subject.videos["generator"].astype(str), return_inverse=True)
        return names.tolist(), code

    def _unseen_minus_seen(self, options) -> dict[str, Any] | None:
        known = self.training.get("generators")
        if known is None:
            return None
        generators, code = self._generators()
        within, seen = _one_code(code, self.subject.trials), np.isin(generators, known)
        whole = self.part(np.ones(len(within), bool))
        sides = [
            per_identity.measure(whole, np.isin(within, np.flatnonzero(side)), **options) for side in (~seen, seen)
        ]
        return per_identity.difference(*sides) if all(len(side.auc) for side in sides) else None


def _one_code(code: Int[np.ndarray, "video"], trials) -> Int[np.ndarray, "trial"]:
    """The code that all videos of a trial share; -1: they differ."""
    found = [np.unique(code[list(rows)]) for rows in trials.templates]
    first = np.array([codes[0] if len(codes) == 1 else -1 for codes in found])[trials.template_index]
    return np.where(first == code[trials.probe_index], first, -1)


def _list(names) -> str:
    return ", ".join(names)


def _empty_row(condition: str, description: str, reason: str) -> dict[str, Any]:
    counts = dict.fromkeys(("identities", "videos", "mated", "non_mated"), 0)
    return {
        "condition": condition, "description": description, "reason": reason, **counts,
        "fta": None, "fta_mated": None, "fta_non_mated": None, "warnings": [],
        "identity_auc": {"value": None, "low": None, "high": None, "identities": 0, "left_out": {}}, "rates": {},
    }  # fmt: skip
