"""What pages are composed of: texts in five languages, words of interfaces; a page notes what its text is."""

from __future__ import annotations

import html
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gristmill.corpus.extract.language import detect
from gristmill.html.charset import to_utf8

PARAGRAPH = re.compile(r"<p(?: [^<>]*)?>([^<]{70,700})</p>")
PLAIN = re.compile(r"[^\[\]|`#*<>_\\$]{70,600}")
WORDS = {  # of interfaces, in the order of KEYS
    "en": "Home|Log in|Sign up|Search|Help|Contact|Privacy policy|Terms of use|Share|Reply|Quote|Report|Next|Previous|"
    "Related topics|Latest posts|About us|Cart|Add to cart|Show more|posts|views|All rights reserved.|"
    "We use cookies to give you the best experience.|Accept|Subscribe to our newsletter",
    "de": "Startseite|Anmelden|Registrieren|Suche|Hilfe|Kontakt|Datenschutz|Nutzungsbedingungen|Teilen|Antworten|"
    "Zitieren|Melden|Weiter|Zurück|Ähnliche Themen|Neueste Beiträge|Über uns|Warenkorb|In den Warenkorb|Mehr anzeigen|"
    "Beiträge|Aufrufe|Alle Rechte vorbehalten.|Diese Seite verwendet Cookies, um Ihnen das beste Erlebnis zu bieten.|"
    "Akzeptieren|Newsletter abonnieren",
    "es": "Inicio|Iniciar sesión|Registrarse|Buscar|Ayuda|Contacto|Política de privacidad|Condiciones de uso|Compartir|"
    "Responder|Citar|Denunciar|Siguiente|Anterior|Temas relacionados|Últimos mensajes|Quiénes somos|Carrito|"
    "Añadir al carrito|Mostrar más|mensajes|visitas|Todos los derechos reservados.|"
    "Este sitio utiliza cookies para ofrecerle la mejor experiencia.|Aceptar|Suscríbase a nuestro boletín",
    "fr": "Accueil|Connexion|Inscription|Rechercher|Aide|Contact|Confidentialité|Conditions d'utilisation|Partager|"
    "Répondre|Citer|Signaler|Suivant|Précédent|Sujets similaires|Derniers messages|À propos|Panier|Ajouter au panier|"
    "Afficher plus|messages|vues|Tous droits réservés.|Ce site utilise des cookies pour améliorer votre expérience.|"
    "Accepter|Abonnez-vous à notre lettre",
    "pl": "Strona główna|Zaloguj się|Rejestracja|Szukaj|Pomoc|Kontakt|Polityka prywatności|Regulamin|Udostępnij|"
    "Odpowiedz|Cytuj|Zgłoś|Następna|Poprzednia|Podobne tematy|Najnowsze posty|O nas|Koszyk|Dodaj do koszyka|"
    "Pokaż więcej|posty|wyświetlenia|Wszelkie prawa zastrzeżone.|Ta strona używa plików cookie.|"
    "Akceptuję|Zapisz się do newslettera",
}
KEYS = (
    "home login signup search help contact privacy terms share reply quote report next previous related latest about "
    "cart buy more posts views rights cookies accept newsletter"
).split()
SYLLABLES = "ba ro ki mel tan vo shi lu der nak pel go rim sa tor un wex yl zed fo".split()


@dataclass
class Texts:
    """Paragraphs by language, and code; all of them real."""

    paragraphs: dict[str, list[str]]
    code: list[str]


def read_texts(data: Path, pages: Path) -> Texts:
    """Texts of a folder of data and of web pages unpacked from it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in [*sorted(pages.iterdir()), *sorted(data.glob("storybooks/*/*.html"))[::8]]:
        page = to_utf8(path.read_bytes()).decode("utf-8", "replace")
        parts = [" ".join(html.unescape(part).split()) for part in PARAGRAPH.findall(page)]
        language = detect(" ".join(parts))[0]
        if language in WORDS:
            found[language] |= {part for part in parts if PLAIN.fullmatch(part) and part[-1] in ".?!"}
    code = [row["response"] for row in json.loads((data / "instruct/gpteacher-codegen.json").read_text("utf-8"))]
    paragraphs = {language: sorted(texts) for language, texts in sorted(found.items())}
    return Texts(
        paragraphs, [text for text in code if 3 < text.count("\n") < 25 and "<" not in text and "`" not in text]
    )


@dataclass
class Composed:
    """A page being composed: draws texts and notes which of them are its main text."""

    texts: Texts
    language: str
    draw: random.Random
    title: str = ""
    truth: list[str] = field(default_factory=list)
    neutral: set[str] = field(default_factory=set)

    def word(self, key: str) -> str:
        """A word of the interface."""
        return html.escape(WORDS[self.language].split("|")[KEYS.index(key)], quote=False)

    def keep(self, text: str) -> str:
        """Note a text as main text and give its HTML."""
        self.truth.append(text)
        return html.escape(text, quote=False)

    def aside(self, text: str) -> str:
        """HTML of what counts for nobody, kept or not: who wrote, and when."""
        self.neutral.add(text)
        return html.escape(text, quote=False)

    def paragraph(self) -> str:
        """A paragraph."""
        return self.draw.choice(self.texts.paragraphs[self.language])

    def sentence(self) -> str:
        """The first sentence of a paragraph."""
        return re.split(r"(?<=[.!?])\s+(?=\w{3})", self.paragraph())[0]

    def phrase(self, least: int = 3, most: int = 8) -> str:
        """A few words from the middle of a paragraph, as headings, names and cells have them."""
        words = re.findall(r"[\w’'-]+", self.paragraph())
        count = self.draw.randint(least, most)
        start = self.draw.randrange(max(1, len(words) - count))
        found = " ".join(words[start : start + count])
        return found[:1].upper() + found[1:]

    def headline(self) -> str:
        """The page's name, for <title> and the first heading; it counts for nobody."""
        self.title = self.title or self.phrase(4, 9)
        return html.escape(self.title, quote=False)

    def user(self) -> str:
        """A user's name."""
        return self.aside("".join(self.draw.sample(SYLLABLES, 3)) + str(self.draw.randrange(10, 99)))

    def date(self) -> str:
        """A date with a time."""
        draw = self.draw
        day = f"{draw.randint(2009, 2025)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
        return self.aside(f"{day} {draw.randint(0, 23):02}:{draw.randint(0, 59):02}")

    def price(self) -> str:
        """A price."""
        return f"{self.draw.randint(2, 900)}.{self.draw.choice(['00', '50', '90', '95', '99'])} €"

    def number(self, most: int = 999) -> str:
        """A number."""
        return str(self.draw.randint(1, most))

    def several(self, least: int, most: int, make: Callable[[], str], between: str = "") -> str:
        """Some of what `make` makes."""
        return between.join(make() for _ in range(self.draw.randint(least, most)))

    def post(self, form: str = "<p>{}</p>", between: str = "", most: int = 3) -> str:
        """What a person wrote: one to three paragraphs, the first often short."""
        texts = [self.sentence() if self.draw.random() < 0.4 else self.paragraph()]
        texts += [self.paragraph() for _ in range(self.draw.randrange(most))]
        return between.join(form.format(self.keep(text)) for text in texts)

    def listing(self) -> str:
        """A listing of a program, without its <pre>."""
        return self.keep(self.draw.choice(self.texts.code).strip())

    def link(self, text: str, name: str = "") -> str:
        """A link that is no main text."""
        return f'<a href="/{self.number()}"{f" class={chr(34)}{name}{chr(34)}" if name else ""}>{text}</a>'

    def menu(self, form: str = "<li>{}</li>", name: str = "") -> str:
        """Links of navigation."""
        keys = ["home", *self.draw.sample(["help", "contact", "about", "login", "signup", "search", "latest"], 5)]
        return "".join(form.format(self.link(self.word(key), name)) for key in keys)

    def teasers(self, form: str = "<li>{}</li>", least: int = 3, most: int = 7) -> str:
        """Links to other pages by their names."""
        return self.several(least, most, lambda: form.format(self.link(html.escape(self.phrase(4, 9)))))

    def foot(self) -> str:
        """What stands below."""
        links = " · ".join(self.link(self.word(key)) for key in ("privacy", "terms", "contact"))
        return f"<p>© 2025 {self.word('rights')}</p><p>{links}</p>"

    def cookies(self, name: str) -> str:
        """A question about cookies, on every other page."""
        said = f"{self.word('cookies')} <button>{self.word('accept')}</button> {self.link(self.word('more'))}"
        return f'<div class="{name}" role="dialog"><p>{said}</p></div>' if self.draw.random() < 0.5 else ""


Template = Callable[[Composed], str]
DEVELOPMENT: dict[str, list[Template]] = defaultdict(list)
HELD_OUT: dict[str, list[Template]] = defaultdict(list)


def template(kind: str, *, held_out: bool = False) -> Callable[[Template], Template]:
    """Enter a template under its kind, for development or held out."""

    def enter(made: Template) -> Template:
        (HELD_OUT if held_out else DEVELOPMENT)[kind].append(made)
        return made

    return enter


def compose(made: Template, texts: Texts, language: str, seed: str) -> tuple[str, Composed]:
    """A page of a template: its HTML, and what is known of it."""
    page = Composed(texts, language, random.Random(seed))
    body = made(page)
    site = page.draw.choice(["Mill", "Orbis", "Kontor", "Lumen"])
    head = f'<meta charset="utf-8"><title>{page.headline()} - {site}</title>'
    return f'<!DOCTYPE html><html lang="{language}"><head>{head}</head><body>{body}</body></html>', page
