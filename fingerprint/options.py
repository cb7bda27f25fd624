"""Every option of an experiment, with its default and meaning; the files in `configs/` change some of them."""

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
    config.data.reenact_targets = 0  # re-render every video in landmark space onto the own and so many other faces
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
    config.evaluate.max_trials = 200000  # seeded sample beyond; 0: all
    config.evaluate.stride = 0  # of sliding windows; 0: the model's own
    config.evaluate.batch_size = 64  # windows at a time
    config.evaluate.replicates = 1000  # identity bootstrap
    config.evaluate.controls = True  # shuffled frames, static frame, baselines, target probe
    config.evaluate.development_split = ""  # take thresholds and calibration from this split instead of the model's own

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
    config.quality.processes = 1  # videos whose faces are looked for at the same time
    config.quality.worst = 12  # frames to show side by side
    return config
