"""File names of the known corpora: who drives, whose face is shown, what rendered it, from which recording.

Every pattern is matched in full, so that nothing that passes can hold a path separator or `..`. Patterns:

| corpus | pattern | driver | target | generator |
|---|---|---|---|---|
| RAVDESS | `MM-VV-EE-II-SS-RR-AA` | `Actor_AA` | driver | ORIG |
| CREMA-D | `AAAA_SSS_EEE_LL` (a lone `X` counts as `XX`) | `AAAA` | driver | ORIG |
| GAGAvatar-Benchmark | `<driver_video>_<target>` | from driver_video | last part | GAGAvatar |
| AVAPrintDB | `<target>--<driver>--<uuid>--<GEN>` | second part | first part | last part |

A file extension (.mp4, .flv, .npy, .npz, .wav, .mp3) may follow.

Sources: zenodo.org/records/1188976 (RAVDESS); CheyneyComputerScience/CREMA-D and its SentenceFilenames.csv;
the READMEs of BiDAlab/GAGAvatar-Benchmark and BiDAlab/AVAPrintDB.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from fingerprint.errors import NameRefused

ORIGINAL = "ORIG"
_EXTENSION = r"(?:\.(?:mp4|flv|npy|npz|wav|mp3))?"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ACTOR = r"Actor_(?:0[1-9]|1\d|2[0-4])"
_SPEAKER = r"(?:100[1-9]|10[1-8]\d|109[01])"
_RAVDESS_NAME = r"0[1-3]-0[12]-0[1-8]-0[12]-0[12]-0[12]-(?:0[1-9]|1\d|2[0-4])"
_SENTENCES = "DFA|IEO|IOM|ITH|ITS|IWL|IWW|MTI|TAI|TIE|TSI|WSI"
_CREMAD_NAME = rf"{_SPEAKER}_(?:{_SENTENCES})_(?:ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?)"

_RAVDESS = re.compile(rf"({_RAVDESS_NAME}){_EXTENSION}", re.ASCII)
_CREMAD = re.compile(rf"({_CREMAD_NAME}){_EXTENSION}", re.ASCII)
_GAGAVATAR = re.compile(rf"({_RAVDESS_NAME}|{_CREMAD_NAME})_({_ACTOR}|{_SPEAKER}){_EXTENSION}", re.ASCII)
_AVAPRINTDB = re.compile(
    rf"({_ACTOR}|C{_SPEAKER})--({_ACTOR}|C{_SPEAKER})--({_UUID})--(GAGA|LIVE|HUNY|ORIG){_EXTENSION}", re.ASCII
)
_IDENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_\-]|\.(?!\.)){0,99}", re.ASCII)

_BAD_CREMAD = {
    "1076_MTI_NEU_XX": "very short",
    "1076_MTI_SAD_XX": "the picture is an error picture",
    "1064_TIE_SAD_XX": "has no duration",
    "1064_IEO_DIS_MD": "one minute that holds all emotional displays",
}


@dataclasses.dataclass(frozen=True)
class VideoName:
    """What a file name says.

    Attributes:
        driver: whose motion it is, as the corpus spells it.
        target: whose face is shown.
        generator: what rendered it; `ORIG` for a real video.
        corpus: corpus of the driving recording, `ravdess` or `cremad`.
        clip_id: the driving recording; AVAPrintDB's names carry a UUID that stands for it.
        sentence: code of the spoken sentence; "" where the name does not say.
        emotion: the corpus' emotion code; "" where the name does not say.
        video_id: the name without its extension, spelt canonically.
    """

    driver: str
    target: str
    generator: str
    corpus: str
    clip_id: str
    sentence: str
    emotion: str
    video_id: str


def parse_ravdess(name: str) -> VideoName:
    """An original RAVDESS recording, `01-01-03-02-01-02-17.mp4`.

    Raises:
        NameRefused: the name is not of that form, or a field is out of its range.
    """
    stem = _match(_RAVDESS, name, "RAVDESS", "MM-VV-EE-II-SS-RR-AA, e.g. 01-01-03-02-01-02-17").group(1)
    fields = stem.split("-")
    actor = f"Actor_{fields[6]}"
    return VideoName(actor, actor, ORIGINAL, "ravdess", stem, fields[4], fields[2], stem)


def parse_cremad(name: str) -> VideoName:
    """An original CREMA-D recording, `1001_IEO_ANG_HI.flv`; a lone `_X` at the end is read as `_XX`.

    Raises:
        NameRefused: the name is not of that form, or a field is not one of the corpus' codes.
    """
    stem = _match(_CREMAD, name, "CREMA-D", "AAAA_SSS_EEE_LL, e.g. 1001_IEO_ANG_HI").group(1)
    if stem.endswith("_X"):
        stem += "X"
    speaker, sentence, emotion, _ = stem.split("_")
    return VideoName(speaker, speaker, ORIGINAL, "cremad", stem, sentence, emotion, stem)


def parse_gagavatar(name: str) -> VideoName:
    """A video of GAGAvatar-Benchmark, `<driver_video>_<target>`, e.g. `1002_DFA_HAP_XX_Actor_01`.

    Raises:
        NameRefused: the driver video or the target is not a name of RAVDESS or CREMA-D.
    """
    match = _match(
        _GAGAVATAR,
        name,
        "GAGAvatar-Benchmark",
        "<RAVDESS or CREMA-D name>_<target>, e.g. 1002_DFA_HAP_XX_Actor_01",
    )
    source = (parse_ravdess if match.group(1)[2] == "-" else parse_cremad)(match.group(1))
    return dataclasses.replace(
        source, target=match.group(2), generator="GAGAvatar", video_id=f"{source.clip_id}_{match.group(2)}"
    )


def parse_avaprintdb(name: str) -> VideoName:
    """A video of AVAPrintDB, `<target>--<driver>--<uuid>--<GEN>`; the UUID, one a source video, is `clip_id`.

    Raises:
        NameRefused: the name is not of that form, or driver and target are not of one corpus.
    """
    form = "<target>--<driver>--<uuid>--<GAGA|LIVE|HUNY|ORIG>, ids like C1001 or Actor_01"
    match = _match(_AVAPRINTDB, name, "AVAPrintDB", form)
    target, driver, uuid, generator = match.groups()
    if target[0] != driver[0]:
        raise NameRefused(
            f"{name!r}: driver {driver} and target {target} are of two corpora; AVAPrintDB has no such pair"
        )
    corpus = "ravdess" if driver.startswith("Actor_") else "cremad"
    return VideoName(driver, target, generator, corpus, uuid, "", "", "--".join(match.groups()))


_PARSERS: tuple[Callable[[str], VideoName], ...] = (
    parse_ravdess,
    parse_cremad,
    parse_gagavatar,
    parse_avaprintdb,
)


def parse(name: str) -> VideoName:
    """A name of any known corpus; the patterns exclude each other.

    Raises:
        NameRefused: no pattern matches; the message holds them all.
    """
    refusals = []
    for parser in _PARSERS:
        try:
            return parser(name)
        except NameRefused as refusal:
            refusals.append(str(refusal))
    raise NameRefused("; ".join(refusals))


def canonical_identity(name: str) -> str:
    """One spelling of a person whom corpora spell differently: AVAPrintDB writes C1003 for CREMA-D's 1003."""
    return name[1:] if re.fullmatch(r"C1\d{3}", name) else name


def check_identity(text: str, what: str = "identity") -> str:
    """`text` itself, if it may serve as an id: 1-100 of letters, digits, `_ . + -`, a letter or digit first.

    Raises:
        NameRefused: anything else, before it can become part of a path.
    """
    if not _IDENTITY.fullmatch(text):
        raise NameRefused(
            f"{what} {text[:120]!r}: wanted 1-100 letters, digits, _ . + -, a letter or digit first, no '..'"
        )
    return text


def known_bad(name: str) -> str | None:
    """Why a recording of RAVDESS or CREMA-D should not be used; None where nothing is known against it.

    RAVDESS files `02-…` are the takes of `01-…` without sound: with both, the same motion stands in the data
    twice. Sources: RAVDESS' file naming; README of CheyneyComputerScience/CREMA-D.

    Raises:
        NameRefused: the name is of neither corpus.
    """
    clip = parse(name).clip_id
    if _CREMAD.fullmatch(clip):
        return _BAD_CREMAD.get(clip)
    if clip.startswith("02-"):
        return f"the same take as 01{clip[2:]}, without sound"
    if clip.startswith("03-"):
        return "sound without a picture"
    return None


def _match(pattern: re.Pattern, name: str, corpus: str, form: str) -> re.Match:
    match = pattern.fullmatch(name)
    if match is None:
        raise NameRefused(f"{name[:200]!r} is no {corpus} name: wanted {form}")
    return match
