"""Which records make a training batch: P drivers x K windows, a pure function of (seed, step)."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Int

from fingerprint.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The rows of one batch: `record[i]` belongs to driver `driver[i]`; slots of one driver are adjacent."""

    record: Int[np.ndarray, "batch"]
    driver: Int[np.ndarray, "batch"]


class DriverSampler:
    """P drivers a batch, K windows a driver, targets varied inside a driver.

    Drivers come in a new random order every pass, so all are seen equally often. With `same_target`, they come in
    random pairs that share a target, and part of each one's windows show that target, or several that they share: for
    every such window the batch holds another driver wearing the same face. The other windows are on varied targets.

    Args:
        driver, target: names by record.
        usable: records that hold at least one window.
        clip_id: source clip by record: a driver's windows come from different clips while there are any, because the
            same motion on another face teaches little; None: all different.
        drivers_per_batch, windows_per_driver: P and K.
        same_target: ask for same-target negatives. same_target_share: part of a paired driver's windows on faces that
            the other wears too, rounded down, at least one window. same_target_faces: so many faces, where they share
            so many.
        leave_out_few: leave out drivers with fewer than two usable records (`left_out` names them) instead of refusing
            the split.
        seed: fixes every batch.

    Raises:
        ConfigError: fewer drivers than P, a driver with fewer than two usable records, or no target with two drivers
        (recordings of people with their own faces only) where asked.
    """

    def __init__(
        self,
        driver: np.ndarray,
        target: np.ndarray,
        usable: np.ndarray,
        *,
        drivers_per_batch: int,
        windows_per_driver: int,
        clip_id: np.ndarray | None = None,
        same_target: bool = False,
        same_target_share: float = 0.5,
        same_target_faces: int = 1,
        leave_out_few: bool = False,
        seed: int = 0,
    ):
        found, count = np.unique(driver[usable], return_counts=True)
        self.left_out = found[count < 2].tolist() if leave_out_few else []
        usable = usable & ~np.isin(driver, self.left_out)
        self.names = sorted(set(driver[usable].tolist()))
        self.drivers_per_batch, self.windows_per_driver = drivers_per_batch, windows_per_driver
        self.same_target, self.seed = same_target, seed
        if not 0 < same_target_share <= 1 or same_target_faces < 1:
            raise ConfigError(
                f"same_target_share is {same_target_share} and same_target_faces {same_target_faces}; wanted a share "
                "in (0, 1] and at least 1 face"
            )
        self._faces, self._on_shared = same_target_faces, max(int(same_target_share * windows_per_driver), 1)
        if windows_per_driver < 2:
            raise ConfigError(f"windows_per_driver is {windows_per_driver}; a positive pair needs at least 2")
        if len(self.names) < drivers_per_batch:
            raise ConfigError(
                f"the training split has {len(self.names)} drivers with usable records; a batch asks for "
                f"{drivers_per_batch} ({len(self.left_out)} left out with fewer than 2); lower "
                "--config.sampler.drivers_per_batch"
            )
        code = {name: i for i, name in enumerate(self.names)}
        self._records: list[dict[str, np.ndarray]] = [{} for _ in self.names]
        rows = np.flatnonzero(usable)
        for row in rows.tolist():
            self._records[code[driver[row]]].setdefault(target[row], []).append(row)
        self._records = [{t: np.array(r) for t, r in by_target.items()} for by_target in self._records]
        few = [n for n, by in zip(self.names, self._records, strict=True) if sum(map(len, by.values())) < 2]
        if few:
            raise ConfigError(
                f"{len(few)} drivers have fewer than 2 usable records (first: {few[0]!r}); a positive pair needs 2. "
                "Lower data.window.length or data.window.min_valid, or leave these drivers out with "
                "--config.sampler.leave_out_few=True"
            )
        self._wearers = {}
        for i, by_target in enumerate(self._records):
            for name in by_target:
                self._wearers.setdefault(name, []).append(i)
        self._shared = sorted(t for t, drivers in self._wearers.items() if len(drivers) > 1)
        if same_target and (not self._shared or drivers_per_batch % 2):
            raise ConfigError(
                f"same-target negatives need an even number of drivers per batch (found {drivers_per_batch}) and "
                f"targets worn by two drivers (found {len(self._shared)}). Where nobody wears another's face, make "
                "such videos with --config.data.reenact_targets, or go without: --config.sampler.same_target=False"
            )
        self._clip = np.arange(len(driver)) if clip_id is None else np.unique(clip_id, return_inverse=True)[1]
        self._remember_batches()

    def _remember_batches(self) -> None:
        # One batch is asked for once per slot: remember the latest few.
        self.batch = functools.lru_cache(maxsize=64)(self._batch)

    def __getstate__(self):  # for reading processes: the memory cannot be pickled
        return {name: value for name, value in self.__dict__.items() if name != "batch"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._remember_batches()

    @property
    def batch_size(self) -> int:
        """Windows in a global batch."""
        return self.drivers_per_batch * self.windows_per_driver

    @property
    def steps_per_pass(self) -> int:
        """Steps in which every driver is seen once (up to the remainder)."""
        return len(self.names) // self.drivers_per_batch

    def _batch(self, step: int) -> BatchPlan:
        rng = np.random.default_rng([self.seed, 1, step])
        chosen = self._pairs(rng) if self.same_target else [(d, ()) for d in self._drivers(step)]
        record = [self._windows(rng, driver, faces) for driver, faces in chosen]
        drivers = np.repeat([driver for driver, _ in chosen], self.windows_per_driver)
        return BatchPlan(np.concatenate(record), drivers.astype(np.int32))

    def _drivers(self, step: int) -> list[int]:
        turn, part = divmod(step, self.steps_per_pass)
        order = np.random.default_rng([self.seed, 0, turn]).permutation(len(self.names))
        return order[part * self.drivers_per_batch : (part + 1) * self.drivers_per_batch].tolist()

    def _pairs(self, rng) -> list[tuple[int, tuple[str, ...]]]:
        chosen: dict[int, tuple[str, ...]] = {}
        for target in rng.permutation(self._shared).tolist():
            free = [d for d in self._wearers[target] if d not in chosen]
            if len(free) > 1 and len(chosen) < self.drivers_per_batch:
                pair = rng.choice(free, 2, replace=False).tolist()
                chosen |= dict.fromkeys(pair, (target, *self._further_faces(rng, pair, target)))
        spare = [d for d in rng.permutation(len(self.names)).tolist() if d not in chosen]
        while len(chosen) < self.drivers_per_batch:  # too few disjoint pairs: fill up with drivers on varied targets
            chosen[spare.pop()] = ()
        return list(chosen.items())

    def _further_faces(self, rng, pair: list[int], target: str) -> list[str]:
        if self._faces == 1:
            return []
        both = set(self._records[pair[0]]) & set(self._records[pair[1]]) - {target}
        return rng.permutation(sorted(both)).tolist()[: self._faces - 1]

    def _windows(self, rng, driver: int, faces: tuple[str, ...]) -> np.ndarray:
        """K records of a driver: `faces` in turn for the part that shows shared ones; then targets in random order, one
        record a target in turn; again from the start when all are used."""
        by_target = self._records[driver]
        shared = [rng.permutation(by_target[face]) for face in faces]
        picked = []
        for i in range(self._on_shared if faces else 0):
            turn, face = divmod(i, len(faces))
            picked.append(shared[face][turn % len(shared[face])])
        queues = [rng.permutation(by_target[t]).tolist() for t in rng.permutation(sorted(by_target)).tolist()]
        turns = [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]
        turns = [t for t in turns if t not in picked] or turns
        seen, new, again = {self._clip[row] for row in picked}, [], []
        for row in turns:
            (again if self._clip[row] in seen else new).append(row)
            seen.add(self._clip[row])
        turns = new + again
        return np.array((picked + turns * self.windows_per_driver)[: self.windows_per_driver])
