"""File names of the known corpora: who drives, whose face is shown, what rendered it, from which recording.

Every pattern is matched in full, so that nothing that passes can hold a path separator or `..`. Patterns:

| corpus | pattern | driver | target | generator |
|---|---|---|---|---|
| RAVDESS | `MM-VV-EE-II-SS-RR-AA` | `Actor_AA` | driver | ORIG |
| CREMA-D | `AAAA_SSS_EEE_LL` (a lone `X` counts as `XX`) | `AAAA` | driver | ORIG |
| GAGAvatar-Benchmark | `<driver_video>_<target>` | from driver_video | last part | GAGAvatar |
| AVAPrintDB | `<target>--<driver>--<uuid>--<GEN>` | second part | first part | last part |
| NVIDIA-VC (NVFAIR's own recordings) | `xNN-id###`, x a letter | `id###` | driver | ORIG |
| NVFAIR | `<target>--<driver_video>--<driver>` | last part | first part | from its folder |
| AMBER-ID | folder `<source>_id###` | the folder | driver | not said |

A file extension (a video's, .npy, .npz, .wav, .mp3), in small or capital letters, may follow.

Sources: zenodo.org/records/1188976 (RAVDESS); CheyneyComputerScience/CREMA-D and its SentenceFilenames.csv;
the READMEs of BiDAlab/GAGAvatar-Benchmark and BiDAlab/AVAPrintDB; scripts/split_dataset.py of
Mchapariniya/TrustFA-FG2026 (NVFAIR); ds/DIDD.md of fenjar/amber-id.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from fingerprint.errors import NameRefused

ORIGINAL = "ORIG"
VIDEO_SUFFIXES = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
"""Endings of video files, in small letters."""
NVFAIR_GENERATORS = {
    "originals": ORIGINAL,
    "facevid2vid-generated": "facevid2vid",
    "lia-generated": "LIA",
    "tps-generated": "TPS",
}
"""What NVFAIR's second folders say of the generator."""
ASSUMED = ("unknown", "GAGAvatar")
"""Generators that stand in no name: what is assumed where a folder may know better."""
_EXTENSION = rf"(?:\.(?i:{'|'.join(s[1:] for s in VIDEO_SUFFIXES)}|npy|npz|wav|mp3))?"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ACTOR = r"Actor_(?:0[1-9]|1\d|2[0-4])"
_SPEAKER = r"(?:100[1-9]|10[1-8]\d|109[01])"
_RAVDESS_NAME = r"0[1-3]-0[12]-0[1-8]-0[12]-0[12]-0[12]-(?:0[1-9]|1\d|2[0-4])"
_SENTENCES = "DFA|IEO|IOM|ITH|ITS|IWL|IWW|MTI|TAI|TIE|TSI|WSI"
_CREMAD_NAME = rf"{_SPEAKER}_(?:{_SENTENCES})_(?:ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?)"
_CALLER = r"id0(?:0[1-9]|[1-3]\d|4[0-6])"
_NVIDIA_NAME = rf"[a-z]\d\d-{_CALLER}"
_NVFAIR_PERSON = rf"{_CALLER}|{_ACTOR}|{_SPEAKER}"

_RAVDESS = re.compile(rf"({_RAVDESS_NAME}){_EXTENSION}", re.ASCII)
_CREMAD = re.compile(rf"({_CREMAD_NAME}){_EXTENSION}", re.ASCII)
_GAGAVATAR = re.compile(rf"({_RAVDESS_NAME}|{_CREMAD_NAME})_({_ACTOR}|{_SPEAKER}){_EXTENSION}", re.ASCII)
_AVAPRINTDB = re.compile(
    rf"({_ACTOR}|C{_SPEAKER})--({_ACTOR}|C{_SPEAKER})--({_UUID})--(GAGA|LIVE|HUNY|ORIG){_EXTENSION}", re.ASCII
)
_NVIDIA = re.compile(rf"({_NVIDIA_NAME}){_EXTENSION}", re.ASCII)
_NVFAIR = re.compile(
    rf"({_NVFAIR_PERSON})--({_NVIDIA_NAME}|{_RAVDESS_NAME}|{_CREMAD_NAME})--({_NVFAIR_PERSON}){_EXTENSION}", re.ASCII
)
_FOLDER = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]{0,39})_id(\d{3})", re.ASCII)
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
        corpus: corpus of the driving recording: `ravdess`, `cremad` or `nvidia_vc`.
        clip_id: the driving recording; AVAPrintDB's names carry a UUID that stands for it.
        sentence: code of the spoken sentence, for NVIDIA-VC of the task; "" where the name does not say.
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
    source = parse_recording(match.group(1))
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


def parse_nvidia_vc(name: str) -> VideoName:
    """An original video-call recording of NVFAIR, `a01-id012.mp4`; the task's code stands as the sentence.

    Raises:
        NameRefused: the name is not of that form, or the person is not one of id001-id046.
    """
    stem = _match(_NVIDIA, name, "NVIDIA-VC", "a letter, two digits and -id###, e.g. a01-id012").group(1)
    task, person = stem.split("-")
    return VideoName(person, person, ORIGINAL, "nvidia_vc", stem, task, "", stem)


def parse_nvfair(name: str, generator: str = "unknown") -> VideoName:
    """A generated video of NVFAIR, `<target>--<driver_video>--<driver>`, e.g. `id001--1019_IEO_FEA_LO--1019`.

    Args:
        name: the file's name.
        generator: what rendered it, which its folder says (`NVFAIR_GENERATORS`).

    Raises:
        NameRefused: the name is not of that form, or the driving recording is of somebody else than the driver.
    """
    form = "<target>--<NVIDIA-VC, RAVDESS or CREMA-D name>--<driver>, e.g. id001--1019_IEO_FEA_LO--1019"
    target, clip, driver = _match(_NVFAIR, name, "NVFAIR", form).groups()
    source = parse_recording(clip)
    if source.driver != driver:
        raise NameRefused(f"{name!r}: driver {driver}, but {clip} is a recording of {source.driver}; wanted {form}")
    return dataclasses.replace(
        source, target=target, generator=generator, video_id=f"{target}--{source.clip_id}--{driver}"
    )


_RECORDINGS: tuple[Callable[[str], VideoName], ...] = (parse_ravdess, parse_cremad, parse_nvidia_vc)
_PARSERS = (*_RECORDINGS, parse_gagavatar, parse_avaprintdb, parse_nvfair)


def parse(name: str) -> VideoName:
    """A name of any known corpus; the patterns exclude each other.

    Raises:
        NameRefused: no pattern matches; the message holds them all.
    """
    return _first(_PARSERS, name)


def parse_recording(name: str) -> VideoName:
    """An original recording of RAVDESS, CREMA-D or NVIDIA-VC.

    Raises:
        NameRefused: no pattern matches; the message holds them all.
    """
    return _first(_RECORDINGS, name)


def parse_identity_folder(name: str) -> tuple[str, int]:
    """Source and number of AMBER-ID's folder of one person, `<source>_id###`: ("ravdess", 7) for `ravdess_id007`.

    Raises:
        NameRefused: the name is not of that form.
    """
    source, number = _match(_FOLDER, name, "identity folder", "<source>_id###, e.g. ravdess_id007").groups()
    return source, int(number)


def did_d_person(folder: str) -> tuple[str, str]:
    """Corpus and person behind a folder of DID-D or TAV-D: ("nvidia_vc", "id026") for `nvidia_id050`.

    The data set numbers 24 people of RAVDESS, 46 of NVIDIA-VC and 91 of CREMA-D from 001 to 161. Source:
    ds/DIDD.md of fenjar/amber-id.

    Raises:
        NameRefused: another source, or a number that is not of that source.
    """
    source, number = parse_identity_folder(folder)
    if source == "ravdess" and 1 <= number <= 24:
        return "ravdess", f"Actor_{number:02d}"
    if source == "nvidia" and 25 <= number <= 70:
        return "nvidia_vc", f"id{number - 24:03d}"
    if source == "cremad" and 71 <= number <= 161:
        return "cremad", str(number + 930)
    raise NameRefused(f"{folder!r} is no folder of DID-D: wanted ravdess_id001-024, nvidia_id025-070, cremad_id071-161")


def _first(parsers: tuple[Callable[[str], VideoName], ...], name: str) -> VideoName:
    refusals = []
    for parser in parsers:
        try:
            return parser(name)
        except NameRefused as refusal:
            refusals.append(str(refusal))
    raise NameRefused("; ".join(refusals))


def canonical_identity(name: str) -> str:
    """One spelling of a person whom corpora spell differently: AVAPrintDB writes C1003 for CREMA-D's 1003."""
    return name[1:] if re.fullmatch(r"C1\d{3}", name) else name


def check_identity(text: str, what: str = "identity") -> str:
    """`text` itself, if it may serve as an id: 1-100 of letters, digits, `_ . -`, a letter or digit first.

    Raises:
        NameRefused: anything else, before it can become part of a path.
    """
    if not _IDENTITY.fullmatch(text):
        raise NameRefused(
            f"{what} {text[:120]!r}: wanted 1-100 letters, digits, _ . -, a letter or digit first, no '..'"
        )
    return text


def known_bad(name: str) -> str | None:
    """Why a recording, or a video driven by it, should not be used; None where nothing is known against it.

    RAVDESS files `02-…` are the takes of `01-…` without sound: with both, the same motion stands in the data
    twice. Sources: RAVDESS' file naming; README of CheyneyComputerScience/CREMA-D.

    Raises:
        NameRefused: the name is of no known corpus.
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
