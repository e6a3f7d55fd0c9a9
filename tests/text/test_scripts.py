"""Texts without spaces between words: one line says what to do."""

import pytest

from fastrnn import Vocabulary
from fastrnn.text.scripts import unspaced

CHINESE = ["今天天气很好我们去公园散步", "他昨天在北京买了一本新书", "这家饭馆的菜非常好吃"]
JAPANESE = ["今日はとても天気がいいです。", "昨日わたしは図書館で本を読みました。"]
THAI = ["วันนี้อากาศดีมาก เราไปเดินเล่นที่สวนสาธารณะ", "เขาซื้อหนังสือเล่มใหม่เมื่อวานนี้"]


def hints(texts, caplog, **parameters):
    Vocabulary(**parameters).fit(texts)
    return [r.getMessage() for r in caplog.records if "spaces" in r.getMessage()]


@pytest.mark.parametrize(
    ("texts", "script"), [(CHINESE, "Chinese or Japanese"), (JAPANESE, "Chinese or Japanese"), (THAI, "Thai")]
)
@pytest.mark.parametrize("level", ["word", "whitespace"])
def test_a_script_without_spaces_is_told_once(texts, script, level, caplog):
    [line] = hints(texts, caplog, level=level, sentence_split="line")
    assert f"looks {script}, without spaces" in line and 'level="char"' in line


@pytest.mark.parametrize(
    "texts",
    [
        ["Ein Satz mit Wörtern, über Länder."],
        ["Это предложение на русском языке."],
        ["오늘은 날씨가 아주 좋습니다."],
        ["The word 今天天气很好我们去公园 is one of many here."],
        ["今天 天气 很 好 , 我们 去 公园 散步 ."],
        ["วันนี้ อากาศ ดี มาก เรา ไป เดิน เล่น ที่ สวน"],
        ["... !!! ???"],
    ],
)
def test_other_texts_are_not(texts, caplog):
    assert not hints(texts, caplog, level="whitespace")


def test_characters_need_no_hint(caplog):
    assert not hints(CHINESE, caplog, level="char")


def test_no_tokens():
    assert unspaced([]) is None
