"""Languages: the C scores against the library's own, and right answers for short and long texts."""

from __future__ import annotations

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from gristmill.corpus.extract.language import SAME, detect, raw_scores

library = LanguageIdentifier.from_model_file(MODEL_FILE)
SENTENCES = {
    "en": "The children walked home along the river before it was dark.",
    "de": "Die Kinder gingen am Fluss entlang nach Hause, bevor es dunkel wurde.",
    "fr": "Les enfants sont rentrés à la maison le long de la rivière.",
    "es": "Los niños volvieron a casa por la orilla del río antes del anochecer.",
    "it": "I bambini tornarono a casa lungo il fiume prima che facesse buio.",
    "pt": "As crianças voltaram para casa ao longo do rio antes de escurecer.",
    "nl": "De kinderen liepen langs de rivier naar huis voordat het donker werd.",
    "pl": "Dzieci wróciły do domu wzdłuż rzeki, zanim zrobiło się ciemno.",
    "cs": "Děti šly podél řeky domů, než se setmělo.",
    "sv": "Barnen gick hem längs floden innan det blev mörkt.",
    "fi": "Lapset kävelivät kotiin joen vartta ennen pimeän tuloa.",
    "ru": "Дети шли домой вдоль реки, пока не стемнело.",
    "uk": "Діти йшли додому вздовж річки, поки не стемніло.",
    "el": "Τα παιδιά γύρισαν στο σπίτι κατά μήκος του ποταμού.",
    "tr": "Çocuklar hava kararmadan nehir boyunca eve yürüdüler.",
    "ja": "子供たちは暗くなる前に川沿いを歩いて家に帰った。",
    "zh": "孩子们在天黑之前沿着河边走回家。",
    "ko": "아이들은 어두워지기 전에 강을 따라 집으로 걸어갔다.",
    "ar": "عاد الأطفال إلى البيت على طول النهر قبل حلول الظلام.",
    "he": "הילדים הלכו הביתה לאורך הנהר לפני רדת החשיכה.",
    "hi": "बच्चे अंधेरा होने से पहले नदी के किनारे घर लौट आए।",
    "th": "เด็กๆ เดินกลับบ้านเลียบแม่น้ำก่อนที่จะมืด",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_short_sentences(language: str) -> None:
    assert detect(SENTENCES[language])[0] == language
    assert detect(SENTENCES[language].upper())[0] == language


@given(st.text(min_size=1, max_size=300))
def test_scores_are_the_librarys(text: str) -> None:
    data = unicodedata.normalize("NFC", text).encode("utf-8", "replace")
    wanted = library._raw_score(data)
    found = raw_scores(data)
    if not (wanted == wanted[0]).all():  # the library's mark for texts without any known n-gram
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-3)
    np.testing.assert_array_equal(found, raw_scores(data))


def test_text_without_letters_has_no_language() -> None:
    assert detect("") == detect("12 + 30 = 42 !") == ("", 0.0)


def test_a_long_text_is_sure_and_a_list_of_names_is_not() -> None:
    assert detect(SENTENCES["en"] * 40)[1] > 0.99
    assert detect("Kx 200 qtr-9, zv. HTPP 0x1f")[1] < 0.5


def test_threads_agree() -> None:
    texts = list(SENTENCES.values()) * 20
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detect, texts)) == [detect(text) for text in texts]


def test_varieties_are_folded_into_their_language() -> None:
    assert detect("Dei gjekk heim langs elva før det vart mørkt, og ingen såg dei.")[0] == "no"
    assert set(SAME.values()).isdisjoint(SAME)
