"""Questions with answers: Stack Exchange, <details>; Question2Answer, Bootstrap's accordion and <dl> held out.
Code hosts: an issue of GitHub; a README there held out."""

from __future__ import annotations

from page_kinds.composed_pages import Composed, template


def with_code(p: Composed) -> str:
    """Paragraphs, some with a listing behind them."""
    return p.post() + (f"<pre><code>{p.listing()}</code></pre>" if p.draw.random() < 0.5 else "")


@template("questions")
def stack_exchange(p: Composed) -> str:
    """A question of Stack Exchange."""

    def comment() -> str:
        return (
            '<li class="comment js-comment"><div class="comment-text"><span class="comment-copy">'
            f"{p.keep(p.sentence())}</span> – <a "
            f'class="comment-user">{p.user()}</a> <span class="comment-date">{p.date()}</span></div></li>'
        )

    def post(name: str = "answer") -> str:
        return (
            f'<div class="{name}"><div class="post-layout"><div class="votecell post-layout--left"><div '
            'class="js-voting-container">'
            f'<button>Up vote</button><div class="js-vote-count">{p.number()}</div><button>Down vote</button>'
            "</div></div><div class="
            '"postcell post-layout--right"><div class="s-prose js-post-body" itemprop="text">'
            f"{with_code(p)}</div><div class="
            f'"js-post-menu"><a class="js-share-link">{p.word("share")}</a> <a>Improve this question</a> '
            "<button>Follow</button></div>"
            f'<div class="post-signature"><div class="user-info"><div class="user-action-time">{p.date()}</div>'
            '<div class="user-details">'
            f'{p.user()}<span class="reputation-score">{p.number()}</span></div></div></div></div><div '
            'class="comments '
            f'js-comments-container"><ul class="comments-list">{p.several(0, 2, comment)}</ul></div></div></div>'
        )

    linked = p.teasers('<div class="spacer"><div class="answer-votes">4</div>{}</div>')
    return (
        '<header class="s-topbar"><a class="s-topbar--logo">Stack</a><ol class="s-topbar--content">'
        f"{p.menu()}</ol></header><div class="
        f'"container"><div id="left-sidebar"><nav><ol class="nav-links">{p.menu()}</ol></nav></div><div '
        'id="content"><div '
        f'id="question-header"><h1 class="fs-headline1"><a class="question-hyperlink">{p.headline()}</a></h1><a '
        'class="s-btn">Ask '
        f'Question</a></div><div class="d-flex"><span>Asked</span> {p.date()} <span>Viewed</span> '
        f'{p.number()}</div><div id="mainbar" '
        f'role="main">{post("question js-question")}<div id="answers"><div id="answers-header"><h2>'
        f"{p.number(9)} Answers</h2><span>Sorted "
        f'by: Highest score (default)</span></div>{p.several(1, 4, post)}<form id="post-form"><h2>Your '
        "Answer</h2><p>By clicking “Post "
        "Your Answer”, you agree to our terms of service and acknowledge you have read our privacy policy.</p>"
        "</form></div></div><div "
        f'id="sidebar"><div class="module sidebar-linked"><h4>Linked</h4>{linked}</div></div></div></div>'
        '<footer class="site-footer">'
        f"{p.foot()}</footer>{p.cookies('js-consent-banner')}"
    )


@template("questions")
def details(p: Composed) -> str:
    """Frequent questions in <details>."""

    def entry() -> str:
        return f"<details><summary>{p.keep(p.phrase(5, 10) + '?')}</summary>{p.post(most=2)}</details>"

    def section() -> str:
        return f'<section class="faq"><h2>{p.keep(p.phrase(1, 3))}</h2>{p.several(2, 5, entry)}</section>'

    return (
        f"<header><a>Orbis</a><nav><ul>{p.menu()}</ul></nav></header><main><h1>{p.headline()}</h1>"
        f"{p.several(1, 3, section)}</main>"
        f"<aside><h3>{p.word('contact')}</h3><p>{p.word('newsletter')}</p></aside><footer>{p.foot()}</footer>"
        f"{p.cookies('cookie-bar')}"
    )


@template("questions")
def question2answer(p: Composed) -> str:
    """Question2Answer's theme Snow."""

    def answer() -> str:
        return (
            '<div class="qa-a-list-item" id="a1"><div class="qa-voting qa-voting-net"><span '
            f'class="qa-netvote-count-data">+{p.number(9)}'
            '</span><span class="qa-netvote-count-pad"> votes</span></div><div class="qa-a-item-main"><div '
            'class="qa-a-item-content '
            f'qa-post-content">{p.post()}</div><span class="qa-a-item-meta">answered {p.date()} by <a '
            f'class="qa-user-link">{p.user()}</a> ('
            f'<span class="qa-a-item-who-points">{p.number()}</span> points)</span><div '
            'class="qa-a-item-buttons"><input type="submit" '
            f'value="comment"></div></div></div>'
        )

    return (
        '<div class="qa-body-wrapper"><div class="qa-header"><div class="qa-logo"><a>Lumen</a></div><div '
        'class="qa-nav-main"><ul class='
        f'"qa-nav-main-list">{p.menu()}</ul></div></div><div class="qa-sidepanel"><div class="qa-sidebar">'
        f"{p.sentence()}</div><div class="
        f'"qa-widget-side"><h2>{p.word("related")}</h2><ul class="qa-related-q-list">{p.teasers()}</ul></div>'
        '</div><div class="qa-main">'
        f'<h1><a><span class="entry-title">{p.headline()}</span></a></h1><div class="qa-part-q-view"><div '
        'class="qa-q-view"><div class='
        f'"qa-q-view-stats"><span class="qa-netvote-count-data">{p.number(9)}</span></div><div '
        'class="qa-q-view-main"><div class='
        f'"qa-q-view-content qa-post-content">{p.post()}</div><div class="qa-q-view-tags"><ul '
        'class="qa-q-view-tag-list"><li><a>mill</a>'
        f'</li></ul></div><span class="qa-q-view-meta">asked {p.date()} by {p.user()}</span></div></div></div>'
        '<div class="qa-part-a-list">'
        f'<h2 id="a_list_title">{p.number(9)} Answers</h2>{p.several(1, 5, answer)}</div></div><div '
        'class="qa-footer"><ul class='
        f'"qa-nav-footer-list">{p.menu()}</ul><div class="qa-attribution">Powered by Question2Answer</div></div>'
        "</div>"
    )


@template("questions")
def accordion(p: Composed) -> str:
    """Bootstrap's accordion."""

    def entry() -> str:
        return (
            '<div class="accordion-item"><h2 class="accordion-header"><button class="accordion-button '
            'collapsed" type="button">'
            f'{p.keep(p.phrase(5, 10) + "?")}</button></h2><div class="accordion-collapse collapse"><div '
            'class="accordion-body">'
            f"{p.post(most=2)}</div></div></div>"
        )

    return (
        '<nav class="navbar navbar-expand-lg"><div class="container-fluid"><a class="navbar-brand">Mill</a><ul '
        'class="navbar-nav">'
        f'{p.menu("<li class=nav-item>{}</li>", "nav-link")}</ul></div></nav><div class="container py-5"><div '
        'class="row"><div class='
        f'"col-lg-8"><h1>{p.headline()}</h1><div class="accordion" id="faq">{p.several(4, 9, entry)}</div></div>'
        '<div class="col-lg-4">'
        f'<div class="card"><div class="card-body"><h5>{p.word("latest")}</h5><ul>{p.teasers()}</ul></div></div>'
        "</div></div></div><footer "
        f'class="bg-dark py-4"><div class="container">{p.foot()}</div></footer>{p.cookies("toast")}'
    )


@template("questions")
def definitions(p: Composed) -> str:
    """Questions and answers in <dl>, on a page without class names."""

    def entry() -> str:
        return f"<dt>{p.keep(p.phrase(4, 9) + '?')}</dt><dd>{p.post('{} ', most=2)}</dd>"

    return (
        f"<p>{p.menu('[{}] ')}</p><hr><h1>{p.headline()}</h1><dl>{p.several(4, 12, entry)}</dl><hr><address>"
        f"{p.word('contact')}: "
        f"<a>webmaster</a></address>{p.foot()}"
    )


@template("code host")
def github_issue(p: Composed) -> str:
    """An issue of GitHub."""

    def comment() -> str:
        return (
            '<div class="TimelineItem js-comment-container"><div class="timeline-comment-group"><div '
            'class="timeline-comment '
            'js-comment"><div class="timeline-comment-header"><h3 class="f5"><strong><a class="author">'
            f"{p.user()}</a></strong> commented "
            f'<a class="js-timestamp"><relative-time>{p.date()}</relative-time></a></h3><span class="Label">'
            "Member</span></div><div class="
            '"edit-comment-hide"><task-lists><table class="d-block"><tbody class="d-block"><tr class="d-block">'
            '<td class="d-block '
            f'comment-body markdown-body js-comment-body">{with_code(p)}</td></tr></tbody></table></task-lists>'
            "<div class="
            f'"comment-reactions"><button>👍 {p.number(9)}</button></div></div></div></div></div>'
        )

    event = f'<div class="TimelineItem"><div class="TimelineItem-body">{p.user()} '
    event += 'added the <a class="IssueLabel">bug</a> label</div></div>'
    side = "".join(f'<div class="discussion-sidebar-item"><div>{name}</div><span>None yet</span></div>' for name in
                   ("Assignees", "Labels", "Projects", "Milestone", "Development"))  # fmt: skip
    return (
        '<header class="AppHeader"><a class="Header-link">Skip to content</a><nav class="js-repo-nav"><ul '
        'class="UnderlineNav-body"><li>'
        "<a>Code</a></li><li><a>Issues 12</a></li><li><a>Pull requests 3</a></li></ul></nav></header><main>"
        "<div class="
        f'"gh-header"><h1 class="gh-header-title"><bdi class="js-issue-title">{p.headline()}</bdi> <span>'
        f"#{p.number()}</span></h1><div class="
        f'"gh-header-meta"><span class="State">Open</span> {p.user()} opened this issue · {p.number(20)} '
        "comments</div></div><div class="
        f'"Layout"><div class="js-discussion">{comment()}{event}{p.several(1, 5, comment)}</div><div '
        f'class="js-issue-sidebar">{side}</div>'
        f"</div></main><footer class='footer'><ul>{p.menu()}</ul>© 2025 GitHub, Inc.</footer>"
    )


@template("code host")
def github_readme(p: Composed) -> str:
    """A repository's page of GitHub with its README."""
    names = p.draw.sample(["src", "docs", "tests", "README.md", "LICENSE", "setup.py", ".gitignore", "Makefile"], 6)
    files = "".join(
        f'<tr class="react-directory-row"><td class="react-directory-row-name-cell"><a>{name}</a></td><td class='
        f'"react-directory-row-commit-cell"><a>{p.phrase(3, 6)}</a></td><td>{p.date()}</td></tr>' for name in names
    )  # fmt: skip

    def section() -> str:
        return (
            f'<div class="markdown-heading"><h2 class="heading-element">{p.keep(p.phrase(1, 3))}</h2><a '
            'class="anchor"></a></div>'
            f"{with_code(p)}<ul>{p.several(0, 5, lambda: f'<li>{p.keep(p.phrase(3, 9))}</li>')}</ul>"
        )

    return (
        '<header class="AppHeader"><nav><ul class="UnderlineNav-body"><li><a>Code</a></li><li><a>Issues 4</a>'
        "</li></ul></nav></header>"
        '<main id="js-repo-pjax-container"><div class="Layout"><div class="Layout-main"><div><button>'
        "main</button> <a>3 Branches</a> "
        f'<a>12 Tags</a></div><table class="Table"><tbody>{files}</tbody></table><div class="Box-body"><article '
        'class="markdown-body '
        f'entry-content container-lg" itemprop="text"><h1>{p.headline()}</h1>'
        f"{p.several(2, 5, section)}</article></div></div><div class="
        f'"Layout-sidebar"><h2>About</h2><p class="f4 my-3">{p.phrase(4, 8)}</p><h2>Releases <span '
        f'class="Counter">{p.number(20)}</span></h2>'
        "<h2>Contributors</h2><h2>Languages</h2><ul><li>Python 98.2%</li></ul></div></div></main><footer>"
        f"{p.menu('{} ')}</footer>"
    )
