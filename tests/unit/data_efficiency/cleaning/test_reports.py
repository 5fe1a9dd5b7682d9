"""The data report says what is there."""

import contextlib
import csv
import gettext
import random
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from helpers.data_efficiency import duplicate_pairs
from helpers.data_efficiency.cleaning.reports import data_report, is_damaged, language_of, repaired
from helpers.lab import find_weights, load_task
from helpers.lab.data.tokenizer import TextEncoder

CASES = Path(__file__).parents[5] / "shared" / "cases" / "files"
CATALOGUES = Path("/usr/share/locale")  # what programs say, translated by people: Debian and others have it
LANGUAGES = {"de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch", "pt_BR": "Portuguese",
             "pl": "Polish", "sv": "Swedish", "ru": "Russian", "vi": "Vietnamese", "zh_CN": "Chinese", "ja": "Japanese"}


@pytest.fixture
def odd_task(tmp_path):
    """Texts with damage of several kinds, at places that the test knows."""
    rows = [(f"where is the parcel number {n} of my order", "parcel") for n in range(30)]
    rows += [(f"the refund of my {n} euros is not with you", "money") for n in range(30)]
    rows += [("caf\u00c3\u00a9 and cr\u00c3\u00a8me for the office", "money")] * 2
    rows += [("1234 5678", "parcel"), ("die Lieferung ist nicht da und ich warte auf das Paket", "parcel"),
             ("same words", "parcel"), ("Same  words", "money"), ("\u0433\u0434\u0435 \u043c\u043e\u0439 "
              "\u0437\u0430\u043a\u0430\u0437 \u0438 \u0447\u0435\u043a", "parcel")]
    path = tmp_path / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return load_task(path)


def values(report, check, split=None):
    return report[(report["check"] == check) & (report["split"] == (split or report["split"]))]


def test_the_report_counts_what_was_put_in(odd_task):
    report = data_report(odd_task)
    total = report.groupby("check")["value"].sum()
    assert total["rows"] == 67
    assert total["damaged encoding"] == 2
    assert total["no letters"] == 1
    assert total["language: German"] == 1
    assert total["language: Russian"] == 1
    assert total["too short to tell the language"] == 3
    assert values(report, "rows", "test")["value"].iloc[0] == len(odd_task.test)


def test_each_finding_names_lines_of_the_file_and_what_to_do(odd_task):
    report = data_report(odd_task)
    damaged = values(report, "damaged encoding")
    assert sorted(line for lines in damaged["lines"] for line in lines) == [62, 63]
    for finding in report.itertuples():
        split = getattr(odd_task, finding.split)
        assert list(finding.lines) == [split[row]["line"] for row in finding.rows]
    assert all("clean_file" in advice for advice in damaged.loc[damaged["value"] > 0, "advice"])
    assert (report.loc[report["value"] == 0, "advice"] == "").all()


def test_what_reading_changed_stands_in_the_report(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"where is it {n},{('a', 'b', 'A')[n % 3]}\n" for n in range(30)))
    report = data_report(load_task(path))
    assert report.loc[report["split"] == "all", "advice"].tolist() == ["The labels 'A' were taken as 'a'."]


@pytest.mark.parametrize(("name", "check", "value"), [
    ("damaged_encoding.csv", "damaged encoding", 24), ("near_but_different.csv", "repeated texts", 0),
    ("near_but_different.csv", "texts that are in the training rows", 0)])
def test_the_cases_have_their_right_values(name, check, value):
    if not CASES.exists():
        pytest.skip("The folder with the cases is not beside this checkout.")
    assert values(data_report(load_task(CASES / name)), check)["value"].sum() == value


def test_a_text_in_a_script_that_the_encoder_does_not_know_is_told_as_unknown():
    if not CASES.exists():
        pytest.skip("The folder with the cases is not beside this checkout.")
    task = load_task(CASES / "unreadable_by_encoder.csv")
    assert (values(data_report(task), "unknown tokens (share)")["value"] > 0.6).all()
    assert len(duplicate_pairs(task, method="semantic", threshold=0.5)) == 0


def test_pairs_of_near_duplicates_are_told_with_the_share_that_disagrees(tmp_path):
    """Twelve pairs that differ in one letter, three of them labelled differently; nothing else is alike."""
    rng = random.Random(0)
    texts = [" ".join("".join(rng.choices("abcdefghij", k=6)) for _ in range(9)) for _ in range(40)]
    rows = [(text, "ab"[n % 2]) for n, text in enumerate(texts)]
    copies = [(f"{text}s", "ab"[(n + (n < 3)) % 2]) for n, (text, _) in enumerate(rows[:12])]
    path = tmp_path / "own.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "split"))
        writer.writerows([(*row, "train") for row in rows + copies])
        writer.writerows([(f"test {label} of another kind", label, "test") for label in "aabb"])
    task = load_task(path)
    report = data_report(task)
    pairs, share = (values(report, check, "train")["value"].iloc[0]
                    for check in ("near-duplicate pairs", "share of these pairs with two labels"))
    inside = set(task.train["line"])
    both = [n for n in range(12) if {2 + n, 2 + len(rows) + n} <= inside]
    assert pairs == len(both)
    assert share == pytest.approx(sum(n < 3 for n in both) / len(both))


def test_what_the_encoder_cannot_read_or_cuts_is_told(tmp_path):
    """The shares are those counted with the tokenizer itself."""
    chinese = ["\u5f88\u597d\u9000\u6b3e\u8fd9\u4e2a\u5feb\u9012\u592a\u6162\u4e86",
               "\u5305\u88f9\u4e22\u4e86\u8bf7\u5e2e\u52a9"]
    rows = [(f"{text} {n}", "ab"[n % 2]) for n in range(20) for text in chinese]
    rows += [("word " * 30 + f"and number {n}", "ab"[n % 2]) for n in range(20)]
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    task, file = load_task(path), find_weights() / "tokenizer.json"
    report = data_report(task, TextEncoder.load(file, max_tokens=16))
    plain = Tokenizer.from_file(str(file))
    plain.no_truncation()
    plain.no_padding()
    ids = [plain.encode(text, add_special_tokens=False).ids for text in task.train["text"]]
    unknown = plain.token_to_id("[UNK]")
    result = {check: values(report, check, "train").iloc[0] for check in report["check"].unique()
            if len(values(report, check, "train"))}
    assert result["unknown tokens (share)"].value == pytest.approx(
        sum(row.count(unknown) for row in ids) / sum(map(len, ids)))
    assert result["texts cut at the token limit (share)"].value == pytest.approx(
        sum(len(row) > 14 for row in ids) / len(ids))
    assert result["tokens cut at the token limit (share)"].value == pytest.approx(
        sum(max(0, len(row) - 14) for row in ids) / sum(map(len, ids)))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(lines[line - 1][0] > "\u4e00" for line in result["unknown tokens (share)"].lines)
    assert all(lines[line - 1].startswith("word") for line in result["texts cut at the token limit (share)"].lines)
    assert "multilingual" in result["unknown tokens (share)"].advice


@pytest.mark.parametrize(("damaged", "whole"), [
    ("caf\u00c3\u00a9", "caf\u00e9"), ("it\u00e2\u20ac\u2122s", "it\u2019s"), ("plain", "plain"),
    ("\u00e4chzt", "\u00e4chzt"), ("it cost \u00c2\u00a35", "it cost \u00a35"), ("5 &amp; 6 &lt;3", "5 & 6 <3"),
    ("\u00d0\u00b3\u00d0\u00b4\u00d0\u00b5", "\u0433\u0434\u0435"), ("\u201cAT&T\u201d", "\u201cAT&T\u201d"),
    ("\u00e9\u20ac\u20ac\u00e6\u00ac\u00be", "\u9000\u6b3e"), ("said \x93so\x94", "said \u201cso\u201d")])
def test_what_was_read_with_the_wrong_encoding_is_repaired_and_the_rest_left(damaged, whole):
    assert repaired(damaged) == whole
    assert is_damaged(damaged) == (damaged != whole)


def test_a_lost_sign_is_damage_that_cannot_be_repaired():
    assert is_damaged("lost \N{REPLACEMENT CHARACTER}")
    assert repaired("lost \N{REPLACEMENT CHARACTER}") == "lost \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("text", [
    "\u00c0 la carte, \u00e7a va \u00bb, d\u00e9j\u00e0 vu, na\u00efve, \u00c9T\u00c9",
    "\u00ab No\u00ebl \u00bb, c\u0153ur",
    "\u00dcber gro\u00dfe \u00c4pfel, \u201eSCH\u00d6N\u201c, stra\u00dfe, 5 \u20ac, 20 \u00b0C",
    "N\u00c3O \u00c9 ASSIM: cora\u00e7\u00e3o, a\u00e7\u00e3o, av\u00f3, \u00c2NGULO, MA\u00c7\u00c3\u2026",
    "Ti\u1ebfng Vi\u1ec7t: \u0110\u00c3 \u0110\u1eb6T H\u00c0NG, \u00c2u",
    "\u00e2m, \u0111\u00e3, t\u1ea5t c\u1ea3 m\u1ecdi ng\u01b0\u1eddi",
    "\u9000\u6b3e\u5f88\u6162\uff0c\u8bf7\u5e2e\u52a9\u6211\u3002\u201c\u597d\u7684\u201d",
    "\u00a1Ma\u00f1ana! \u00bfQu\u00e9 pas\u00f3?",
    "10 \u00b5m \u00b1 5%, \u00a9 2026, \u00bd \u00d7 \u00be"])
def test_other_languages_are_not_taken_for_damage(text):
    assert not is_damaged(text)
    assert not is_damaged(text.upper())


def sentences(language: str, count: int) -> list[str]:
    """Messages of programs in a language: 4 to 15 words (8 signs or more of Chinese and Japanese), no terms."""
    result = set()
    for path in sorted((CATALOGUES / language / "LC_MESSAGES").glob("*.mo")):
        with path.open("rb") as file, contextlib.suppress(UnicodeDecodeError):  # old ones are not in UTF-8
            if not path.name.startswith("iso_"):
                result |= {text for original, text in gettext.GNUTranslations(file)._catalog.items()
                          if text != original and _is_prose(text, language)}
    return random.Random(0).sample(sorted(result), min(count, len(result)))


def _is_prose(text: str, language: str) -> bool:
    letters = [sign for sign in text if sign.isalpha()]
    if language in ("zh_CN", "ja"):
        right = 8 <= len(letters) <= 60 and sum(sign > "\u3000" for sign in letters) > 0.8 * len(letters)
    else:
        right = 4 <= sum(any(map(str.isalpha, word)) for word in text.split()) <= 15
    return right and not re.search(r"[%{}<>\\|$`=_/&\n\x04\d]|--|[A-Z]{2}|[a-z][A-Z]", text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_short_texts_of_many_languages_are_told_and_none_is_taken_for_damage(language):
    texts = sentences(language, 400)
    if len(texts) < 200:
        pytest.skip(f"{CATALOGUES} has too few messages in {LANGUAGES[language]} on this machine.")
    assert sum(language_of(text) == LANGUAGES[language] for text in texts) >= 0.95 * len(texts)
    odd = [text for text in texts if not text.isascii() and is_damaged(text)]
    assert len(odd) <= 1, odd  # one Dutch catalogue is damaged indeed
    for encoding in ("cp1252", "latin-1"):
        damaged = []
        for text in texts:
            try:
                damaged.append((text, text.encode().decode(encoding)))
            except UnicodeDecodeError:  # five bytes mean nothing in Windows-1252
                continue
        damaged = [(text, wrong) for text, wrong in damaged if text != wrong]
        assert sum(is_damaged(wrong) for _, wrong in damaged) >= 0.95 * len(damaged)
        assert sum(repaired(wrong) == text for text, wrong in damaged) >= 0.95 * len(damaged)


def test_a_language_needs_some_words():
    assert language_of("Je ne trouve pas la commande dans le compte") == "French"
    assert language_of("where is the refund that you promised") == "English"
    assert language_of("42") is None
    assert language_of("no gracias") is None
