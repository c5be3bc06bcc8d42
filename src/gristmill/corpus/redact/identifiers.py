"""Numbers that name a person or an account, told from other numbers by their form and check digits.

Forms that are as common as dust (nine digits in a row) count only near a word that says what they are. Sources: ISO
13616 (IBAN), ISO/IEC 7812 (cards), ISO 7064, and the rules of each country's register as Wikipedia's "National
identification number" gives them; the checks agree with python-stdnum (tests).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache

Span = tuple[int, int]
ALPHABET = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
NEAR = 40  # characters before a number in which the word may be
ALONE = r"(?<![\w])(?<!\w[-./])"  # no letter or digit before, nor beyond one separator
END = r"(?![-./]?\w)"
# a number as people write it: seven digits or more, with separators (`re` skips fast to a first character of one kind)
NUMBER = re.compile(r"\d(?:[ .()/+\-\u00a0\u2011\u2013]{0,3}\d){6,}")
IBAN_START = re.compile(r"[A-Z][A-Z]\d\d(?=[ \u00a0]?[A-Z0-9])")
IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 "
        "LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 "
        "QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30",
    )
}
CARD = re.compile(
    r"(?<![\d.])(?:\d{4}([ \u00a0-])\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ \u00a0-])\d{6}\2\d{5}|\d{12,19})(?!\d|[.-]\d)"
)
# issuers: American Express, Visa, Mastercard, Discover, JCB, Diners, UnionPay, Maestro (ISO/IEC 7812)
ISSUERS = re.compile(
    r"3[47]\d{13}$|4(?:\d{12}|\d{15}|\d{18})$|5[1-5]\d{14}$|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}$"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}$|(?:35(?:2[89]|[3-8]\d)\d|1800|2131)\d{11}$"
    r"|3(?:0[0-5]|[68]\d)\d{11}$|62\d{14}$|(?:5018|5020|5038|5893|6304|6759|676[1-3])\d{8,15}$"
)


def digits_of(text: str) -> list[int]:
    """The decimal digits in a text."""
    return [int(character) for character in re.sub("[^0-9]", "", text)]


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B: the check sum of cards."""
    digits = digits_of(text)[::-1]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def iban(text: str) -> bool:
    """ISO 13616: length by country, and 1 modulo 97 (ISO 7064) with the first four characters moved to the end."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


@lru_cache(maxsize=1)
def numbers(text: str) -> list[tuple[int, int, int]]:
    """Where digits are together: start, end, how many digits."""
    return [(*found.span(), len(re.sub("[^0-9]", "", found.group()))) for found in NUMBER.finditer(text)]


def find_ibans(text: str) -> Iterator[Span]:
    """Bank accounts: an IBAN ends where its country's length says; what follows may be anything but more of it."""
    for found in IBAN_START.finditer(text):
        start, end, compact = found.start(), found.start(), ""
        length = IBAN_LENGTHS.get(text[start : start + 2], 0)
        while len(compact) < length and end < len(text):
            if text[end] in ALPHABET:
                compact += text[end]
            elif text[end] not in " \u00a0" or text[end - 1] in " \u00a0":
                break
            end += 1
        alone = not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()
        if alone and iban(compact):
            yield start, end


def find_cards(text: str) -> Iterator[Span]:
    """Payment cards: an issuer's prefix and length, and a good check sum."""
    for first, last, digits in numbers(text):
        if digits < 12:
            continue
        for found in CARD.finditer(text, first, last + 2):
            start, end = found.span()
            compact = re.sub(r"\D", "", found.group())
            before = text[start - 1 : start]
            alone = not before.isalnum() and before not in ("/", "=", "_", "#") and not text[end : end + 1].isalpha()
            if alone and ISSUERS.match(compact) and luhn(compact) and len(set(compact)) > 1:
                yield start, end


def born(year: int, month: int, day: int) -> bool:
    """Whether that is a date."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def weighted(digits: list[int], weights: list[int]) -> int:
    """The sum of digits times weights; what is longer is cut."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def us_ssn(text: str) -> bool:
    """Social Security number, 3-2-4 digits: no part is zero, the area is not 666 nor from 900 on."""
    area, group, serial = text[:3], text[4:6], text[7:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def gb_nino(text: str) -> bool:
    """National Insurance number: prefixes that were never given out."""
    return text[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def gb_nhs(text: str) -> bool:
    """NHS number: modulo 11 with weights 10 to 2."""
    digits = digits_of(text)
    return (11 - weighted(digits[:9], list(range(10, 1, -1))) % 11) % 11 == digits[9]


def es_dni(text: str) -> bool:
    """DNI and NIE: the letter is the number modulo 23; X, Y, Z stand for 0, 1, 2."""
    compact = re.sub(r"[\W_]", "", text).upper()
    number = int(compact[:-1].translate(str.maketrans("XYZ", "012")))
    return compact[-1] == "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]


def fr_nir(text: str) -> bool:
    """Sécurité sociale: 97 less the number modulo 97."""
    compact = re.sub(r"\s", "", text)
    return int(compact[13:]) == 97 - int(compact[:13]) % 97


def it_codice_fiscale(text: str) -> bool:
    """Codice fiscale: odd places by a table, even ones by value, modulo 26 a letter."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [int(c) if c.isdigit() else ord(c) - ord("A") for c in text]
    total = sum(odd[value] if place % 2 == 0 else value for place, value in enumerate(values[:15]))
    return values[15] == total % 26


def de_steuer_id(text: str) -> bool:
    """Steuer-ID: ISO 7064 MOD 11,10; of the first ten digits one occurs twice or three times, the others once."""
    digits = digits_of(text)
    repeated = [count for count in Counter(digits[:10]).values() if count > 1]
    product = 10
    for digit in digits[:10]:
        total = (digit + product) % 10 or 10
        product = total * 2 % 11
    return repeated in ([2], [3]) and digits[0] != 0 and (11 - product) % 10 == digits[10]


def nl_bsn(text: str) -> bool:
    """Burgerservicenummer: 0 modulo 11 with weights 9 to 2 and -1."""
    digits = digits_of(text)
    return any(digits) and weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0


def be_national(text: str) -> bool:
    """Rijksregisternummer: 97 less the number modulo 97, with a 2 before it for those born from the year 2000 on."""
    compact = re.sub(r"\D", "", text)
    centuries = ("", "2") if compact < "5" else ("",)
    return compact[6:9] != "000" and any(int(compact[9:]) == 97 - int(c + compact[:9]) % 97 for c in centuries)


def pt_nif(text: str) -> bool:
    """NIF: modulo 11 with weights 9 to 2."""
    digits = digits_of(text)
    check = 11 - weighted(digits[:8], list(range(9, 1, -1))) % 11
    return digits[0] != 0 and digits[8] == (check if check < 10 else 0)


def pl_pesel(text: str) -> bool:
    """PESEL: date of birth, the century in the month; weights 1, 3, 7, 9."""
    digits = digits_of(text)
    century, month = divmod(digits[2] * 10 + digits[3], 20)
    year = (1900, 2000, 2100, 2200, 1800)[century] + digits[0] * 10 + digits[1]
    check = -weighted(digits[:10], [1, 3, 7, 9] * 3) % 10
    return born(year, month, digits[4] * 10 + digits[5]) and check == digits[10]


def se_personnummer(text: str) -> bool:
    """Personnummer: date of birth (the day may be 60 higher) and Luhn over the last ten digits."""
    compact = re.sub(r"\D", "", text)[-10:]
    day = int(compact[4:6])
    return born(2000 + int(compact[:2]), int(compact[2:4]), day - 60 if day > 60 else day) and luhn(compact)


def fi_hetu(text: str) -> bool:
    """Henkilötunnus: date of birth, the number modulo 31 as a character."""
    compact = text[:6] + text[7:]
    known = born(2000 + int(text[4:6]), int(text[2:4]), int(text[:2]))
    return known and compact[9] == "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(compact[:9]) % 31]


def no_fodselsnummer(text: str) -> bool:
    """Fødselsnummer: date of birth (a D-number's day is 40 higher), two checks modulo 11."""
    digits = digits_of(text)
    day, month, year = (digits[at] * 10 + digits[at + 1] for at in (0, 2, 4))
    first = -weighted(digits, [3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11
    second = -weighted(digits, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11
    return born(2000 + year, month, day - 40 if day > 40 else day) and digits[9:] == [first, second]


def dk_cpr(text: str) -> bool:
    """CPR number: a date of birth (it has had no check digit since 2007)."""
    return born(2000 + int(text[4:6]), int(text[2:4]), int(text[:2]))


def br_cpf(text: str) -> bool:
    """CPF: two check digits modulo 11; equal digits were never given out."""
    digits = digits_of(text)
    first = weighted(digits[:9], list(range(10, 1, -1))) * 10 % 11 % 10
    second = weighted(digits[:10], list(range(11, 1, -1))) * 10 % 11 % 10
    return len(set(digits)) > 1 and digits[9:] == [first, second]


def cn_resident(text: str) -> bool:
    """Resident identity number: date of birth, ISO 7064 MOD 11-2."""
    total = sum(int(digit) * (1 << (17 - place)) for place, digit in enumerate(text[:17]))
    known = born(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    return known and text[17].upper() == "10X98765432"[total % 11]


def kr_rrn(text: str) -> bool:
    """Resident registration number: a date of birth (numbers given since 2020 have no check digit)."""
    return born(2000 + int(text[:2]), int(text[2:4]), int(text[4:6]))


def in_aadhaar(text: str) -> bool:
    """Aadhaar: Verhoeff's check (1969) in the dihedral group of order ten; palindromes were never given out."""
    permutation, total, digits = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), 0, digits_of(text)
    for place, digit in enumerate(digits[::-1]):
        for _ in range(place % 8):
            digit = permutation[digit]
        total = dihedral(total, digit)
    return total == 0 and digits != digits[::-1]


def dihedral(first: int, second: int) -> int:
    """The product of two elements of the dihedral group of order ten: 0 to 4 rotations, 5 to 9 reflections."""
    if first < 5:
        return (first + second) % 5 if second < 5 else 5 + (first + second) % 5
    return 5 + (first - second) % 5 if second < 5 else (first - second) % 5


def au_tfn(text: str) -> bool:
    """Tax file number: 0 modulo 11 with weights 1, 4, 3, 7, 5, 8, 6, 9, 10."""
    return weighted(digits_of(text), [1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 == 0


class Identifier:
    """One country's number: its form, its check, and what must be shortly before it."""

    def __init__(self, form: str, valid: Callable[[str], bool], near: str = "") -> None:
        self.form, self.valid = re.compile(f"{ALONE}(?:{form}){END}"), valid
        self.near = re.compile(rf"(?<!\w)(?:{near})", re.IGNORECASE) if near else None

    def find(self, text: str, start: int, end: int) -> Iterator[Span]:
        """Valid numbers between two places."""
        for found in self.form.finditer(text, start, end):
            named = self.near is None or self.near.search(text[max(0, found.start() - NEAR) : found.start()])
            if named and self.valid(found.group()):
                yield found.span()


S = r"[ \u00a0]?"
TAX_ID = r"steuer|tax\s?id|idnr|identifikationsnummer|tin\b"
DNI = Identifier(r"\d{8}[ -]?[A-Z]", es_dni)
HETU = Identifier(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", fi_hetu)
# numbers that begin with a digit: looked for where digits are together
NUMERIC = (
    DNI,
    Identifier(r"\d{3}-\d{2}-\d{4}", us_ssn),
    Identifier(r"\d{3}[ -]?\d{3}[ -]?\d{4}", gb_nhs, r"nhs\b"),
    Identifier(rf"[12]{S}\d\d{S}(?:0[1-9]|1[0-2]|[2-9]\d){S}\d\d{S}\d{{3}}{S}\d{{3}}{S}\d\d", fr_nir),
    Identifier(rf"\d\d{S}\d{{3}}{S}\d{{3}}{S}\d{{3}}", de_steuer_id, TAX_ID),
    Identifier(r"\d{4}[ .]?\d{2}[ .]?\d{3}|\d{3}[ .]\d{3}[ .]\d{3}", nl_bsn, r"bsn\b|burgerservice|sofi"),
    Identifier(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", be_national),
    Identifier(r"\d{3}[ .]?\d{3}[ .]?\d{3}", pt_nif, r"nif\b|contribuinte"),
    Identifier(r"\d{11}", pl_pesel, r"pesel\b"),
    Identifier(r"(?:19|20)?\d{6}[-+]\d{4}", se_personnummer),
    HETU,
    Identifier(r"\d{6} ?\d{5}", no_fodselsnummer),
    Identifier(r"\d{6}-?\d{4}", dk_cpr, r"cpr\b"),
    Identifier(r"\d{3}\.\d{3}\.\d{3}-\d\d", br_cpf),
    Identifier(r"\d{11}", br_cpf, r"cpf\b"),
    Identifier(r"[1-8]\d{5}(?:18|19|20)\d{9}[\dXx]", cn_resident),
    Identifier(r"\d{6}-[1-4]\d{6}", kr_rrn),
    Identifier(r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", in_aadhaar, r"aadhaa?r|uidai|uid\b"),
    Identifier(r"\d{3}[ -]?\d{3}[ -]?\d{3}", luhn, r"sin\b|social insurance"),
    Identifier(r"\d{3}[ -]?\d{3}[ -]?\d{3}", au_tfn, r"tfn\b|tax file"),
)
# numbers that begin with a letter
LETTERED = (
    Identifier(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]", gb_nino),
    Identifier(r"[XYZ][ -]?\d{7}[ -]?[A-Z]", es_dni),
    Identifier(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", it_codice_fiscale),
)
HETU_MIDDLE = re.compile(r"[A-FU-Y](?<=\d{6}.)\d{3}[0-9A-Y]")  # of those born from the year 2000 on
LETTERED_START = re.compile(r"[A-Z][A-Z]{0,5}[ -]?\d\d")


def find_national_ids(text: str) -> Iterator[Span]:
    """Numbers of people in the registers of twenty countries."""
    for start, end, digits in numbers(text):
        if digits > 8:
            for identifier in NUMERIC:
                yield from identifier.find(text, start, end + 4)
        elif digits == 8:
            yield from DNI.find(text, start, end + 4)
    for middle in HETU_MIDDLE.finditer(text):
        yield from HETU.find(text, middle.start() - 6, middle.end())
    for first in LETTERED_START.finditer(text):
        for identifier in LETTERED:
            yield from identifier.find(text, first.start(), first.start() + 22)
