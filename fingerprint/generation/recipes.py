"""What is measured under which name: the two recipes, `standard` and `published`, as one table each.

`standard` is what the field means by the names. `published` follows the scripts of the public face-avatar benchmark, so
that numbers can be put beside its rows; what it calls FID, E-FID, FVD and CSIM is something else, and only numbers of
one recipe compare. Not followed are two things that would compare a video with nothing: a video without a reference is
left out and told (there it is its own reference), and frames are not written as MPEG-4 and read again.

Sources: FID_calculate.py and process_video_hands_videos.py of silent-commit/WholeBodyBenchmark, of which
deepreasonings/FaceBenchmark is a part; the papers named with each metric.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from fingerprint.errors import UnknownName

STANDARD, PUBLISHED = "standard", "published"
ALL = "all"
View = Literal["face", "track", "region", "identity", "alone", "first16", "crops"]
VIEWS: dict[str, str] = {
    "face": "all frames of each side: each video's own face, a square of one size on a smoothed path, 256 by 256",
    "track": "all frames of each side that show a face",
    "region": "frames side by side: the reference's face square, laid over both videos, 256 by 256; each video's own "
    "where their pictures have different shapes",
    "identity": "whole frames side by side; where another person than the driver is shown, beside that person's own "
    "recording",
    "alone": "all whole frames of the generated video",
    "first16": "the first 16 frames of the published face video",
    "crops": "all frames of the published face video",
}


@dataclasses.dataclass(frozen=True)
class Definition:
    """A metric as a recipe has it.

    Attributes:
        name: key in tables and files. title: for people. unit: "" where there is none.
        better: `higher` or `lower`; "" where neither is.
        view: the frames it sees.
        per_video: there is a value for every video; else for the whole set only.
        needs: weights and packages beyond the base installation.
        says: what the number is, in a sentence. source: where it is defined.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower", ""]
    view: View
    per_video: bool
    needs: tuple[str, ...]
    says: str
    source: str


_PUBLIC_CODE = "FID_calculate.py of silent-commit/WholeBodyBenchmark"
_VBENCH = "VBench (2311.17982), Vchitect/VBench"
_SCORES = {
    "subject_consistency": ("Subject consistency", "cosine of DINO features to the frame before and to the first"),
    "background_consistency": ("Background consistency", "the same with CLIP image features"),
    "motion_smoothness": (
        "Motion smoothness",
        "how well every second frame is interpolated from its neighbours (AMT-S)",
    ),
    "dynamic_degree": ("Dynamic degree", "share of videos that move (RAFT)"),
    "aesthetic_quality": ("Aesthetic quality", "LAION's predictor on CLIP features, by 10"),
    "imaging_quality": ("Imaging quality", "MUSIQ trained on SPAQ, by 100"),
}
CONSISTENCY = tuple(_SCORES)
OF_INCEPTION_2015 = ("fid_2015", "e_fid_2015")
"""Of the recipe `published`, beside the benchmark's own: what the fetched weights give."""


def _consistency(view: View) -> tuple[Definition, ...]:
    return tuple(
        Definition(
            name,
            title,
            "",
            "" if name == "dynamic_degree" else "higher",
            view,
            True,
            (name, "aesthetic_head") if name == "aesthetic_quality" else (name,),
            f"Of the generated video alone: {says}.",
            _VBENCH,
        )
        for name, (title, says) in _SCORES.items()
    )


_STANDARD = (
    Definition(
        "fid", "FID", "", "lower", "face", False, ("inception",),
        "Fréchet distance between the Inception features of all generated and all reference frames. Biased upwards on "
        "few frames: compare sets of one size.",
        "Heusel et al. (1706.08500)",
    ),
    Definition(
        "kid", "KID", "", "lower", "face", False, ("inception",),
        "Squared maximum mean discrepancy of the same features, cubic kernel, unbiased: for small sets.",
        "Bińkowski et al. (1801.01401)",
    ),
    Definition(
        "fvd", "FVD", "", "lower", "face", False, ("i3d",),
        "Fréchet distance between I3D features (400 logits) of clips of 16 frames that follow one another.",
        "Unterthiner et al. (1812.01717)",
    ),
    Definition(
        "e_fid", "E-FID (edges)", "", "lower", "face", False, ("inception",),
        "FID of Canny edge images (100, 200).",
        "the name as the public face-avatar benchmark uses it",
    ),
    Definition(
        "expression_fid", "E-FID (expression)", "", "lower", "track", False, (),
        "Fréchet distance between the 52 blendshape coefficients of all frames that show a face: what the talking-head "
        "literature means by E-FID, with MediaPipe's coefficients in place of a 3DMM's.",
        "EMO (2402.17485)",
    ),
    Definition(
        "psnr", "PSNR", "dB", "higher", "region", True, (),
        "Peak signal-to-noise ratio a frame, averaged over frames, then videos; equal frames count as 100 dB.",
        "scikit-image's peak_signal_noise_ratio, data_range 255",
    ),
    Definition(
        "ssim", "SSIM", "", "higher", "region", True, (),
        "Structural similarity a frame, averaged over frames, then videos.",
        "Wang et al. (2004), as scikit-image has it: 7 by 7 uniform window",
    ),
    Definition(
        "lpips", "LPIPS", "", "lower", "region", True, ("lpips",),
        "Learned perceptual distance a frame (AlexNet, version 0.1), averaged over frames, then videos.",
        "Zhang et al. (1801.03924)",
    ),
    Definition(
        "csim", "CSIM", "", "higher", "identity", True, ("sface",),
        "Cosine of face-recognition embeddings (SFace) of the two frames' faces: does it stay the person who is to be "
        "shown. No value where that is another person than the driver and no reference shows that person.",
        "SFace (2205.12010)",
    ),
    *_consistency("alone"),
)  # fmt: skip

_PUBLISHED = (
    Definition(
        "fid", "FID (one video)", "", "lower", "first16", True, ("inception_v3",),
        "Fréchet distance between the features of 16 generated and 16 reference frames (covariances of rank 15 in "
        "2,048 dimensions), averaged over videos, by torchvision's ImageNet network as in the benchmark.",
        _PUBLIC_CODE,
    ),
    Definition(
        "fvd", "FVD (one clip)", "", "lower", "first16", True, ("i3d",),
        "Squared distance of the I3D features (400 logits, input in [0, 1]) of one clip of 16 frames a side, averaged "
        "over videos; short videos are filled up with black.",
        _PUBLIC_CODE,
    ),
    Definition(
        "ssim", "SSIM", "", "higher", "first16", True, (),
        "Structural similarity of 16 frames, the generated one resized to the reference's size; in frames below 7 "
        "pixels the window shrinks.",
        _PUBLIC_CODE,
    ),
    Definition(
        "psnr", "PSNR", "dB", "higher", "first16", True, (),
        "Peak signal-to-noise ratio of the same frames; equal frames count as 100 dB.",
        _PUBLIC_CODE,
    ),
    Definition(
        "e_fid", "E-FID (edges, one video)", "", "lower", "first16", True, ("inception_v3",),
        "The same as FID on Canny edge images (100, 200).",
        _PUBLIC_CODE,
    ),
    Definition(
        "csim", "CSIM (pixels)", "", "higher", "first16", True, (),
        "Cosine of the two frames' pixel values as one vector. Says little about identity.",
        _PUBLIC_CODE,
    ),
    Definition(
        "fid_2015", "FID (one video, Inception-2015)", "", "lower", "first16", True, ("inception",),
        "The same by the network of the usual FID, whose weights can be fetched: on another scale than the benchmark's "
        "rows.",
        _PUBLIC_CODE,
    ),
    Definition(
        "e_fid_2015", "E-FID (edges, one video, Inception-2015)", "", "lower", "first16", True, ("inception",),
        "The same by the network of the usual FID.",
        _PUBLIC_CODE,
    ),
    *_consistency("crops"),
)  # fmt: skip

_RECIPES = {STANDARD: _STANDARD, PUBLISHED: _PUBLISHED}


def modes() -> tuple[str, ...]:
    """Names of the recipes."""
    return tuple(_RECIPES)


def recipe(mode: str, metrics: str | Sequence[str] = ALL) -> tuple[Definition, ...]:
    """The metrics of a recipe, in its order: all, or those asked for.

    Args:
        mode: `standard` or `published`.
        metrics: `all`, or names; `consistency` stands for VBench's six.

    Raises:
        UnknownName: no such recipe, or no such metric in it.
    """
    if mode not in _RECIPES:
        raise UnknownName("quality recipe", mode, _RECIPES)
    whole = _RECIPES[mode]
    asked = {metrics} if isinstance(metrics, str) else set(metrics)
    if "consistency" in asked:
        asked |= set(CONSISTENCY)
    names = {definition.name for definition in whole}
    for name in sorted(asked - names - {ALL, "consistency"}):
        raise UnknownName(f"metric of the recipe {mode}", name, names | {ALL, "consistency"})
    return tuple(definition for definition in whole if ALL in asked or definition.name in asked)
