"""Books around given bytes: EPUB, PDF and Word files, made by hand."""

from __future__ import annotations

import io
import zipfile

CONTAINER = b'<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
ITEM = b'<item id="i" media-type="text/html" href="c.html"/>'
WORD = (
    b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>%s</w:body>'
    b"</w:document>"
)
TYPES = (
    b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Override PartName="/word/document.xml"'
    b' ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
RELATIONS = (
    b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r"'
    b' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"'
    b' Target="word/document.xml"/></Relationships>'
)


def archive(parts: dict[str, bytes]) -> bytes:
    """A ZIP file."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return made.getvalue()


def epub(chapter: bytes) -> bytes:
    """A book of one chapter."""
    return epub_of(ITEM + b'<itemref idref="i"/>', chapter)


def epub_of(package: bytes, chapter: bytes = b"<p>One</p>") -> bytes:
    """A book whose list of parts holds given elements."""
    package = b"<package>%s</package>" % package
    return archive({"META-INF/container.xml": CONTAINER, "a.opf": package, "c.html": chapter})


def docx(body: bytes) -> bytes:
    """A Word document."""
    return archive({"[Content_Types].xml": TYPES, "_rels/.rels": RELATIONS, "word/document.xml": WORD % body})


def pdf(pages: bytes) -> bytes:
    """A PDF file (ISO 32000-1, §7.5): a page for each line, whose content stream it is; the font is `/F`."""
    contents = pages.splitlines()
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/MediaBox[0 0 600 800]/Kids[%s]>>" % (len(contents), kids),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, content in enumerate(contents):
        objects.append(b"<</Type/Page/Parent 2 0 R/Resources<</Font<</F 3 0 R>>>>/Contents %d 0 R>>" % (5 + 2 * number))
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
    made, places = bytearray(b"%PDF-1.4\n"), []
    for number, data in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, data)
    begin = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, begin)
    return bytes(made)
