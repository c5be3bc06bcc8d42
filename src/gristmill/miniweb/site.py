"""The web around the pages: hosts, navigation, and everything a crawler must cope with."""

from __future__ import annotations

import html
import random
from dataclasses import dataclass, field

from gristmill.miniweb.pages import KINDS, Page
from gristmill.miniweb.personal import PAGES, personal_pages
from gristmill.miniweb.prose import sentence

PER_INDEX = 60
HTML_HEADERS = {"Content-Type": "text/html; charset=utf-8"}
GERMAN = (
    "Der Markt ist heute voll, und die Leute kaufen Brot und Käse.",
    "Am Morgen war es kalt, aber die Sonne kam bald.",
    "Die Kinder spielen im Hof, während die Mutter einen Brief schreibt.",
    "Niemand weiß, warum die Glocke nicht läutet.",
    "Der alte Mann geht mit dem Hund am Fluss entlang.",
    "Wir haben das Dach repariert und die Tür gestrichen.",
    "Im Herbst fallen die Blätter, und der Wind ist stark.",
    "Das Buch liegt auf dem Tisch neben der Lampe.",
)
FRENCH = (
    "Le marché est plein et les gens achètent du pain et du fromage.",
    "Il faisait froid ce matin, mais le soleil est venu.",
    "Les enfants jouent dans la cour et la mère écrit une lettre.",
    "Personne ne sait pourquoi la cloche ne sonne pas.",
    "Le vieil homme marche avec son chien le long de la rivière.",
    "Nous avons réparé le toit et peint la porte.",
    "En automne les feuilles tombent et le vent est fort.",
    "Le livre est sur la table à côté de la lampe.",
)
SPAM = ("cheap", "buy", "now", "best", "price", "offer", "click", "free", "win", "deal", "shop", "sale")
IMPRINT = (
    "This site is run by the guild of printers. It uses cookies to remember your visit. By reading on you agree "
    "to that. Write to the guild with any question about this site. All rights are kept by the guild, and "
    "nothing may be copied without asking. The guild is not to be held for errors on pages that others wrote."
)


@dataclass
class Resource:
    """What a server answers for one path."""

    host: str
    path: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    charset: str = "utf-8"
    truth: str = ""  # why it must not be kept; empty where it must
    personal: list[tuple[str, str, str]] = field(default_factory=list)  # (rule, string, before); no rule: it must stay

    def record(self) -> dict[str, object]:
        """As JSON."""
        return {key: value for key, value in vars(self).items() if key not in ("truth", "personal")}


def build_site(pages: list[Page], canaries: list[str], seed: int) -> list[Resource]:
    """Every resource of every host, in the order of hosts and paths."""
    draw = random.Random(f"{seed} site")
    found: list[Resource] = []
    hosts = [host for host, _ in KINDS.values()]
    for sentence_to_plant in canaries:
        draw.choice(pages).paragraphs.append(sentence_to_plant)
    by_host = {host: [page for page in pages if page.host == host] for host in hosts}
    for host, own in by_host.items():
        found += [render(page, own, draw) for page in own]
        found += furniture(host, own, hosts)
        found += junk(host, own, draw)
        found += people(host, seed)
    found += mirror(by_host[hosts[0]][:40], draw)
    unique = {(resource.host, resource.path): resource for resource in found}
    return [unique[key] for key in sorted(unique)]


def render(page: Page, siblings: list[Page], draw: random.Random, *, host: str = "", truth: str = "") -> Resource:
    """A page in its host's dress."""
    host = host or page.host
    related = "".join(
        f'<li><a href="{other.path}">{html.escape(other.title)}</a></li>'
        for other in draw.sample(siblings, min(4, len(siblings)))
    )
    text = "\n".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in page.paragraphs)
    return Resource(
        host,
        page.path,
        body=dress(host, page.title, f"<h1>{html.escape(page.title)}</h1>\n{text}", related),
        headers=HTML_HEADERS,
        truth=truth,
    )


def dress(host: str, title: str, main: str, related: str = "", head: str = "") -> str:
    """Header, navigation, sidebar, footer and cookie banner, laid out differently on each host."""
    name = host.split(".")[0].title()
    nav = '<nav><a href="/">Start</a> <a href="/index/0.html">All pages</a> <a href="/imprint.html">Imprint</a></nav>'
    banner = '<div class="cookie-banner" role="dialog">We use cookies. <button>Accept</button></div>'
    aside = f'<aside class="related"><h2>Related</h2><ul>{related}</ul></aside>' if related else ""
    footer = f"<footer><p>{name} of the valley. Printed by the guild.</p></footer>"
    page_head = f'<meta charset="utf-8"><title>{html.escape(title)} | {name}</title>{head}'
    top = f'<!DOCTYPE html>\n<html lang="en"><head>{page_head}</head>'
    if sum(map(ord, host)) % 2:
        header = f"<header><b>{name}</b>{nav}</header>"
        body = f"{banner}{header}<main><article>{main}</article></main>{aside}{footer}"
        return f"{top}<body>{body}</body></html>"
    return (
        f'{top}<body><div id="top">{nav}</div><div class="page">{aside}<div id="content" class="content">{main}</div>'
        f"</div>{footer}{banner}</body></html>"
    )


def furniture(host: str, pages: list[Page], hosts: list[str]) -> list[Resource]:
    """Front page, index pages, imprint, robots.txt and sitemap."""
    indexes = [pages[at : at + PER_INDEX] for at in range(0, len(pages), PER_INDEX)]
    links = "".join(f'<li><a href="/index/{i}.html">Part {i + 1}</a></li>' for i in range(len(indexes)))
    others = "".join(f'<li><a href="http://{other}/">{other}</a></li>' for other in hosts if other != host)
    extra = "".join(
        f'<li><a href="{path}">{path}</a></li>'
        for path in (
            "/private/1.html",
            "/calendar/0.html",
            "/old/0",
            "/spam/0.html",
            "/de/0.html",
            "/fr/0.html",
            "/copy/0.html",
            "/missing.html",
            "/hidden.html",
            "/loop/a",
            "/people/0.html",
        )
    )
    found = [
        Resource(
            host,
            "/",
            headers=HTML_HEADERS,
            truth="index",
            body=dress(
                host,
                "Start",
                f'<h1>Start</h1><ul>{links}{others}{extra}<li><a href="http://mirror.test/">Mirror</a></li></ul>',
            ),
        ),
        Resource(
            host,
            "/imprint.html",
            headers=HTML_HEADERS,
            body=dress(host, "Imprint", f"<h1>Imprint</h1><p>{IMPRINT}</p>"),
            truth="boilerplate",
        ),
        Resource(
            host,
            "/robots.txt",
            headers={"Content-Type": "text/plain"},
            truth="robots",
            body=f"User-agent: *\nDisallow: /private/\nAllow: /private/open.html\nSitemap: http://{host}/sitemap.xml\n",
        ),
        Resource(
            host,
            "/sitemap.xml",
            headers={"Content-Type": "application/xml"},
            truth="sitemap",
            body="<urlset>"
            + "".join(f"<url><loc>http://{host}{page.path}</loc></url>" for page in pages[::5])
            + "</urlset>",
        ),
    ]
    return found + [index_page(host, number, part) for number, part in enumerate(indexes)]


def index_page(host: str, number: int, pages: list[Page]) -> Resource:
    """A page that links to others."""
    items = "".join(f'<li><a href="{page.path}">{html.escape(page.title)}</a></li>' for page in pages)
    title = f"Part {number + 1}"
    body = dress(host, title, f"<h1>{title}</h1><ul>{items}</ul>")
    return Resource(host, f"/index/{number}.html", headers=HTML_HEADERS, truth="index", body=body)


def junk(host: str, pages: list[Page], draw: random.Random) -> list[Resource]:
    """Disallowed pages, a calendar without end, redirects, spam, other languages, near-copies, a noindex page."""
    kind = {"Content-Type": "text/html; charset=utf-8"}

    def page(path: str, text: str, truth: str, after: str = "", head: str = "") -> Resource:
        link = f'<p><a href="{after}">Next</a></p>' if after else ""
        return Resource(
            host,
            path,
            headers=kind,
            body=dress(host, path, f"<h1>{path}</h1><p>{text}</p>{link}", head=head),
            truth=truth,
        )

    def chain(folder: str, count: int, text: list[str], truth: str) -> list[Resource]:
        return [
            page(f"/{folder}/{i}.html", text[i], truth, f"/{folder}/{i + 1}.html" if i + 1 < count else "")
            for i in range(count)
        ]

    found = [
        page("/private/1.html", "Keep out. " + " ".join(sentence(draw) for _ in range(6)), "robots"),
        page(
            "/hidden.html",
            " ".join(sentence(draw) for _ in range(6)),
            "noindex",
            head='<meta name="robots" content="noindex">',
        ),
    ]
    found += [page(f"/calendar/{i}.html", f"Day {i}.", "trap", f"/calendar/{i + 1}.html") for i in range(40)]
    found += chain("spam", 8, [" ".join(draw.choices(SPAM, k=120)) for _ in range(8)], "spam")
    found += chain("de", 6, [" ".join(draw.choices(GERMAN, k=8)) for _ in range(6)], "language")
    found += chain("fr", 6, [" ".join(draw.choices(FRENCH, k=8)) for _ in range(6)], "language")
    found += [
        Resource(
            host, f"/old/{i}", 301 + i % 2, {"Location": f"/old/{i + 1}" if i < 2 else pages[0].path}, truth="redirect"
        )
        for i in range(3)
    ]
    found += [Resource(host, f"/loop/{a}", 302, {"Location": f"/loop/{b}"}, truth="redirect") for a, b in ("ab", "ba")]
    for i, original in enumerate(draw.sample(pages, min(10, len(pages)))):
        copy = Page(original.kind, host, f"/copy/{i}.html", original.title, list(original.paragraphs))
        copy.paragraphs[0] = "Read again: " + copy.paragraphs[0]
        found.append(
            render(
                copy, [Page("", host, f"/copy/{i + 1}.html", "next", [])] if i < 9 else pages, draw, truth="near_copy"
            )
        )
    return found


def people(host: str, seed: int) -> list[Resource]:
    """Pages with personal data: to be kept, without it."""
    found = []
    for number, (paragraphs, held) in enumerate(personal_pages(host, seed)):
        page = Page("people", host, f"/people/{number}.html", "People and their papers", paragraphs)
        after = [Page("", host, f"/people/{number + 1}.html", "More people", [])] if number + 1 < PAGES else []
        resource = render(page, after, random.Random(0))
        resource.personal = held
        found.append(resource)
    return found


def mirror(pages: list[Page], draw: random.Random) -> list[Resource]:
    """A host that copies some pages of another, word for word."""
    found = [render(page, pages, draw, host="mirror.test", truth="mirror") for page in pages]
    links = "".join(f'<li><a href="{page.path}">{html.escape(page.title)}</a></li>' for page in pages)
    found.append(
        Resource(
            "mirror.test",
            "/",
            headers=HTML_HEADERS,
            truth="index",
            body=dress("mirror.test", "Mirror", f"<h1>Mirror</h1><ul>{links}</ul>"),
        )
    )
    return found
