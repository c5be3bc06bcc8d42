"""Pages whose text are lists and tables: a shop's catalogue, a price list, a wiki's page; classified advertisements,
results of a search, a timetable, DokuWiki and a talk page of MediaWiki held out."""

from __future__ import annotations

from page_kinds.composed_pages import Composed, template


@template("list")
def catalogue(p: Composed) -> str:
    """A category of a shop of WooCommerce."""

    def product() -> str:
        return (
            f'<li class="product type-product"><a class="woocommerce-LoopProduct-link"><img src="x.jpg"><h2 class='
            f'"woocommerce-loop-product__title">{p.keep(p.phrase(2, 6))}</h2><span class="price"><bdi>'
            f"{p.keep(p.price())}</bdi></span></a>"
            f'<a class="button add_to_cart_button">{p.word("buy")}</a></li>'
        )

    return (
        f'<header id="masthead" class="site-header"><a>Kontor</a><ul class="menu nav-menu">{p.menu()}</ul>'
        '</header><div id="content" '
        f'class="site-content"><nav class="woocommerce-breadcrumb">{p.menu("{} / ")}</nav><div id="primary" '
        'class="content-area"><main id='
        '"main" class="site-main"><header class="woocommerce-products-header"><h1 class="page-title">'
        f"{p.headline()}</h1></header><div class="
        '"storefront-sorting"><form class="woocommerce-ordering"><select><option>Sort</option></select></form>'
        "<p class="
        f'"woocommerce-result-count">Showing 1–12 of {p.number()} results</p></div><ul class="products columns-3">'
        f'{p.several(8, 24, product)}</ul><nav class="woocommerce-pagination"><ul class="page-numbers"><li>'
        "1</li><li><a>2</a></li></ul></nav>"
        '</main></div><div id="secondary" class="widget-area"><div class="widget"><span class="gamma">'
        f"{p.word('search')}</span><ul>"
        f'{p.teasers()}</ul></div></div></div><footer id="colophon" class="site-footer">{p.foot()}</footer>'
        f"{p.cookies('cookie-notice')}"
    )


@template("list")
def classified(p: Composed) -> str:
    """Advertisements as cards of Bootstrap, each with a name that links, a sentence and a price."""

    def card() -> str:
        return (
            '<div class="card mb-3 listing-card"><div class="row g-0"><div class="col-md-4"><img '
            'class="img-fluid" src="x.jpg"></div><div '
            'class="col-md-8"><div class="card-body"><h5 class="card-title">'
            f'{p.link(p.keep(p.phrase(3, 7)))}</h5><p class="card-text">'
            f'{p.keep(p.sentence())}</p><p class="card-text fw-bold">{p.keep(p.price())}</p><a class="btn '
            f'btn-primary">{p.word("contact")}'
            f"</a></div></div></div></div>"
        )

    return (
        '<nav class="navbar navbar-light"><a class="navbar-brand">Lumen</a><ul class="navbar-nav">'
        f"{p.menu('<li class=nav-item>{}</li>')}"
        f'</ul></nav><div class="container"><h1>{p.headline()}</h1><div class="row"><div class="col-3 filters">'
        f"<h6>{p.word('search')}</h6>"
        f'<ul class="list-group">{p.menu("<li class=list-group-item>{}</li>")}</ul></div><div class="col-9">'
        f"{p.several(5, 14, card)}<nav>"
        f'<ul class="pagination"><li class="page-item"><a class="page-link">{p.word("next")}</a></li></ul></nav>'
        "</div></div></div><footer "
        f'class="footer">{p.foot()}</footer>{p.cookies("alert alert-cookies")}'
    )


@template("list")
def results(p: Composed) -> str:
    """Results of a search, as a site's own search lists them."""

    def result() -> str:
        return (
            f'<li class="search-result"><h3 class="search-result-title">{p.link(p.keep(p.phrase(4, 9)))}</h3><p '
            "class="
            f'"search-result-snippet">{p.keep(p.sentence())}</p><span class="search-result-date">'
            f"{p.date()}</span></li>"
        )

    return (
        f'<header role="banner"><a>Mill</a><nav role="navigation"><ul>{p.menu()}</ul></nav></header><div '
        'class="layout"><main role="main">'
        f'<h1>{p.headline()}</h1><form class="search-form"><input><button>{p.word("search")}</button></form><p '
        'class="search-count">'
        f'{p.number()} results</p><ol class="search-results">{p.several(5, 12, result)}</ol><nav class="pager">'
        f"<a>{p.word('previous')}</a> "
        f'<a>{p.word("next")}</a></nav></main><aside class="facets"><h2>{p.word("more")}</h2><ul>{p.menu()}</ul>'
        "</aside></div><footer role="
        f'"contentinfo">{p.foot()}</footer>'
    )


@template("table")
def price_list(p: Composed) -> str:
    """A list of services with prices, in a page of WordPress with Gutenberg's tables."""

    def row() -> str:
        return f"<tr><td>{p.keep(p.phrase(2, 6))}</td><td>{p.keep(p.number(240))}</td><td>{p.keep(p.price())}</td></tr>"

    def table() -> str:
        return (
            f'<h2 class="wp-block-heading">{p.keep(p.phrase(1, 3))}</h2><figure class="wp-block-table"><table>'
            "<thead><tr><th>"
            f"{p.keep(p.phrase(1, 1))}</th><th>{p.keep(p.phrase(1, 1))}</th><th>{p.keep(p.phrase(1, 1))}</th>"
            "</tr></thead><tbody>"
            f"{p.several(4, 10, row)}</tbody></table></figure>"
        )

    return (
        '<header class="wp-block-template-part"><p class="wp-block-site-title"><a>Kontor</a></p><nav '
        'class="wp-block-navigation"><ul>'
        f'{p.menu()}</ul></nav></header><main class="wp-block-group"><h1 class="wp-block-post-title">'
        f"{p.headline()}</h1><div class="
        f'"entry-content wp-block-post-content"><p>{p.keep(p.sentence())}</p>{p.several(1, 3, table)}</div>'
        "</main><footer class="
        f'"wp-block-template-part">{p.foot()}</footer>{p.cookies("cmplz-cookiebanner")}'
    )


@template("table")
def timetable(p: Composed) -> str:
    """Departures by stop in a plain table."""

    def row() -> str:
        hour = p.draw.randint(4, 9)
        name = p.keep(p.phrase(1, 3))
        times = [p.keep(f"{hour + at}:{p.draw.randint(10, 59)}") for at in range(6)]
        cells = "".join(f'<td class="zeit">{time}</td>' for time in times)
        return f'<tr><th scope="row">{name}</th>{cells}</tr>'

    return (
        f'<div id="kopf"><a>Orbis</a></div><div id="navi"><ul>{p.menu()}</ul></div><div id="inhalt"><h1>'
        f"{p.headline()}</h1><table class="
        f'"fahrplan" border="1">{p.several(6, 18, row)}</table><p>{p.keep(p.sentence())}</p></div><div '
        f'id="fuss">{p.foot()}</div>'
    )


@template("table")
def datatables(p: Composed) -> str:
    """A table of records drawn by DataTables in a page of Bootstrap."""

    def row() -> str:
        cells = (p.keep(p.phrase(1, 3)), p.keep(p.phrase(1, 2)), p.keep(p.number()), p.keep(p.number(90)))
        return f'<tr class="odd">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'

    heads = "".join(f'<th class="sorting">{p.keep(p.phrase(1, 2))}</th>' for _ in range(4))
    return (
        f'<div class="wrapper"><aside class="main-sidebar"><ul class="nav nav-sidebar">{p.menu()}</ul></aside>'
        '<div class="content-wrapper">'
        f'<section class="content-header"><h1>{p.headline()}</h1></section><section class="content"><div '
        'class="dataTables_wrapper"><div '
        'class="dataTables_length"><label>Show 10 entries</label></div><div class="dataTables_filter"><label>'
        f"{p.word('search')}:<input>"
        f'</label></div><table class="table dataTable"><thead><tr>{heads}</tr></thead><tbody>'
        f"{p.several(8, 25, row)}</tbody></table><div "
        f'class="dataTables_info">Showing 1 to 10 of {p.number()} entries</div><div class="dataTables_paginate">'
        '<ul class="pagination"><li>'
        f"<a>{p.word('previous')}</a></li><li><a>{p.word('next')}</a></li></ul></div></div></section></div>"
        '<footer class="main-footer">'
        f"{p.foot()}</footer></div>"
    )


@template("wiki")
def mediawiki(p: Composed) -> str:
    """An article of MediaWiki with the skin Vector."""

    def section() -> str:
        head = f'<h2><span class="mw-headline">{p.keep(p.phrase(1, 4))}</span><span class="mw-editsection">'
        head += f"[<a>edit</a>]</span></h2>{p.post()}"
        if p.draw.random() < 0.4:
            head += f"<ul>{p.several(2, 7, lambda: f'<li>{p.keep(p.phrase(3, 9))}</li>')}</ul>"
        if p.draw.random() < 0.3:
            rows = p.several(3, 7, lambda: f"<tr><td>{p.keep(p.phrase(1, 3))}</td><td>{p.keep(p.number())}</td></tr>")
            head += f'<table class="wikitable"><tbody>{rows}</tbody></table>'
        return head

    return (
        '<div class="vector-header-container"><a>Orbis</a><input></div><div id="mw-navigation"><div '
        'id="mw-panel"><nav class="portal"><h3>'
        f'Navigation</h3><ul>{p.menu()}</ul></nav></div></div><div id="content" class="mw-body" role="main"><h1 '
        'id="firstHeading" class='
        f'"firstHeading">{p.headline()}</h1><div id="bodyContent"><div id="siteSub">From Orbis</div><div '
        'id="mw-content-text" class='
        f'"mw-body-content"><div class="mw-parser-output">{p.post()}<div id="toc" class="toc"><h2>Contents</h2>'
        f"<ul>{p.menu()}</ul></div>"
        f'{p.several(2, 6, section)}</div><div class="printfooter">Retrieved from the wiki</div></div><div '
        'id="catlinks" class="catlinks">'
        f'Categories: <ul>{p.teasers()}</ul></div></div></div><footer id="footer" class="mw-footer"><ul '
        'id="footer-info"><li>This page was '
        f"last edited on 3 May 2024.</li></ul><ul>{p.menu()}</ul></footer>"
    )


@template("wiki")
def talk_page(p: Composed) -> str:
    """A talk page of MediaWiki: nested <dl>."""

    def thread() -> str:
        head = f'<div class="mw-heading mw-heading2"><h2>{p.keep(p.phrase(2, 5))}</h2><span class="mw-editsection">'
        head += "[<a>edit</a>]</span></div>"
        made = f"{head}<p>{p.keep(p.paragraph())} <a>{p.user()}</a> {p.date()}</p>"
        depth = p.draw.randint(0, 4)
        for _ in range(depth):
            made += f"<dl><dd>{p.keep(p.sentence())} <a>{p.user()}</a> {p.date()}"
        return made + "</dd></dl>" * depth

    return (
        f'<header class="vector-header mw-header"><a>Lumen</a><nav><ul>{p.menu()}</ul></nav></header><div '
        'class="mw-page-container"><main '
        f'id="content" class="mw-body"><header class="mw-body-header"><h1 id="firstHeading">{p.headline()}</h1>'
        "</header><div class="
        '"vector-page-toolbar"><ul><li><a>Read</a></li><li><a>Add topic</a></li></ul></div><div '
        'id="bodyContent"><div id='
        '"mw-content-text" class="mw-body-content"><div class="mw-parser-output">'
        f"{p.several(2, 6, thread)}</div></div></div></main></div>"
        f'<div class="mw-footer-container"><footer id="footer" class="mw-footer"><ul>{p.menu()}</ul></footer></div>'
    )


@template("wiki")
def dokuwiki(p: Composed) -> str:
    """A page of DokuWiki."""

    def section() -> str:
        made = f'<h2 class="sectionedit2">{p.keep(p.phrase(1, 4))}</h2><div class="level2">{p.post("<p>{}</p>")}'
        if p.draw.random() < 0.4:
            return f'{made}<pre class="code python">{p.listing()}</pre></div>'
        rows = p.several(1, 6, lambda: f'<li class="level1"><div class="li">{p.keep(p.phrase(3, 8))}</div></li>')
        return f"{made}<ul>{rows}</ul></div>"

    return (
        '<div id="dokuwiki__site"><div id="dokuwiki__header"><div class="headings"><h1><a>Kontor</a></h1></div>'
        '<div class="tools"><ul>'
        f'{p.menu()}</ul></div><div class="breadcrumbs"><div class="trace">Trace: {p.menu("{} • ")}</div></div>'
        '</div><div class="wrapper">'
        f'<div id="dokuwiki__aside"><div class="pad aside"><ul>{p.teasers()}</ul></div></div><div '
        'id="dokuwiki__content"><div class="pad">'
        '<div class="pageId"><span>start</span></div><div class="page"><h1 class="sectionedit1">'
        f'{p.headline()}</h1><div class="level1">'
        f'{p.post()}</div>{p.several(2, 5, section)}</div><div class="docInfo">start.txt · Last modified: '
        f"{p.date()}</div></div></div></div>"
        f'<div id="dokuwiki__footer"><div class="license">{p.word("rights")}</div></div></div>'
    )
