"""Where a person or a machine can be reached: e-mail addresses, telephone numbers, IP addresses.

Sources: RFC 5321 §4.1.2 and RFC 3696 §3 (addresses as they are written, not as they might be), ITU-T E.164 and E.123
(numbers and how they are written), RFC 4291 and IANA's registries through Python's `ipaddress`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from itertools import pairwise

from gristmill.corpus.redact.identifiers import Span, digits_of, numbers

LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*$")
DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,62}(?<!-))?\.){1,8}([^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w@])")
NO_DOMAINS = frozenset(  # endings of files and units: `icon@2x.png` is no address
    "png jpg jpeg gif svg webp ico css js mjs ts jsx html htm php py rb sh json xml yml yaml zip gz tar pdf txt md "
    "service timer socket target mount".split()
)
WRITTEN_OUT = re.compile(
    r"(?<![\w.])[\w.+-]{1,64}\s?[\[(]\s?(?:at|AT|@)\s?[\])]\s?[\w-]{1,63}"
    r"(?:\s?(?:[\[(]\s?(?:dot|DOT|\.)\s?[\])]|\.)\s?[\w-]{2,63}){1,4}"
)
WRITTEN_SIGNS = ("at]", "at)", "AT]", "AT)", "at ]", "at )", "[@]", "(@)")
IPV4 = re.compile(r"\d\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}")
IPV6 = re.compile(r"[23](?<![\w:.].)[0-9a-fA-F]{3}:[0-9a-fA-F:]{2,34}(?![\w:])")
NUMBERING = re.compile(
    r"(?:\b(?:v|ver|version|release|rev|build|firmware|kernel|oid)\.?|[a-z]\w*[-_/]|==?)\s{0,2}$", re.IGNORECASE
)
ADDRESS = re.compile(r"\b(?:ip|ipv4|address|addr|host|server|dns|ping|from)\b", re.IGNORECASE)
SMALL = 32  # four numbers below are a version or a section's number, unless a word near by says otherwise
# ITU-T E.164: assigned country codes
COUNTRY_CODES = frozenset(
    """
    1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86
    90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238
    239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268
    269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 379 380 381 382
    383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670
    672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 855 856 870 878
    880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 996
    998""".split()
)
SEPARATOR = r"[ .\-/\u00a0\u2011\u2013]"
EXTENDED = 16  # characters that an extension may take
EXTENSION = r"(?:,? ?(?:x|[Ee]xt\.?|[Dd]urchwahl|poste) ?\d{1,6})?"
JOIN = r"(?: ?[/\-\u2011\u2013] ?|[ .\u00a0])"
GROUPS = rf"(?:{SEPARATOR}{{0,2}}\(?\d{{1,12}}\)?){{1,7}}"
PHONE_FORMS = tuple(
    re.compile(rf"(?<![\w+.,:/=#-])({form}){EXTENSION}(?!{SEPARATOR}?\d)(?!\w)")
    for form in (
        rf"(?:\+{SEPARATOR}?|(?<!\d )00(?=[\d ]{{1,4}}[ .-])){SEPARATOR}?\d{{1,3}}{GROUPS}",  # international
        r"(?<!\d )(?:1[-. ])?(?:\(\d{3}\)[-. ]?|\d{3}[-.])\d{3}[-.]\d{4}",  # North America: 3-3-4
        r"(?<!\d )(?:1 )?\(?[2-9]\d\d\)? [2-9]\d\d[ -]\d{4}",
        r"(?<!\d )1[3-9]\d[ -]\d{4}[ -]\d{4}",  # Chinese mobiles
        r"(?<!\d )8[ -]?\(?[3489]\d\d\)?[ -]\d{3}[ -]\d\d[ -]\d\d",  # Russia, with its trunk prefix
        rf"(?<!\d )\(?0[1-9]\d{{0,4}}\)?(?:{JOIN}\d{{2,8}}){{1,4}}",  # trunk prefix 0, in groups
    )
)
NAMED_NUMBER = re.compile(rf"(\(?\+?\(?\d+\)?(?:{SEPARATOR}{{0,3}}\(?\d{{1,12}}\)?){{0,7}}){EXTENSION}(?!\w)")
NAMED = re.compile(
    r"(?<!\w)(?:tele?(?:phone|fon|fax)?|t[ée]l(?:[ée]phone)?|phone|ph|call|cell(?:ular)?|mobile?|fax|whats-?app|sms|text"
    r"|dial|handy|fon|mob|gsm|tfn?o|m[óo]vil|cellulare|hotline|reach (?:me|him|her|us) at|telefoon|puhelin|тел)"
    r"(?:\s(?:number|no|nr|us|me|him|her|at|on|is))*[ .:=\u00a0()。]{1,4}$",
    re.IGNORECASE,
)
NO_PHONE = re.compile(r"\+\d+\.\d+|\d{5}-\d{4}")
# a date by itself: pairs of digits go on after what looks like one within a longer number
DATE = re.compile(
    r"(?<!\d)(?<!\d[./-])(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d\d|(?:19|20)\d\d[./-]\d{1,2}[./-]\d{1,2})(?![./-]?\d)"
)


def find_emails(text: str) -> Iterator[Span]:
    """E-mail addresses, also written out as `name [at] host [dot] org`."""
    at = text.find("@")
    while at >= 0:
        name, domain = LOCAL.search(text[max(0, at - 64) : at]), DOMAIN.match(text, at + 1)
        if name and domain and domain[1].lower() not in NO_DOMAINS and not is_repository(text, name[0], domain.end()):
            yield at - len(name[0].lstrip("'/=-")), domain.end()
        at = text.find("@", at + 1)
    if any(sign in text for sign in WRITTEN_SIGNS):
        yield from (found.span() for found in WRITTEN_OUT.finditer(text))


def is_repository(text: str, name: str, end: int) -> bool:
    """`git@host:path` is where a repository lies, not where a person is reached."""
    return name == "git" and text[end : end + 1] in (":", "/")


def find_ip_addresses(text: str) -> Iterator[Span]:
    """Public IPv4 and IPv6 addresses: those that lead to somebody. Versions and numbered sections look alike."""
    for found in IPV4.finditer(text):
        start, end = found.span()
        before, after = text[max(0, start - 16) : start], text[end : end + 2]
        if before[-1:].isalnum() or before[-1:] in tuple("._") or after[:1].isalnum() or re.match(r"[.-]\w|_", after):
            continue
        small = all(int(part) < SMALL for part in found.group().split("."))
        if is_public(found.group()) and not NUMBERING.search(before) and (not small or ADDRESS.search(before)):
            yield start, end
    if ":" in text:
        for found in IPV6.finditer(text):
            address = found.group().rstrip(":")
            if address.count(":") > 2 and is_public(address):
                yield found.start(), found.start() + len(address)


def is_public(address: str) -> bool:
    """Whether it is an address, written without leading zeros, of the public internet."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return known.is_global and not known.is_multicast and not address.startswith("0")


def find_phones(text: str) -> Iterator[Span]:
    """Telephone numbers: international, in a country's usual groups, or after a word that announces one."""
    for first, last, digits in numbers(text):
        start = first
        while start > max(0, first - 2) and text[start - 1] in "(+":
            start -= 1
        if named := announced(text, start):
            yield named
        elif digits > 7 or text[start] == "+":
            for form in PHONE_FORMS:
                looks_right = is_international if form is PHONE_FORMS[0] else is_national
                for found in form.finditer(text, start, last + EXTENDED):
                    if found.start() < last and looks_right(found[1]):
                        yield found.span()


def announced(text: str, start: int) -> Span | None:
    """The number that begins here, if a word before it says that it is a telephone's."""
    if not NAMED.search(text[max(0, start - 30) : start]):
        return None
    found = NAMED_NUMBER.match(text, start)
    digits = len(digits_of(found[1])) if found else 0
    return found.span() if found and 7 <= digits <= 15 and not DATE.search(found[1]) else None


def is_international(number: str) -> bool:
    """E.164: a country code, 7 to 15 digits in all; not the decimal number `+3.140000`."""
    if NO_PHONE.fullmatch(number):
        return False
    compact = re.sub(r"[^0-9]", "", number.removeprefix("00"))
    return 7 <= len(compact) <= 15 and any(compact[:length] in COUNTRY_CODES for length in (1, 2, 3))


def is_national(number: str) -> bool:
    """9 to 11 digits that are neither a date, a ZIP+4 nor a row of a table, as 01 02 03 04 05."""
    if DATE.search(number) or NO_PHONE.fullmatch(number) or not 9 <= len(digits_of(number)) <= 11:
        return False
    groups = re.findall(r"\d+", number)
    steps = {int(after) - int(before) for before, after in pairwise(groups)}
    return len(groups) < 3 or len(steps) > 1 or abs(steps.pop()) > 12
