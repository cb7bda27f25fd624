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
    ],
)
def test_anything_else_is_refused_with_the_pattern_wanted(parser, name):
    with pytest.raises(NameRefused, match=r"wanted|two corpora"):
        parser(name)


def test_parse_finds_the_corpus():
    assert names.parse("1040_ITH_SAD_XX").corpus == "cremad"
    assert names.parse("1040_ITH_SAD_XX_Actor_03").generator == "GAGAvatar"
    assert names.parse(f"Actor_01--Actor_02--{UUID}--LIVE").driver == "Actor_02"
    with pytest.raises(NameRefused) as refusal:
        names.parse("holiday.mp4")
    for corpus in ("RAVDESS", "CREMA-D", "GAGAvatar-Benchmark", "AVAPrintDB"):
        assert corpus in str(refusal.value)


def test_known_bad_recordings():
    assert "01-01-03-02-01-02-17" in names.known_bad("02-01-03-02-01-02-17.mp4")
    assert names.known_bad("01-01-03-02-01-02-17") is None
    assert names.known_bad("1076_MTI_NEU_XX") == "very short"
    bad = ("1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")
    assert all(names.known_bad(name) for name in bad)
    assert names.known_bad("02-01-03-02-01-02-17_1006")  # the driving recording counts
    assert names.known_bad("1001_IEO_DIS_MD") is None


@pytest.mark.parametrize("text", ["p1", "Actor_01", "a.b-c_d", "A" * 100])
def test_good_identities(text):
    assert names.check_identity(text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a..b", "a/b", "a\\b", "-x", "_x", ".hidden", "a b", "a\n", "ä", "A" * 101, "a\0"]
)
def test_bad_identities(text):
    with pytest.raises(NameRefused, match="wanted"):
        names.check_identity(text)
