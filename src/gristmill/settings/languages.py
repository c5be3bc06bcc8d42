"""Codes of languages, as settings name them: those that can be told apart, in ISO 639-1 or, where it has none, 639-3.

Codes and names are those of https://iso639-3.sil.org/code_tables/639/data.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

# the code that a document has, that of ISO 639-3, the name
TABLE = """
ace ace Acehnese|af afr Afrikaans|am amh Amharic|an arg Aragonese|ar ara Arabic|as asm Assamese|az aze Azerbaijani
ba bak Bashkir|bcl bcl Central Bikol|be bel Belarusian|bg bul Bulgarian|bn ben Bengali|br bre Breton|bs bos Bosnian
ca cat Catalan|crh crh Crimean Tatar|cs ces Czech|cy cym Welsh|da dan Danish|de deu German|dz dzo Dzongkha|el ell Greek
en eng English|eo epo Esperanto|es spa Spanish|et est Estonian|eu eus Basque|ext ext Extremaduran|fa fas Persian
ff ful Fulah|fi fin Finnish|fo fao Faroese|fr fra French|fy fry Western Frisian|ga gle Irish
gcf gcf Guadeloupean Creole French|gcr gcr Guianese Creole French|gd gla Scottish Gaelic|gl glg Galician
gom gom Goan Konkani|grc grc Ancient Greek|gu guj Gujarati|gug gug Paraguayan Guarani|guw guw Gun|ha hau Hausa
he heb Hebrew|hi hin Hindi|hr hrv Croatian|ht hat Haitian|hu hun Hungarian|hy hye Armenian|id ind Indonesian|ig ibo Igbo
is isl Icelandic|it ita Italian|ja jpn Japanese|jv jav Javanese|ka kat Georgian|kab kab Kabyle|kik kik Kikuyu
kk kaz Kazakh|km khm Khmer|kn kan Kannada|ko kor Korean|ku kur Kurdish|ky kir Kirghiz|la lat Latin|lb ltz Luxembourgish
lg lug Ganda|lij lij Ligurian|ln lin Lingala|lo lao Lao|lt lit Lithuanian|ltg ltg Latgalian|lv lav Latvian
mg mlg Malagasy|mk mkd Macedonian|ml mal Malayalam|mn mon Mongolian|mr mar Marathi|ms msa Malay|mt mlt Maltese
my mya Burmese|ne nep Nepali|nl nld Dutch|no nor Norwegian|nso nso Pedi|oc oci Occitan|om orm Oromo|or ori Oriya
pa pan Punjabi|pcm pcm Nigerian Pidgin|pl pol Polish|ps pus Pashto|pt por Portuguese|qu que Quechua|ro ron Romanian
ru rus Russian|rw kin Kinyarwanda|sa san Sanskrit|se sme Northern Sami|si sin Sinhala|sk slk Slovak|sl slv Slovenian
sn sna Shona|so som Somali|sq sqi Albanian|sr srp Serbian|st sot Southern Sotho|sv swe Swedish|sw swa Swahili
ta tam Tamil|te tel Telugu|tg tgk Tajik|th tha Thai|tk tuk Turkmen|tl tgl Tagalog|tr tur Turkish|tt tat Tatar
ug uig Uighur|uk ukr Ukrainian|ur urd Urdu|uz uzb Uzbek|vec vec Venetian|vi vie Vietnamese|vo vol Volapük|wa wln Walloon
xh xho Xhosa|yo yor Yoruba|zh zho Chinese|zu zul Zulu|zxx zxx No linguistic content
"""
LANGUAGES = [tuple(entry.split(" ", 2)) for entry in re.split(r"[|\n]", TABLE.strip())]


def two_letters(code: str) -> str:
    """The code of a language that documents can have. Raises ValueError for another; it names the nearest."""
    if code not in {short for short, _, _ in LANGUAGES}:
        raise ValueError(f"no language has this code (codes are those of ISO 639-1, as en){meant(code, 0)}")
    return code


def three_letters(code: str) -> str:
    """A code of ISO 639-3. Raises ValueError for what cannot be one; it names the nearest."""
    if not re.fullmatch("[a-z]{3}", code):
        raise ValueError(f"no language has this code (codes are those of ISO 639-3, as eng){meant(code, 1)}")
    return code


def meant(text: str, wanted: int) -> str:
    """What to say of the code that is meant by a text, if that is a name or a code of the other kind."""
    codes = {name.lower(): entry[wanted] for entry in LANGUAGES for name in entry}
    text = re.split("[-_]", text.lower())[0]
    found = [text] if text in codes else get_close_matches(text, codes, 1) if len(text) > 3 else []
    return f", did you mean `{codes[found[0]]}`?" if found else ""
