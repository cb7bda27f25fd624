"""Every option of an experiment, with its default and meaning; the files in `configs/` change some of them."""

import os
import runpy

from ml_collections import ConfigDict


def defaults() -> ConfigDict:
    """All options at their defaults."""
    config = ConfigDict()
    config.seed = 0  # initial weights, batches, augmentation, dropout, trials, bootstrap
    config.matmul_precision = "highest"  # highest: float32 everywhere; default: the platform's fastest (TF32, bfloat16)

    config.data = ConfigDict()
    config.data.data_dir = "~/tensorflow_datasets"  # where built data sets lie; `configs/` say `data`
    config.data.dataset = "synthetic_drivers/full_quickstart"  # name/config[:version]
    config.data.train_split = "train"
    config.data.validation_split = "validation"  # model choice, thresholds, calibration
    config.data.test_split = "test"
    config.data.build = False  # build the data set first if it is absent (embedded ones only: others need --source)
    config.data.landmark_set = "avaprintdb109"  # must be what the records hold
    config.data.normalization = (
        "aspect_corrected"  # published | aspect_corrected | deviation | pose_removed | motion_only | box
    )
    # Beside landmarks: canonical (points without the pose) | blendshapes | pose (the last two if records hold them)
    config.data.channels = ()
    config.data.reenact_targets = 0  # re-render every video in landmark space onto the own and so many other faces
    config.data.anonymise = False  # put every video's motion on one and the same face, nobody's, in landmark space
    config.data.folds = 0  # split people anew into so many folds; 0: the data set's own splits
    config.data.fold = 0  # the fold that is tested; the next one validates, the others train
    config.data.window = ConfigDict()
    config.data.window.length = 70  # frames
    config.data.window.stride = 35  # of sliding windows; training draws starts at random
    config.data.window.min_valid = 0.5  # least share of frames that show a face
    config.data.window.pad_short = (
        False  # a video shorter than a window gives one padded window instead of none, in training too
    )
    config.data.window.resample = 0  # bring every video to so many frames first; 0: leave time alone
    config.data.threads = 4  # reading
    config.data.prefetch = 8  # batches held ready
    config.data.workers = 0  # reading processes; 0 reads in this one

    config.sampler = ConfigDict()
    config.sampler.drivers_per_batch = 16  # different drivers in a step
    config.sampler.windows_per_driver = 4  # of each of them
    config.sampler.same_target = False  # pair drivers that share a face: same-target negatives
    config.sampler.same_target_share = 0.5  # of a paired driver's windows: on faces that the other wears too
    config.sampler.same_target_faces = 1  # on so many such faces
    config.sampler.leave_out_few = False  # drivers with fewer than 2 usable records: leave out, not refuse

    config.augment = ConfigDict()
    config.augment.mirror = 0.0  # probability, for all windows of a driver in a batch
    config.augment.jitter = 0.0  # standard deviation, in inner-eye distances
    config.augment.frame_drop = 0.0  # probability of masking a frame
    config.augment.time_crop = 1.0  # least share of frames kept
    config.augment.reenact = 0.0  # probability of putting a window's motion on another face

    config.model = ConfigDict()
    config.model.name = "gcn_tap"
    config.model.hidden = 64  # channels of the first two graph convolutions
    config.model.features = 256  # dimension of the embedding
    config.model.input_scale = 1.0  # factor on the landmarks; `deviation` wants about 5, `motion_only` 20
    config.model.dropout = 0.3  # rate after each convolution
    config.model.last_dropout = "vertex"  # element (as published) | vertex (same law per channel, several times faster)
    config.model.form = "auto"  # dense | jraph; auto: the faster on this platform
    config.model.chunk = -1  # frames at a time; 0: the whole batch; -1: the fastest on this platform

    config.loss = ConfigDict()
    # triplet | batch_hard | supervised_contrastive | ntxent | softmax | arcface | dynamic_identity
    config.loss.name = "supervised_contrastive"
    config.loss.temperature = 0.1  # of the contrastive ones; triplets take `margin`, softmax `scale`, arcface both

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"  # adam (decay in the gradient, as PyTorch's) | adamw
    config.optimizer.learning_rate = 1e-3  # highest
    config.optimizer.weight_decay = 1e-5
    config.optimizer.schedule = "cosine"  # constant | cosine | step | staircase
    config.optimizer.schedule_step = 0  # of `step`: when; of `staircase`: every so many steps
    config.optimizer.schedule_factor = 0.1  # of both: the rate is multiplied by
    config.optimizer.warmup_steps = 0  # linear from zero
    config.optimizer.clip_norm = 1.0  # of the global gradient; 0: none

    config.scoring = ConfigDict()  # how embeddings become scores; travels with the model
    config.scoring.similarity = "cosine"  # cosine | squared_euclidean
    config.scoring.over_windows = "mean"  # mean | max | min | top_k | log_sum_exp, over all pairs of windows
    config.scoring.top_k = 3  # best pairs of top_k
    config.scoring.sharpness = 10.0  # of log_sum_exp
    config.scoring.norm = "none"  # none | z | s | as: against a cohort of training people, kept with the model
    config.scoring.as_top = 20  # nearest cohort entries of as-norm, on either side
    config.scoring.cohort_size = 100  # training people in the cohort, one video each; all where there are fewer
    config.scoring.calibration = "linear"  # linear | quality: beside the score, length and share of frames with a face

    config.train = ConfigDict()
    config.train.num_steps = 1000  # steps in all
    config.train.log_every = 1  # steps between rows of the log
    config.train.eval_every = 100  # steps between validations
    config.train.patience = 0  # stop after so many validations without gain; 0: never
    config.train.select_by = "eer"  # eer | auc, on validation identities
    config.train.max_validation_trials = 20000  # seeded sample beyond
    config.train.nonfinite = "stop"  # stop | skip: a step whose loss or gradient is not finite

    config.checkpoint = ConfigDict()
    config.checkpoint.every = 100  # steps between checkpoints
    config.checkpoint.keep = 3  # newest ones kept
    config.checkpoint.fallback = False  # go on from an older step where the newest is damaged

    config.evaluate = ConfigDict()
    config.evaluate.model = ""  # released model or working directory; empty: this working directory's best
    config.evaluate.name = "evaluation"  # folder of the report in the working directory
    config.evaluate.title = ""  # of the report; empty: model and data set
    config.evaluate.protocol = "auto"  # auto | all_pairs | claimed_target | driver_on_other_target | pairs_csv
    config.evaluate.pairs_csv = ""  # AVAPrintDB's evaluation_pairs_*.csv, with protocol=pairs_csv
    config.evaluate.enrolment_clips = 1  # videos a template is made of
    config.evaluate.more_enrolment_clips = ()  # e.g. (3, 5, 10): a further row each
    config.evaluate.more_protocols = ("driver_on_other_target",)  # a further row each
    config.evaluate.balanced_pairs = False  # a further row: as many non-mated as mated trials, drawn with `seed`
    config.evaluate.identification_far = (0.1, 0.01)  # open-set identification: DIR at these FAR; empty: none
    config.evaluate.max_trials = 200000  # seeded sample beyond; 0: all
    config.evaluate.stride = 0  # of sliding windows; 0: the model's own
    config.evaluate.batch_size = 64  # windows at a time
    config.evaluate.replicates = 1000  # identity bootstrap
    config.evaluate.controls = True  # shuffled frames, static frame, baselines, target probe
    config.evaluate.scoring = "model"  # model: the model's own | config: `scoring` above, to compare back ends
    config.evaluate.development_split = ""  # take thresholds and calibration from this split instead of the model's own

    config.robustness = ConfigDict()  # of --mode=robustness: the trials of `evaluate`, probes degraded
    config.robustness.name = "robustness"  # folder of the report in the working directory
    config.robustness.degrade_enrolment = False  # degrade enrolment videos too, not only probes
    config.robustness.replicates = 1000  # identity bootstrap
    config.robustness.severities = ConfigDict()  # from mild to severe; (): leave this degradation out
    config.robustness.severities.jitter = (0.005, 0.01, 0.02, 0.05, 0.1)  # noise, in inner-eye distances
    config.robustness.severities.pixel_grid = (0.01, 0.02, 0.05, 0.1)  # landmarks rounded, in inner-eye distances
    config.robustness.severities.dropped_frames = (0.05, 0.1, 0.2, 0.4)  # share of frames lost at random
    config.robustness.severities.dropped_bursts = (0.05, 0.1, 0.2, 0.4)  # share of frames lost, 12 in a row
    config.robustness.severities.frame_rate = (20.0, 15.0, 12.5, 8.0)  # frames a second, taken as they are
    config.robustness.severities.frame_rate_resampled = (20.0, 15.0, 12.5, 8.0)  # brought back to the own rate
    config.robustness.severities.temporal_blur = (3, 5, 9, 15)  # frames of a moving average, odd

    config.quality = ConfigDict()  # of --mode=quality; the report lies in <workdir>/quality
    config.quality.reference = ""  # folder of reference videos
    config.quality.generated = ""  # folder of generated videos
    config.quality.mode = "standard"  # standard | published
    config.quality.metrics = ("all",)  # or names
    config.quality.weights = ""  # folder of the networks' weights; empty: where they are kept
    config.quality.landmark_model = ""  # MediaPipe's; empty: where it is kept
    config.quality.identity_leakage = ""  # released model or working directory by which drivers are told; empty: not
    config.quality.drivers = ""  # CSV file,driver,target of the generated videos, where names do not say
    config.quality.dwpose = ""  # folder of DWPose's networks, for mode published
    config.quality.faces = ""  # folder to write each video's face to, as a video; empty: not
    config.quality.processes = 1  # videos whose faces are looked for at the same time
    config.quality.worst = 12  # frames to show side by side
    return config


def comparison() -> ConfigDict:
    """All options of a comparison (`--mode=compare`) at their defaults.

    From the comparison itself, for every entry: `seed` (of trials, bootstrap, and re-rendered test videos), `evaluate`
    but for `evaluate.model`, `data.data_dir`, `data.build`, `data.test_split`, `data.folds`. Everything else is each
    entry's own.
    """
    config = defaults()
    config.data.data_dir = "data"
    config.compare = ConfigDict()
    # Whole configurations by label; one with `evaluate.model` is not trained ("{seed}" there stands for the seed).
    config.compare.entries = ConfigDict()
    config.compare.reference = ""  # label that differences are taken against; empty: the first by name
    config.compare.seeds = (0, 1, 2)  # of training
    # Test sets by name: options of `data` that differ from the entry's own. None: one test set, the entry's own.
    config.compare.tests = ConfigDict()
    config.compare.title = "Comparison"
    return config


def load(path: str | os.PathLike, *arguments: str) -> ConfigDict:
    """The configuration that a file of `configs/` gives, e.g. for an entry of a comparison."""
    return runpy.run_path(os.fspath(path))["get_config"](*arguments)
