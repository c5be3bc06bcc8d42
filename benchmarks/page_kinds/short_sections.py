"""Held out: pages of short sections, items and rows, in the markup of other systems than those that rules were made
with: a job of Personio, a recipe of Tasty Recipes, a table of TablePress.
"""

from __future__ import annotations

from collections.abc import Callable

from page_kinds.composed_pages import Composed, template


@template("sections", held_out=True)
def personio(p: Composed) -> str:
    """An advertisement of a job on Personio's board."""

    def section() -> str:
        items = p.several(3, 8, lambda: f"<li>{p.keep(p.phrase(4, 11))}</li>")
        return (
            f'<section class="jb-description"><h3 class="jb-description-heading">{p.keep(p.phrase(1, 4))}</h3><div '
            f'class="jb-description-container"><ul>{items}</ul></div></section>'
        )

    return (
        f'<header class="header"><div class="header-logo"><a>Mill</a></div><div class="language-switcher">'
        f'{p.menu("{} ")}</div></header><main class="detail-page"><div class="detail-content-main"><h1 '
        f'class="detail-title">{p.headline()}</h1><p class="detail-subtitle">{p.aside(p.phrase(1, 2))} · '
        f'{p.aside("full time")}</p><div class="detail-content-block"><section class="jb-description"><div '
        f'class="jb-description-container">{p.post(most=2)}</div></section>{p.several(2, 4, section)}</div></div><div '
        f'class="detail-application"><a class="button apply">{p.word("signup")}</a><form class="application-form">'
        f'<label>{p.word("contact")}</label><input></form></div></main><footer class="footer">{p.foot()}</footer>'
        f"{p.cookies('cookie-consent')}"
    )


@template("sections", held_out=True)
def tasty_recipe(p: Composed) -> str:
    """A recipe of Tasty Recipes below a few words, in a post of WordPress."""

    def part(form: str, item: Callable[[], str]) -> str:
        return form.format(p.keep(p.phrase(1, 1)), p.several(4, 10, item))

    intro, about = p.post(), p.keep(p.sentence())
    ingredients = part("<h3>{}</h3><ul>{}</ul>", lambda: f"<li>{p.keep(p.number(9) + ' ' + p.phrase(1, 3))}</li>")
    steps = part("<h3>{}</h3><ol>{}</ol>", lambda: f"<li>{p.keep(p.sentence())}</li>")
    return (
        f'<header class="site-header"><a>Orbis</a><nav class="nav-primary"><ul>{p.menu()}</ul></nav></header><main '
        f'class="content" id="genesis-content"><article class="post type-post entry"><h1 class="entry-title">'
        f'{p.headline()}</h1><div class="entry-content">{intro}<div class="tasty-recipes '
        f'tasty-recipes-has-image"><h2 class="tasty-recipes-title">{p.headline()}</h2><hr><div '
        f'class="tasty-recipes-buttons"><a>Print</a> <a>{p.word("share")}</a></div><div '
        f'class="tasty-recipes-description">{about}</div><div class="tasty-recipes-ingredients">{ingredients}</div>'
        f'<div class="tasty-recipes-instructions">{steps}</div></div></div></article><div class="entry-comments"><h3>'
        f'{p.word("reply")}</h3><form class="comment-form"></form></div></main><aside class="sidebar '
        f'sidebar-primary"><section class="widget"><h4 class="widget-title">{p.word("latest")}</h4><ul>{p.teasers()}'
        f'</ul></section></aside><footer class="site-footer">{p.foot()}</footer>{p.cookies("cookie-notice")}'
    )


@template("sections", held_out=True)
def tablepress(p: Composed) -> str:
    """A table of TablePress in a page of GeneratePress, with a sentence above."""
    columns = p.draw.randint(3, 6)

    def row() -> str:
        cells = [p.keep(p.phrase(1, 3)), *(p.keep(p.number()) for _ in range(columns - 1))]
        return "<tr>" + "".join(f'<td class="column-{at}">{cell}</td>' for at, cell in enumerate(cells)) + "</tr>"

    post = p.keep(p.sentence())
    heads = "".join(f'<th class="column-{at}">{p.keep(p.phrase(1, 2))}</th>' for at in range(columns))
    return (
        f'<header class="site-header" id="masthead"><div class="site-branding"><a>Lumen</a></div></header><nav '
        f'class="main-navigation" id="site-navigation"><ul>{p.menu()}</ul></nav><div class="site grid-container" '
        f'id="page"><div class="content-area" id="primary"><main class="site-main" id="main"><article class="page">'
        f'<div class="inside-article"><header class="entry-header"><h1 class="entry-title">{p.headline()}</h1></header>'
        f'<div class="entry-content"><p>{post}</p><table id="tablepress-1" class="tablepress '
        f'tablepress-id-1"><thead><tr class="row-1">{heads}</tr></thead><tbody class="row-striping row-hover">'
        f'{p.several(8, 24, row)}</tbody></table></div></div></article></main></div><div class="widget-area sidebar '
        f'is-right-sidebar"><aside class="widget inner-padding"><h2 class="widget-title">{p.word("latest")}</h2><ul>'
        f'{p.teasers()}</ul></aside></div></div><footer class="site-info">{p.foot()}</footer>'
        f"{p.cookies('cookie-law-info-bar')}"
    )
