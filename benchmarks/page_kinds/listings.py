"""Held out: pages that list records, in the markup of other systems than those that rules were made with: results of
SearXNG, advertisements of Osclass, jobs of WP Job Manager, a catalogue of PrestaShop, stories of Lobsters, events of
Drupal's Views.
"""

from __future__ import annotations

from page_kinds.composed_pages import Composed, template


@template("records", held_out=True)
def searxng(p: Composed) -> str:
    """Results of a search by SearXNG's theme "simple"."""

    def result() -> str:
        return (
            '<article class="result result-default category-general"><a href="https://a.test/x" class="url_header">'
            f'<div class="url_wrapper"><span class="url_o1"><span class="url_i1">{p.aside("https://a.test")}</span>'
            f'</span></div></a><h3><a href="https://a.test/x">{p.keep(p.phrase(4, 9))}</a></h3><p class="content">'
            f'{p.keep(p.sentence())}</p><div class="engines"><span>{p.aside("duckduckgo")}</span> '
            f'<a class="cache_link">{p.aside("cached")}</a></div><div class="break"></div></article>'
        )

    return (
        f'<main id="main_results" class="results-tabs"><nav id="linkto_preferences">{p.menu("{} ")}</nav><form '
        f'id="search" role="search"><div id="search_header"><a id="search_logo">SearXNG</a><input><button>'
        f'{p.word("search")}</button></div><div class="search_categories"><button>General</button><button>Images'
        '</button></div></form><div id="results" class="only_template_default"><div id="sidebar"><details '
        f'class="sidebar-collapsable"><summary>Suggestions</summary><ul>{p.teasers()}</ul></details></div><div '
        f'id="urls" role="main">{p.several(6, 14, result)}</div><nav id="pagination" role="navigation"><form><button>'
        f"{p.word('next')}</button></form></nav></div></main><footer>{p.foot()}</footer>"
    )


@template("records", held_out=True)
def osclass(p: Composed) -> str:
    """Classified advertisements by Osclass's theme Bender."""

    def advertisement() -> str:
        return (
            '<li class="listing-card"><a class="listing-thumb" href="/x"><img src="x.jpg" alt=""></a><div '
            'class="listing-detail"><div class="listing-cell"><div class="listing-data"><div '
            f'class="listing-basicinfo"><a href="/x" class="title">{p.keep(p.phrase(3, 7))}</a><div '
            f'class="listing-attributes"><span class="category">{p.aside(p.phrase(1, 2))}</span> - <span '
            f'class="location">{p.aside(p.phrase(1, 1))}</span> <span class="g-hide">-</span> {p.date()} <span '
            f'class="currency-value">{p.keep(p.price())}</span></div><p>{p.keep(p.sentence())}</p></div></div></div>'
            "</div></li>"
        )

    return (
        '<div id="header"><div id="logo"><a>Kontor</a></div><ul class="nav">'
        f'{p.menu()}</ul></div><div class="wrapper wrapper-flash"><div class="breadcrumb"><ul>{p.menu()}</ul></div>'
        f'</div><div class="wrapper" id="content"><div id="sidebar"><div class="filters"><h3>{p.word("search")}</h3>'
        f'<ul>{p.menu()}</ul></div></div><div id="main"><div class="list-header"><h1>{p.headline()}</h1><div '
        f'class="actions"><span class="counter-search">1 - 10 / {p.number()}</span><label>Sort by:</label></div></div>'
        f'<ul class="listing-card-list" id="listing-card-list">{p.several(6, 14, advertisement)}</ul><div '
        f'class="paginate"><ul><li><a>{p.word("next")}</a></li></ul></div></div></div><div id="footer">'
        f"{p.foot()}</div>"
    )


@template("records", held_out=True)
def job_manager(p: Composed) -> str:
    """Open positions listed by WP Job Manager, on a page of WordPress."""

    def job() -> str:
        return (
            f'<li class="post-1 job_listing type-job_listing"><a href="/x"><img class="company_logo" src="x.png"><div '
            f'class="position"><h3>{p.keep(p.phrase(2, 6))}</h3><div class="company"><strong>{p.keep(p.phrase(1, 2))}'
            f'</strong> <span class="tagline">{p.keep(p.phrase(3, 6))}</span></div></div><div class="location">'
            f'{p.keep(p.phrase(1, 1))}</div><ul class="meta"><li class="job-type">{p.aside("Full Time")}</li><li '
            f'class="date"><time>{p.date()}</time></li></ul></a></li>'
        )

    return (
        f'<header class="site-header"><a class="custom-logo-link">Orbis</a><nav class="main-navigation"><ul>{p.menu()}'
        '</ul></nav></header><main class="site-main"><article class="page type-page"><header class="entry-header"><h1 '
        f'class="entry-title">{p.headline()}</h1></header><div class="entry-content"><div class="job_listings"><form '
        f'class="job_filters"><div class="search_jobs"><input></div><ul class="job_types"><li><label>Freelance</label>'
        f'</li><li><label>Full Time</label></li></ul></form><ul class="job_listings">{p.several(6, 15, job)}</ul><a '
        f'class="load_more_jobs"><strong>{p.word("more")}</strong></a></div></div></article></main><aside '
        f'class="widget-area"><section class="widget"><h2>{p.word("latest")}</h2><ul>{p.teasers()}</ul></section>'
        f'</aside><footer class="site-footer">{p.foot()}</footer>{p.cookies("cookie-bar")}'
    )


@template("records", held_out=True)
def prestashop(p: Composed) -> str:
    """A category of PrestaShop's theme Classic."""

    def product() -> str:
        return (
            '<article class="product-miniature js-product-miniature"><div class="thumbnail-container"><div '
            'class="thumbnail-top"><a class="thumbnail product-thumbnail"><img src="x.jpg"></a><div '
            f'class="highlighted-informations"><a class="quick-view">Quick view</a></div></div><div '
            f'class="product-description"><h2 class="h3 product-title"><a href="/x">{p.keep(p.phrase(2, 6))}</a></h2>'
            f'<div class="product-description-short">{p.keep(p.sentence())}</div><div '
            f'class="product-price-and-shipping"><span class="price">{p.keep(p.price())}</span></div></div></div>'
            "</article>"
        )

    return (
        f'<header id="header"><nav class="header-nav"><ul>{p.menu()}</ul></nav><div class="header-top"><a>Lumen</a>'
        f'<ul class="top-menu" id="top-menu">{p.menu()}</ul></div></header><section id="wrapper"><nav '
        f'class="breadcrumb"><ol>{p.menu()}</ol></nav><div id="left-column"><div class="block-categories"><ul>'
        f'{p.teasers()}</ul></div><div id="search_filters"><p class="h6">Filter By</p><ul>{p.menu()}</ul></div></div>'
        f'<div id="content-wrapper"><section id="main"><div class="block-category"><h1 class="h1">{p.headline()}</h1>'
        f'<div id="category-description">{p.post(most=1)}</div></div><section id="products"><div '
        f'id="js-product-list-top"><p>There are {p.number()} products.</p><span>Sort by:</span></div><div '
        f'class="products row">{p.several(6, 14, product)}</div><nav class="pagination">Showing 1-12 of '
        f'{p.number()} item(s)</nav></section></section></div></section><footer id="footer">{p.foot()}</footer>'
    )


@template("records", held_out=True)
def lobsters(p: Composed) -> str:
    """A front page of Lobsters: links with tags, what was said of them elsewhere."""

    def story() -> str:
        return (
            f'<li class="story"><div class="story_liner h-entry"><div class="voters"><a class="upvoter">'
            f'{p.aside(p.number(90))}</a></div><div class="details"><span role="heading" '
            f'class="link h-cite u-repost-of"><a class="u-url" href="/x">{p.keep(p.phrase(4, 11))}</a></span> <span '
            f'class="tags"><a class="tag">{p.aside("programming")}</a></span> <a class="domain">{p.aside("b.test")}</a>'
            f'<div class="byline"><img class="avatar"> <a class="u-author">{p.user()}</a> <time>{p.date()}</time> | '
            f'<span class="comments_label"><a>{p.aside(p.number(90) + " comments")}</a></span></div></div></div></li>'
        )

    return (
        f'<header id="nav"><a id="logo">L</a><nav class="links">{p.menu("{} ")}</nav><div id="header_right">'
        f'{p.link(p.word("login"))}</div></header><div id="inside"><h1>{p.headline()}</h1><ol class="stories list">'
        f'{p.several(12, 25, story)}</ol><div class="morelink"><a>Page 2 &gt;&gt;</a></div></div><footer>'
        f"<nav>{p.menu('{} ')}</nav></footer>"
    )


@template("records", held_out=True)
def drupal_view(p: Composed) -> str:
    """Events listed by Views of Drupal."""

    def event() -> str:
        return (
            '<div class="views-row"><article role="article" class="node node--type-event node--view-mode-teaser"><h2 '
            f'class="node__title"><a href="/x" rel="bookmark">{p.keep(p.phrase(3, 8))}</a></h2><div '
            f'class="node__content clearfix"><div class="field field--name-field-date">{p.date()}</div><div '
            f'class="field field--name-field-place"><div class="field__label">{p.aside("Place")}</div><div '
            f'class="field__item">{p.keep(p.phrase(1, 3))}</div></div><div class="field field--name-body"><p>'
            f'{p.keep(p.sentence())}</p></div><ul class="links inline"><li class="node-readmore"><a>'
            f"{p.aside('Read more about it')}</a></li></ul></div></article></div>"
        )

    return (
        f'<div class="layout-container"><header role="banner"><nav role="navigation" class="menu--main"><ul>'
        f'{p.menu()}</ul></nav></header><main role="main"><div class="layout-content"><div class="region '
        f'region-content"><div class="block block-page-title-block"><h1>{p.headline()}</h1></div><div class="block '
        f'block-system-main-block"><div class="views-element-container"><div class="view view-events"><div '
        f'class="view-filters"><form><label>{p.word("search")}</label></form></div><div class="view-content">'
        f'{p.several(4, 10, event)}</div><nav class="pager" role="navigation"><ul><li><a>{p.word("next")}</a></li></ul>'
        f'</nav></div></div></div></div></div><aside class="layout-sidebar-first" role="complementary"><div '
        f'class="block"><h2>{p.word("related")}</h2><ul>{p.teasers()}</ul></div></aside></main><footer '
        f'role="contentinfo">{p.foot()}</footer></div>'
    )
