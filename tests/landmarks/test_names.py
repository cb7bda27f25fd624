import pytest

from fingerprint.errors import NameRefused
from fingerprint.landmarks import names

UUID = "063b1674-e708-5f9c-8f09-2f75f27a31aa"


def test_ravdess():
    name = names.parse_ravdess("01-01-03-02-01-02-17.mp4")
    assert (name.driver, name.target, name.generator, name.corpus) == (
        "Actor_17",
        "Actor_17",
        "ORIG",
        "ravdess",
    )
    assert (name.clip_id, name.sentence, name.emotion, name.video_id) == (
        "01-01-03-02-01-02-17",
        "01",
        "03",
        "01-01-03-02-01-02-17",
    )


@pytest.mark.parametrize("spelt", ["1040_ITH_SAD_XX", "1040_ITH_SAD_X", "1040_ITH_SAD_X.flv"])
def test_cremad_reads_a_lone_x_as_xx(spelt):
    name = names.parse_cremad(spelt)
    assert (name.driver, name.target, name.sentence, name.emotion) == ("1040", "1040", "ITH", "SAD")
    assert name.clip_id == name.video_id == "1040_ITH_SAD_XX"


def test_gagavatar_takes_the_target_from_the_end():
    name = names.parse_gagavatar("1002_DFA_HAP_XX_Actor_01")
    assert (name.driver, name.target, name.generator) == ("1002", "Actor_01", "GAGAvatar")
    assert (name.corpus, name.clip_id, name.sentence) == ("cremad", "1002_DFA_HAP_XX", "DFA")
    crossed = names.parse_gagavatar("01-01-01-01-01-01-01_1006.mp4")
    assert (crossed.driver, crossed.target, crossed.corpus) == ("Actor_01", "1006", "ravdess")
    assert crossed.video_id == "01-01-01-01-01-01-01_1006"
    assert names.parse_gagavatar("1040_ITH_SAD_X_1004").video_id == "1040_ITH_SAD_XX_1004"


def test_avaprintdb_puts_the_target_first():
    name = names.parse_avaprintdb(f"C1061--C1005--{UUID}--GAGA.mp4")
    assert (name.target, name.driver, name.generator, name.corpus) == ("C1061", "C1005", "GAGA", "cremad")
    assert name.clip_id == UUID
    assert name.video_id == f"C1061--C1005--{UUID}--GAGA"


@pytest.mark.parametrize(("spelt", "task"), [("a01-id012.mp4", "a01"), ("s03-id001", "s03"), ("q03-id046.MP4", "q03")])
def test_nvidia_vc(spelt, task):
    name = names.parse_nvidia_vc(spelt)
    assert name.driver == name.target == spelt[4:9] and name.generator == "ORIG" and name.corpus == "nvidia_vc"
    assert name.clip_id == name.video_id == spelt[:9] and name.sentence == task and name.emotion == ""


@pytest.mark.parametrize(
    ("spelt", "target", "clip", "driver", "corpus"),
    [
        ("id001--1019_IEO_FEA_LO--1019.mp4", "id001", "1019_IEO_FEA_LO", "1019", "cremad"),
        ("Actor_02--a01-id012--id012.mp4", "Actor_02", "a01-id012", "id012", "nvidia_vc"),
        ("1001--01-01-03-02-01-02-17--Actor_17.mp4", "1001", "01-01-03-02-01-02-17", "Actor_17", "ravdess"),
        ("1040--1040_ITH_SAD_X--1040", "1040", "1040_ITH_SAD_XX", "1040", "cremad"),
    ],
)
def test_nvfair(spelt, target, clip, driver, corpus):
    name = names.parse_nvfair(spelt, "LIA")
    assert (name.target, name.clip_id, name.driver, name.corpus) == (target, clip, driver, corpus)
    assert name.generator == "LIA" and name.video_id == f"{target}--{clip}--{driver}"
    assert names.parse_nvfair(spelt).generator == "unknown"


def test_the_driver_of_nvfair_must_be_whose_recording_it_is():
    with pytest.raises(NameRefused, match="driver 1020, but 1019_IEO_FEA_LO is a recording of 1019"):
        names.parse_nvfair("id001--1019_IEO_FEA_LO--1020.mp4")


def test_nvfair_folders():
    assert names.NVFAIR_GENERATORS["originals"] == names.ORIGINAL
    assert set(names.NVFAIR_GENERATORS) == {
        "originals",
        "facevid2vid-generated",
        "lia-generated",
        "tps-generated",
    }


def test_identity_folders():
    assert names.parse_identity_folder("ravdess_id007") == ("ravdess", 7)
    assert names.parse_identity_folder("my-lab_id123") == ("my-lab", 123)
    for folder, person in (
        ("ravdess_id001", ("ravdess", "Actor_01")),
        ("ravdess_id024", ("ravdess", "Actor_24")),
        ("nvidia_id025", ("nvidia_vc", "id001")),
        ("nvidia_id050", ("nvidia_vc", "id026")),
        ("nvidia_id070", ("nvidia_vc", "id046")),
        ("cremad_id071", ("cremad", "1001")),
        ("cremad_id161", ("cremad", "1091")),
    ):
        assert names.did_d_person(folder) == person


@pytest.mark.parametrize(
    "folder", ["ravdess_id000", "ravdess_id025", "nvidia_id024", "cremad_id070", "cremad_id162", "lab_id001"]
)
def test_folders_that_did_d_has_not(folder):
    with pytest.raises(NameRefused, match="no folder of DID-D"):
        names.did_d_person(folder)


@pytest.mark.parametrize("suffix", ["", *names.VIDEO_SUFFIXES, ".MP4", ".Mov", ".npy", ".npz", ".wav"])
def test_extensions(suffix):
    assert names.parse_cremad(f"1001_IEO_ANG_HI{suffix}").video_id == "1001_IEO_ANG_HI"
    assert names.parse_ravdess(f"01-01-03-02-01-02-17{suffix}").clip_id == "01-01-03-02-01-02-17"
    assert names.parse_avaprintdb(f"C1061--C1005--{UUID}--GAGA{suffix}").video_id.endswith("--GAGA")
    assert names.parse_nvfair(f"id001--a01-id002--id002{suffix}").driver == "id002"


@pytest.mark.parametrize("suffix", [".exe", ".mp4.exe", ".mp4 ", "mp4", ".", ".mp4/", ".track.npz"])
def test_other_extensions(suffix):
    with pytest.raises(NameRefused):
        names.parse_cremad(f"1001_IEO_ANG_HI{suffix}")


@pytest.mark.parametrize(
    ("parser", "name"),
    [
        (names.parse_ravdess, "01-01-03-02-01-02-25"),  # 24 actors
        (names.parse_ravdess, "01-01-09-02-01-02-17"),  # 8 emotions
        (names.parse_ravdess, "01-01-03-02-01-02"),
        (names.parse_ravdess, "01-01-03-02-01-02-17\n"),
        (names.parse_ravdess, "../01-01-03-02-01-02-17"),
        (names.parse_ravdess, "01-01-03-02-01-02-١٧"),  # digits of another script
        (names.parse_cremad, "1000_ITH_SAD_XX"),
        (names.parse_cremad, "1092_ITH_SAD_XX"),
        (names.parse_cremad, "1040_XYZ_SAD_XX"),
        (names.parse_cremad, "1040_ITH_SAD_XX/../../etc"),
        (names.parse_cremad, ""),
        (names.parse_gagavatar, "1002_DFA_HAP_XX"),
        (names.parse_gagavatar, "1002_DFA_HAP_XX_Actor_25"),
        (names.parse_gagavatar, "1002_DFA_HAP_XX_Actor_1"),
        (names.parse_avaprintdb, f"C1061--C1005--{UUID}--NEWGEN"),
        (names.parse_avaprintdb, f"1061--1005--{UUID}--GAGA"),
        (names.parse_avaprintdb, f"Actor_01--C1005--{UUID}--GAGA"),  # two corpora
        (names.parse_avaprintdb, "C1061--C1005--not-a-uuid--GAGA"),
        (names.parse_nvidia_vc, "a01-id000"),
        (names.parse_nvidia_vc, "a01-id047"),
        (names.parse_nvidia_vc, "A01-id012"),
        (names.parse_nvidia_vc, "a1-id012"),
        (names.parse_nvidia_vc, "a01-id012\n.mp4"),
        (names.parse_nvidia_vc, "../a01-id012"),
        (names.parse_nvfair, "id001--1019_IEO_FEA_LO.mp4"),
        (names.parse_nvfair, "id001--1019_IEO_FEA_LO--1019--1019.mp4"),
        (names.parse_nvfair, "id047--1019_IEO_FEA_LO--1019.mp4"),
        (names.parse_nvfair, "id001--../../etc/passwd--1019.mp4"),
        (names.parse_nvfair, "id001--1019_IEO_FEA_LO--1019.mp4\0"),
        (names.parse_nvfair, "id00١--1019_IEO_FEA_LO--1019.mp4"),
        (names.parse_identity_folder, "ravdess_id7"),
        (names.parse_identity_folder, "ravdess_id0071"),
        (names.parse_identity_folder, "_id007"),
        (names.parse_identity_folder, "../x_id007"),
        (names.parse_identity_folder, "ravdess_id007/.."),
        (names.parse_identity_folder, "ravdess_id007\n"),
        (names.parse_identity_folder, "x" * 41 + "_id007"),
    ],
)
def test_anything_else_is_refused_with_the_pattern_wanted(parser, name):
    with pytest.raises(NameRefused, match=r"wanted|two corpora"):
        parser(name)


def test_parse_finds_the_corpus():
    assert names.parse("1040_ITH_SAD_XX").corpus == "cremad"
    assert names.parse("1040_ITH_SAD_XX_Actor_03").generator == "GAGAvatar"
    assert names.parse(f"Actor_01--Actor_02--{UUID}--LIVE").driver == "Actor_02"
    assert names.parse("id001--1019_IEO_FEA_LO--1019.mp4").target == "id001"
    assert names.parse("a01-id012").corpus == "nvidia_vc"
    with pytest.raises(NameRefused) as refusal:
        names.parse("holiday.mp4")
    for corpus in ("RAVDESS", "CREMA-D", "GAGAvatar-Benchmark", "AVAPrintDB", "NVIDIA-VC", "NVFAIR"):
        assert corpus in str(refusal.value)


EXAMPLES = (
    "01-01-03-02-01-02-17",
    "1001_IEO_ANG_HI",
    "a01-id012",
    "1002_DFA_HAP_XX_Actor_01",
    f"C1061--C1005--{UUID}--GAGA",
    "id001--1019_IEO_FEA_LO--1019",
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_name_is_of_one_corpus_alone(name):
    accepted = []
    for parser in (
        names.parse_ravdess,
        names.parse_cremad,
        names.parse_nvidia_vc,
        names.parse_gagavatar,
        names.parse_avaprintdb,
        names.parse_nvfair,
    ):
        try:
            accepted.append(parser(name))
        except NameRefused:
            continue
    assert len(accepted) == 1 and accepted[0] == names.parse(name)


def test_a_recording_is_no_reenactment():
    assert [names.parse_recording(name).corpus for name in EXAMPLES[:3]] == ["ravdess", "cremad", "nvidia_vc"]
    for name in EXAMPLES[3:]:
        with pytest.raises(NameRefused):
            names.parse_recording(name)


def test_known_bad_recordings():
    assert "01-01-03-02-01-02-17" in names.known_bad("02-01-03-02-01-02-17.mp4")
    assert names.known_bad("01-01-03-02-01-02-17") is None
    assert names.known_bad("1076_MTI_NEU_XX") == "very short"
    bad = ("1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")
    assert all(names.known_bad(name) for name in bad)
    assert names.known_bad("02-01-03-02-01-02-17_1006")  # the driving recording counts
    assert names.known_bad("1001_IEO_DIS_MD") is None
    assert names.known_bad("03-01-03-02-01-02-17.wav") == "sound without a picture"
    assert "without sound" in names.known_bad("Actor_02--02-01-03-02-01-02-17--Actor_17.mp4")
    assert names.known_bad("id001--1064_IEO_DIS_MD--1064.mp4").startswith("one minute")
    assert names.known_bad("1076_MTI_NEU_X.flv") == "very short"
    assert names.known_bad("a01-id012.mp4") is None
    with pytest.raises(NameRefused):
        names.known_bad("holiday.mp4")


@pytest.mark.parametrize("text", ["p1", "Actor_01", "a.b-c_d", "A" * 100])
def test_good_identities(text):
    assert names.check_identity(text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a..b", "a/b", "a\\b", "-x", "_x", ".hidden", "a b", "a\n", "ä", "A" * 101, "a\0"]
)
def test_bad_identities(text):
    with pytest.raises(NameRefused, match="wanted"):
        names.check_identity(text)
