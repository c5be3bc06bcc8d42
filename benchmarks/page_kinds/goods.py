"""Products, recipes and advertisements of jobs: WooCommerce, WP Recipe Maker, Greenhouse; Shopify's Dawn, Magento,
h-recipe in microdata and Lever held out."""

from __future__ import annotations

from page_kinds.composed_pages import Composed, template


def facts(p: Composed, form: str, least: int = 3, most: int = 8) -> str:
    """Properties with their values."""
    return p.several(least, most, lambda: form.format(p.keep(p.phrase(1, 2)), p.keep(p.phrase(1, 4))))


def items(p: Composed, form: str = "<li>{}</li>", least: int = 3, most: int = 8) -> str:
    """Short items."""
    return p.several(least, most, lambda: form.format(p.keep(p.phrase(3, 9))))


def related(p: Composed, form: str) -> str:
    """Other products with their prices."""
    return p.several(3, 5, lambda: form.format(p.link(p.phrase(2, 5)), p.price()))


@template("product")
def woocommerce(p: Composed) -> str:
    """A product of WooCommerce with the theme Storefront."""
    rows = '<tr class="woocommerce-product-attributes-item"><th>{}</th><td><p>{}</p></td></tr>'
    others = (
        '<li class="product"><a class="woocommerce-LoopProduct-link"><h2>{}</h2></a><span class="price">{}</span></li>'
    )

    def review() -> str:
        return (
            '<li class="review"><div class="comment_container"><div class="comment-text"><div '
            'class="star-rating">Rated 5 out of 5</div>'
            f'<p class="meta"><strong>{p.user()}</strong> – <time>{p.date()}</time></p><div class="description">'
            f"{p.post(most=1)}</div></div>"
            f"</div></li>"
        )

    return (
        f'<header id="masthead" class="site-header"><a>Kontor</a><ul class="menu nav-menu">{p.menu()}</ul><ul '
        'class="site-header-cart">'
        f'<li>0.00 € 0 {p.word("cart")}</li></ul></header><div id="content" class="site-content"><nav '
        'class="woocommerce-breadcrumb">'
        f'{p.menu("{} / ")}</nav><main id="main" class="site-main"><div class="product type-product"><div class='
        f'"woocommerce-product-gallery"><img src="x.jpg" alt="{p.word("more")}"></div><div class="summary '
        'entry-summary"><h1 class='
        f'"product_title entry-title">{p.headline()}</h1><p class="price">{p.aside(p.price())}</p><div class='
        f'"woocommerce-product-details__short-description">{p.post(most=1)}</div><form class="cart"><button>'
        f"{p.word('buy')}</button></form>"
        f'<div class="product_meta">SKU: {p.number()} Category: <a>{p.phrase(1, 2)}</a></div></div><div '
        'class="woocommerce-tabs '
        'wc-tabs-wrapper"><ul class="tabs wc-tabs"><li><a>Description</a></li><li><a>Reviews (2)</a></li></ul>'
        "<div class="
        f'"woocommerce-Tabs-panel panel entry-content" id="tab-description">{p.post()}<table '
        'class="woocommerce-product-attributes '
        f'shop_attributes">{facts(p, rows)}</table></div><div id="reviews" class="woocommerce-Reviews"><ol '
        'class="commentlist">'
        f'{p.several(0, 3, review)}</ol></div></div><section class="related products"><h2>'
        f"{p.word('related')}</h2><ul>{related(p, others)}"
        f'</ul></section></div></main></div><footer id="colophon" class="site-footer">{p.foot()}</footer>'
        f"{p.cookies('cookie-notice')}"
    )


@template("product")
def shopify(p: Composed) -> str:
    """A product of Shopify with the theme Dawn."""
    others = '<li class="grid__item"><div class="card__information"><h3>{}</h3><b>{}</b></div></li>'
    about, row = p.post(), "<tr><td>{}</td><td>{}</td></tr>"
    about += f"<ul>{items(p)}</ul>" if p.draw.random() < 0.6 else f"<table>{facts(p, row)}</table>"
    return (
        f'<div class="announcement-bar"><p>{p.word("newsletter")}</p></div><header class="header"><h1 '
        'class="header__heading"><a>Lumen</a>'
        f'</h1><nav class="header__inline-menu"><ul class="list-menu">{p.menu()}</ul></nav></header><main '
        'id="MainContent" class='
        f'"content-for-layout"><section class="shopify-section"><product-info><div class="product grid"><div class='
        '"product__media-wrapper"><ul><li>1 / 4</li></ul></div><div class="product__info-wrapper grid__item">'
        "<p class="
        f'"product__text caption">{p.phrase(1, 2)}</p><div class="product__title"><h1>{p.headline()}</h1></div>'
        '<div class="price"><span '
        f'class="price-item">{p.aside(p.price())}</span></div><div class="product__tax">Taxes included.</div>'
        "<product-form><button>"
        f'{p.word("buy")}</button></product-form><div class="product__description rte quick-add-hidden">'
        f"{about}</div><div class="
        '"product__accordion accordion"><details><summary><h2 class="accordion__title">'
        f"{p.keep(p.phrase(1, 3))}</h2></summary><div class="
        f'"accordion__content rte">{p.post(most=1)}</div></details></div><share-button>'
        f"{p.word('share')}</share-button></div></div>"
        '</product-info></section><section class="related-products"><h2>You may also like</h2><ul class="grid '
        'product-grid">'
        f'{related(p, others)}</ul></section></main><footer class="footer"><ul>{p.menu()}</ul>{p.foot()}</footer>'
    )


@template("product")
def magento(p: Composed) -> str:
    """A product of Magento 2 with the theme Luma."""
    rows = '<tr><th class="col label" scope="row">{}</th><td class="col data">{}</td></tr>'
    others = '<li class="item product product-item"><strong class="product name">{}</strong><b>{}</b></li>'
    return (
        '<div class="page-wrapper"><header class="page-header"><div class="panel header"><ul class="header '
        f'links">{p.menu()}</ul></div>'
        f'</header><div class="nav-sections"><nav class="navigation"><ul>{p.menu()}</ul></nav></div><div '
        'class="breadcrumbs"><ul>'
        f'{p.menu()}</ul></div><main id="maincontent" class="page-main"><div class="columns"><div class="column '
        'main"><div class='
        '"product-info-main"><div class="page-title-wrapper product"><h1 class="page-title"><span class="base">'
        f"{p.headline()}</span></h1>"
        f'</div><div class="product-info-price"><span class="price">{p.aside(p.price())}</span><div '
        'class="stock available">In stock</div>'
        f'</div><div class="box-tocart"><label>Qty</label><button>{p.word("buy")}</button></div><div '
        'class="product attribute overview"><div '
        f'class="value" itemprop="description">{p.post(most=1)}</div></div></div><div class="product info '
        'detailed"><div class="product '
        'data items"><div class="data item title"><a class="data switch">Details</a></div><div class="data '
        'item content" id='
        f'"description"><div class="product attribute description"><div class="value">{p.post()}<ul>'
        f"{items(p)}</ul></div></div></div><div "
        'class="data item title"><a>More Information</a></div><div class="data item content"><div '
        'class="additional-attributes-wrapper">'
        f'<table class="data table additional-attributes">{facts(p, rows)}</table></div></div></div></div><div '
        'class="block upsell"><strong>'
        f"We found other products you might like!</strong><ol>{related(p, others)}</ol></div></div></div></main>"
        '<footer class="page-footer">'
        f'<ul class="footer links">{p.menu()}</ul>{p.foot()}</footer></div>{p.cookies("message global cookie")}'
    )


@template("recipe")
def recipe_maker(p: Composed) -> str:
    """A recipe of WP Recipe Maker in a blog."""
    amount = (
        '<li class="wprm-recipe-ingredient"><span class="wprm-recipe-ingredient-amount">2</span> <span class='
        '"wprm-recipe-ingredient-name">{}</span></li>'
    )

    def ingredient() -> str:
        said = p.phrase(1, 4)
        p.truth.append(f"2 {said}")
        return amount.format(said)

    before = p.post()
    ingredients, steps = p.several(4, 10, ingredient), p.several(
        3, 7, lambda: f'<li><div class="wprm-recipe-instruction-text">{p.keep(p.sentence())}</div></li>'
    )  # fmt: skip
    return (
        f'<header class="site-header"><a>Orbis</a><nav class="nav-primary"><ul>{p.menu()}</ul></nav></header>'
        '<div class="site-inner"><main '
        'class="content"><article class="post entry"><header class="entry-header"><h1 class="entry-title">'
        f"{p.headline()}</h1><p class="
        f'"entry-meta">{p.user()} {p.date()}</p></header><div class="entry-content">{before}<div '
        'class="wprm-recipe-container"><div class='
        f'"wprm-recipe"><a class="wprm-recipe-print">Print</a><h2 class="wprm-recipe-name">{p.headline()}</h2>'
        "<div class="
        f'"wprm-recipe-rating">4.8 from {p.number()} votes</div><h3 class="wprm-recipe-header">'
        f"{p.keep(p.phrase(1, 2))}</h3><ul class="
        f'"wprm-recipe-ingredients">{ingredients}</ul><ul class="wprm-recipe-instructions">{steps}</ul></div>'
        "</div></div><footer class="
        f'"entry-footer">{p.word("share")}: <a>Pinterest</a> <a>Facebook</a></footer></article></main><aside '
        'class="sidebar"><section class='
        f'"widget"><h3>{p.word("latest")}</h3><ul>{p.teasers()}</ul></section></aside></div><footer '
        f'class="site-footer">{p.foot()}</footer>'
    )


@template("recipe")
def microdata(p: Composed) -> str:
    """A recipe in schema.org's microdata on a plain page."""
    return (
        f'<div id="top"><div id="logo">Mill</div><ul id="nav">{p.menu()}</ul></div><div id="wrap"><div '
        'id="rezept" itemscope itemtype='
        f'"http://schema.org/Recipe"><h1 itemprop="name">{p.headline()}</h1><div class="autor">{p.user()}</div>'
        "<p itemprop="
        f'"description">{p.keep(p.paragraph())}</p><div class="zutaten"><h2>{p.keep(p.phrase(1, 2))}</h2><table>'
        f"{items(p, '<tr itemprop=recipeIngredient><td>{}</td></tr>', 4, 10)}</table></div><div "
        'itemprop="recipeInstructions"><h2>'
        f"{p.keep(p.phrase(1, 2))}</h2><ol>{p.several(3, 7, lambda: f'<li>{p.keep(p.sentence())}</li>')}</ol>"
        '</div></div><div class="box">'
        f'<b>{p.word("related")}</b><ul>{p.teasers()}</ul></div></div><div id="bottom">{p.foot()}</div>'
        f"{p.cookies('hinweis')}"
    )


@template("job")
def greenhouse(p: Composed) -> str:
    """A job on Greenhouse's board."""
    return (
        '<div id="wrapper"><div id="main"><div id="app_body"><div id="header"><h1 class="app-title">'
        f"{p.headline()}</h1><span class="
        '"company-name">at Orbis</span> <a>View all jobs</a><div class="location">'
        f'{p.aside(p.phrase(1, 2))}</div></div><div id="content">'
        f"<p>{p.keep(p.paragraph())}</p><h3>{p.keep(p.phrase(2, 4))}</h3><ul>{items(p)}</ul><h3>"
        f"{p.keep(p.phrase(2, 4))}</h3><ul>{items(p)}"
        f'</ul><p>{p.keep(p.paragraph())}</p></div><div id="application"><div id="application_form"><h2>Apply '
        "for this Job</h2><p>* "
        "Required</p><label>First Name *</label><label>Last Name *</label><label>Email *</label><button>Submit "
        "Application</button></div>"
        f'</div></div></div><div id="footer">Powered by <a>Greenhouse</a> {p.link(p.word("privacy"))}</div></div>'
    )


@template("job")
def lever(p: Composed) -> str:
    """A job on Lever's board."""
    part = '<div class="section page-centered"><div><h3>{}</h3><ul class="plain-list"><ul>{}</ul></ul></div></div>'
    first = "".join(f"<div>{p.keep(p.paragraph())}</div>" for _ in range(2))
    sections = p.several(1, 3, lambda: part.format(p.keep(p.phrase(2, 4)), items(p)))
    return (
        '<div class="content-wrapper posting-page"><div class="content"><div class="section-wrapper '
        'accent-section page-full-width"><div '
        f'class="section page-centered posting-header"><div class="posting-headline"><h2>{p.headline()}</h2>'
        '<div class="posting-categories">'
        f'<div class="location">{p.aside(p.phrase(1, 2))}</div></div></div><div class="postings-btn-wrapper"><a '
        'class="postings-btn">Apply '
        'for this job</a></div></div></div><div class="section-wrapper page-full-width"><div class="section '
        'page-centered" data-qa='
        f'"job-description">{first}</div>{sections}<div class="section page-centered last-section-apply"><a '
        'class="postings-btn">Apply for '
        'this job</a></div></div></div></div><div class="main-footer page-full-width"><a>Orbis Home Page</a><p>'
        "Jobs powered by <a>Lever"
        f"</a></p></div>"
    )
