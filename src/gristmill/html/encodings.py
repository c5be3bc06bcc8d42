"""The encodings of the web as browsers decode them (WHATWG Encoding standard, https://encoding.spec.whatwg.org/).

Python's codecs know most of each index. What they lack or map to other characters stands here: the rows that NEC and
IBM added to JIS X 0208 come from cp932, the 203 codes of Big5 that differ are listed, gb18030 is that of 2005 with its
later corrections.
"""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import quote_from_bytes

from resiliparse.parse.encoding import map_encoding_to_html5

# the standard's name of an encoding of one byte a character → Python's codec, and the bytes that it decodes otherwise
SINGLE: dict[str, tuple[str, dict[int, str]]] = {
    **{f"windows-{number}": (f"cp{number}", {}) for number in (874, *range(1250, 1259))},
    **{f"iso-8859-{number}": (f"iso8859-{number}", {}) for number in (*range(2, 9), 10, 13, 14, 15, 16)},
    "ibm866": ("cp866", {}),
    "koi8-r": ("koi8-r", {}),
    "koi8-u": ("koi8-u", {0xAE: "ў", 0xBE: "Ў"}),
    "macintosh": ("mac-roman", {}),
    "x-mac-cyrillic": ("mac-cyrillic", {}),
}
SINGLE["windows-1255"][1][0xCA] = "\u05ba"
# of more bytes → Python's codec, and a character in what it makes of a text that may stand for another
PAIRED = {
    "gbk": ("gb18030", re.compile(r"(?!)")),
    "gb18030": ("gb18030", re.compile(r"(?!)")),
    "big5": ("big5hkscs", re.compile("[•､‾∼♁☉／＼¥¢£]")),
    "euc-jp": ("euc_jp", re.compile("[〜‖−¢£¬~]")),
    "shift_jis": ("cp932", re.compile("[\uf8f0-\uf8f3]")),
    "euc-kr": ("cp949", re.compile(r"[\x80]")),
}
OTHER_LABELS = {  # that resiliparse lacks
    **dict.fromkeys(("x-mac-cyrillic", "x-mac-ukrainian"), "x-mac-cyrillic"),
    **dict.fromkeys(
        ("csiso2022kr", "hz-gb-2312", "iso-2022-cn", "iso-2022-cn-ext", "iso-2022-kr", "replacement"), "replacement"
    ),
    "x-user-defined": "x-user-defined",
}
NAMES = {"cp866": "ibm866", "mac-roman": "macintosh", "iso8859-11": "windows-874", "iso2022_jp": "iso-2022-jp"}
# index big5 where it differs from big5hkscs: a pointer, and the characters from there on
BIG5 = """
1000㡵𡵓𣚞𦀡㻬𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋
2082箸 2088簆 2103糎 2114緒 2123縝 2148者 2151耨 2221菁 2239蒨 2244萏 2303覦覩 2354起 2400都 2413銹 2477靜 2498響 2605鼖
2673蔃 2746兙兛兝兞 2771鍮 2780瑹 2990浧 3087禛 3259邗 3301靝 3436瀞 3451嬨 4136爁 4138矗 4141纇 4182駖 4206釔 4220惞
4230澶 4241輶 4258侻 4273營 4279鄄 4282鷰 4294菏 4329尐秣 4349婧 4419輋 4422筑 4494拐 4624恢 4694痹 4708汊 4742鬮 4748鼗
4815僭 4828弌 4902蠏 4922拎 4982瑨 4992煢 4997牐 5029‧ 5038﹑ 5120¯ 5153～ 5168⊕⊙ 5182∕﹨ 5185￥ 5187￠￡
5432␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡€ 10942廴 10946无 10948癶 10950隶 10957〃仝 19028倩 19035偽 19088包
19096卄 19112卿 19162嘅 19240婷 19299幵 19305廐 19326彘 19355悤 19398撐 19439晴 19454杞 19553沜渝 19557港 19611煮
19643猪 19672瑜 19697瓩 19748砉
"""
GB18030 = str.maketrans(
    "\ue5e5\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796\ue7c7\u1e3f"
    "\ue81e\ue826\ue82b\ue82c\ue832\ue843\ue854\ue864",
    "\u3000\ufe10\ufe12\ufe11\ufe13\ufe14\ufe15\ufe16\ufe17\ufe18\ufe19\u1e3f\ue7c7龴龵龶龷龸龹龺龻",
)
COPIES = {"shift_jis": (b"\xed\x40", b"\xee\xff"), "big5": (b"\x81\x40", b"\xa1\x00"), "euc-jp": (b"\x8f", b"\x90")}
NOT_ASCII = re.compile(r"[^\0-\x7f]+")
QUERY = "!$%&()*+,/:;=?@[\\]^`{|}"  # what a query may hold as it is, besides letters, digits and _.-~
ESCAPE = re.compile(rb"\x1b(\([BJI]|\$[@B])")
# what the encodings of more bytes are read by: a run of ASCII, else a lead byte and what may belong to it
TOKENS = {
    "gb18030": re.compile(rb"[\0-\x7f]+|[\x81-\xfe](?:[0-9](?:[\x81-\xfe](?:[0-9]|\Z)|\Z)|[^0-9])?|.", re.DOTALL),
    "big5": re.compile(rb"[\0-\x7f]+|[\x81-\xfe].?|.", re.DOTALL),
    "euc-jp": re.compile(
        rb"[\0-\x7f]+|\x8f[\xa1-\xfe].?|[\x8e\x8f\xa1-\xfe].?|.",
        re.DOTALL,
    ),
    "shift_jis": re.compile(rb"[\0-\x7f]+|[\x81-\x9f\xe0-\xfc].?|.", re.DOTALL),
    "euc-kr": re.compile(rb"[\0-\x7f]+|[\x81-\xfe].?|.", re.DOTALL),
}


def encoding_of(label: str) -> str:
    """The standard's name in lower case of the encoding that a label means (ISO-8859-8-I goes as ISO-8859-8, which has
    the same codes); an empty string where it means none.
    """
    label = label.strip("\t\n\f\r ").lower()
    if label in OTHER_LABELS:
        return OTHER_LABELS[label]
    name = (map_encoding_to_html5(label, fallback_utf8=False) or "").lower() if label else ""
    name = NAMES.get(name) or re.sub("^cp", "windows-", re.sub("^iso8859", "iso-8859", name))
    return name.replace("utf-16-", "utf-16").replace("euc_", "euc-")


def decode(body: bytes, encoding: str) -> str:
    """A text in an encoding, by its name in lower case; what is none of its codes becomes U+FFFD."""
    if encoding in SINGLE:
        return body.decode("latin-1").translate(single_table(encoding))
    if encoding == "x-user-defined":
        return body.decode("latin-1").translate({byte: 0xF700 + byte for byte in range(0x80, 0x100)})
    if encoding == "replacement":
        return "\ufffd" if body else ""
    if encoding == "iso-2022-jp":
        return from_iso_2022_jp(body)
    if encoding not in PAIRED:
        return body.decode(encoding, "replace")
    codec, doubtful = PAIRED[encoding]
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        return by_tokens(body, "gb18030" if encoding == "gbk" else encoding)
    if codec == "gb18030":
        return text.translate(GB18030)
    return by_tokens(body, encoding) if doubtful.search(text) else text


@cache
def single_table(encoding: str) -> dict[int, str]:
    """The character of each byte from 0x80 on."""
    codec, other = SINGLE[encoding]
    found = {}
    for byte in range(0x80, 0x100):
        undefined = chr(byte) if byte < 0xA0 else "\ufffd"  # a control character, as in Latin-1
        try:
            found[byte] = bytes((byte,)).decode(codec)
        except UnicodeDecodeError:
            found[byte] = undefined
    return found | other


def by_tokens(body: bytes, encoding: str) -> str:
    """Decode code by code. Of a pair that is no code the second byte is read again where it is ASCII."""
    table, token = code_table(encoding), TOKENS[encoding]
    parts: list[str] = []
    at = 0
    while at < len(body):
        found = token.match(body, at)[0]  # type: ignore[index]  # it matches anything
        if found[0] < 0x80:
            parts.append(found.decode("ascii"))
            at += len(found)
        elif known := table.get(found) or (four_bytes(found) if len(found) == 4 else None):
            parts.append(known)
            at += len(found)
        else:
            parts.append("\ufffd")
            if len(found) == 4:
                at += 1
            else:
                cut = found[1:2].isdigit() and encoding == "gb18030"  # the text ends within a code of four bytes
                at += len(found) - (len(found) > 1 and found[-1] < 0x80 and not cut)
    return "".join(parts)


def four_bytes(code: bytes) -> str | None:
    """The character of a code of four bytes of gb18030."""
    try:
        return code.decode("gb18030").translate(GB18030)
    except UnicodeDecodeError:
        return None


@cache
def code_table(encoding: str) -> dict[bytes, str]:
    """The codes of an encoding that begin with a byte beyond ASCII; of gb18030 those of four bytes are left out."""
    if encoding == "euc-jp":
        return euc_jp_table()
    codec = PAIRED[encoding][0]
    found: dict[bytes, str] = {}
    leads = (*range(0x81, 0xA0), *range(0xE0, 0xFD)) if encoding == "shift_jis" else range(0x81, 0xFF)
    for lead in leads:
        for trail in range(0x40, 0x100):
            try:
                found[bytes((lead, trail))] = bytes((lead, trail)).decode(codec)
            except UnicodeDecodeError:
                continue
    if encoding == "shift_jis":
        found |= {bytes((byte,)): chr(0xFEC0 + byte) for byte in range(0xA1, 0xE0)} | {b"\x80": "\x80"}
    elif encoding == "gb18030":
        found = {code: text.translate(GB18030) for code, text in found.items()} | {b"\x80": "€"}
    elif encoding == "big5":
        found = {code: text for code, text in found.items() if len(text) == 1 or code[0] == 0x88}
        for run in BIG5.split():
            first = int(re.match(r"\d+", run)[0])  # type: ignore[index]  # each begins with one
            for place, character in enumerate(run.lstrip("0123456789"), first):
                lead, trail = divmod(place, 157)
                found[bytes((lead + 0x81, trail + (0x40 if trail < 0x3F else 0x62)))] = character
    return found


@cache
def euc_jp_table() -> dict[bytes, str]:
    """The codes of EUC-JP: index jis0208, JIS X 0201's katakana, and index jis0212."""
    found = {bytes((0x8E, byte)): chr(0xFEC0 + byte) for byte in range(0xA1, 0xE0)}
    japanese = code_table("shift_jis")
    for row in range(94):
        for cell in range(94):
            lead, trail = divmod(94 * row + cell, 188)
            code = bytes((lead + (0x81 if lead < 0x1F else 0xC1), trail + (0x40 if trail < 0x3F else 0x41)))
            pair = bytes((row + 0xA1, cell + 0xA1))
            if code in japanese:
                found[pair] = japanese[code]
            try:
                found[b"\x8f" + pair] = (b"\x8f" + pair).decode("euc_jp").replace("~", "～")
            except UnicodeDecodeError:
                continue
    return found


def from_iso_2022_jp(body: bytes) -> str:
    """Decode ISO-2022-JP: escape sequences choose between ASCII, JIS X 0201's two halves and JIS X 0208."""
    parts: list[str] = []
    mode, fresh = b"(B", False
    for number, piece in enumerate(ESCAPE.split(body)):
        if number % 2:
            if fresh:  # nothing stood between two of them
                parts.append("\ufffd")
            mode, fresh = piece, True
        elif piece:
            parts.append(jis(piece, mode))
            fresh = False
    return "".join(parts)


def jis(piece: bytes, mode: bytes) -> str:
    """Text between two escape sequences."""
    if mode in (b"(B", b"(J"):
        text = piece.decode("latin-1").translate(dict.fromkeys((0x0E, 0x0F, 0x1B, *range(0x80, 0x100)), "\ufffd"))
        return text.translate({0x5C: "¥", 0x7E: "‾"}) if mode == b"(J" else text
    if mode == b"(I":
        return "".join(chr(0xFF40 + byte) if 0x21 <= byte <= 0x5F else "\ufffd" for byte in piece)
    table, parts, at = euc_jp_table(), list[str](), 0
    while at < len(piece):
        pair = piece[at : at + 2]
        whole = 0x21 <= pair[0] <= 0x7E
        known = len(pair) == 2 and min(pair) > 0x20 and max(pair) < 0x7F
        parts.append(table.get(bytes(byte | 0x80 for byte in pair), "\ufffd") if known else "\ufffd")
        at += 2 if whole and pair[1:] != b"\x1b" else 1
    return "".join(parts)


def percent_encode(text: str, encoding: str) -> str:
    """A URL's query as a page in that encoding sends it, its characters beyond ASCII percent-encoded (URL standard,
    "percent-encode after encoding"); what the encoding lacks becomes a character reference.
    """
    codes = encoder(encoding)

    def encoded(found: re.Match[str]) -> str:
        parts = [codes.get(each) or b"%%26%%23%d%%3B" % ord(each) for each in found[0]]
        if encoding == "iso-2022-jp":
            shifted = (
                b"\x1b$B%s\x1b(B" % bytes(byte & 127 for byte in part) if part[0] > 127 else part for part in parts
            )
            parts = [b"".join(shifted).replace(b"\x1b(B\x1b$B", b"")]
        return quote_from_bytes(b"".join(parts), QUERY)

    return NOT_ASCII.sub(encoded, text)


@cache
def encoder(encoding: str) -> dict[str, bytes]:
    """The code of each character beyond ASCII; of several the first counts, but for copies within Shift_JIS and Big5
    that the standard passes over.
    """
    if encoding in SINGLE:
        return {text: bytes((byte,)) for byte, text in single_table(encoding).items() if text != "\ufffd"}
    name = {"gbk": "gb18030", "iso-2022-jp": "euc-jp"}.get(encoding, encoding)
    least, below = COPIES.get(name, (b"", b""))
    codes = sorted(code_table(name).items(), key=lambda item: (len(item[0]), item[0]), reverse=True)
    return {text: code for code, text in codes if not least <= code < below}
