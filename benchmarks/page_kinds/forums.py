"""Forums and comment threads: the markup of Discourse, phpBB and old Reddit; XenForo, MyBB, Hacker News held out."""

from __future__ import annotations

from page_kinds.composed_pages import Composed, template


@template("forum")
def discourse(p: Composed) -> str:
    """Discourse as it is served to those without scripts."""

    def post() -> str:
        return (
            f'<div itemprop="comment" itemscope itemtype="http://schema.org/Comment" class="topic-body crawler-post">'
            '<div class="crawler-post-meta"><span class="creator" itemprop="author"><a href="/u/x"><span '
            'itemprop="name">'
            f'{p.user()}</span></a></span><span class="crawler-post-infos"><time class="post-time">{p.date()}</time>'
            f'<span itemprop="position">{p.aside("#" + p.number(99))}</span></span></div>'
            f'<div class="post" itemprop="text">{p.post()}</div><div itemprop="interactionStatistic" itemscope>'
            f'<meta itemprop="userInteractionCount" content="2"><span class="post-likes">{p.number(9)} '
            "Likes</span></div></div>"
        )

    rows = p.teasers(
        '<tr class="topic-list-item"><td class="main-link"><span>{}</span></td><td><span class="posts">7</span>'
        "</td></tr>"
    )
    return (
        f'<header><a href="/">Mill Forum</a><nav>{p.menu("{} ")}</nav></header><div id="main-outlet" '
        'class="wrap" role="main">'
        f'<div id="topic-title"><h1><a href="/t/1">{p.headline()}</a></h1><div class="topic-category">'
        f'<a class="badge-wrapper" href="/c/1"><span class="category-name">{p.phrase(1, 2)}</span></a></div></div>'
        f'<div itemscope itemtype="http://schema.org/DiscussionForumPosting">{p.several(3, 9, post)}</div>'
        '<div id="related-topics" class="more-topics__list"><h3 class="more-topics__list-title">'
        f"{p.word('related')}</h3>"
        f'<div class="topic-list-container"><table class="topic-list"><tbody>{rows}</tbody></table></div></div></div>'
        f'<footer class="container wrap"><nav class="crawler-nav"><ul>{p.menu()}</ul></nav><p '
        'class="powered-by-link">'
        'Powered by <a href="https://www.discourse.org">Discourse</a>, best viewed with JavaScript enabled</p>'
        "</footer>"
    )


@template("forum")
def phpbb(p: Composed) -> str:
    """phpBB's style prosilver."""

    def post() -> str:
        signature = f'<div id="sig1" class="signature">{p.sentence()}</div>' if p.draw.random() < 0.4 else ""
        return (
            f'<div id="p1" class="post has-profile bg2"><div class="inner"><dl class="postprofile" id="profile1"><dt>'
            f'<a class="username" href="/m">{p.user()}</a></dt><dd class="profile-rank">{p.word("about")}</dd>'
            f'<dd class="profile-posts"><strong>{p.word("posts")}:</strong> <a href="/s">{p.number()}</a></dd></dl>'
            f'<div class="postbody"><div><h3><a href="#p1">Re: {p.headline()}</a></h3><ul class="post-buttons"><li>'
            f'<a href="/q" title="x" class="button"><i class="icon"></i><span>{p.word("quote")}</span></a></li></ul>'
            '<p class="author"><a class="unread" href="#"><span class="sr-only">Post</span></a> <span '
            'class="responsive-hide">'
            f'by <strong>{p.user()}</strong> » </span><time>{p.date()}</time></p><div class="content">'
            f'{p.post("{}", "<br><br>")}</div>{signature}</div></div><div class="back2top"><a href="#top">'
            "Top</a></div></div></div>"
            '<hr class="divider">'
        )

    return (
        '<div id="wrap" class="wrap"><a id="top" class="top-anchor"></a><div id="page-header"><div '
        'class="headerbar"><h1>Orbis</h1>'
        '<p class="skiplink"><a href="#start_here">Skip to content</a></p></div><div class="navbar"><ul '
        'id="nav-main" class="linklist">'
        f'{p.menu()}</ul></div></div><div id="page-body" class="page-body"><h2 class="topic-title"><a href="/t">'
        f"{p.headline()}</a></h2>"
        f'<div class="action-bar bar-top"><a href="/r" class="button">{p.word("reply")}</a><div '
        f'class="pagination">23 {p.word("posts")}'
        ' • <ul><li class="active"><span>1</span></li><li><a href="/2">2</a></li><li><a href="/n">'
        f"{p.word('next')}</a></li></ul></div>"
        f'</div>{p.several(3, 9, post)}<div class="action-bar actions-jump"><p class="jumpbox-return"><a '
        f'href="/v">{p.word("previous")}'
        '</a></p></div><div class="stat-block online-list"><h3>Who is online</h3><p>Users browsing this forum: '
        "No registered users "
        f'and {p.number(9)} guests</p></div></div><div id="page-footer"><ul class="nav-footer linklist">'
        f"{p.menu()}</ul><div "
        'class="copyright"><p class="footer-row">Powered by phpBB® Forum Software © phpBB Limited</p></div>'
        "</div></div>"
    )


@template("comments")
def old_reddit(p: Composed) -> str:
    """A link with a tree of comments, as old.reddit.com draws it."""

    def comment(depth: int = 0) -> str:
        body = p.post(most=2)
        inner = p.several(0, 2, lambda: comment(depth + 1)) if depth < 3 else ""
        buttons = "".join(f'<li><a href="#">{p.word(key)}</a></li>' for key in ("share", "report", "reply"))
        return (
            f'<div class="thing noncollapsed comment"><div class="midcol unvoted"><div class="arrow up"></div></div>'
            '<div class="entry unvoted"><p class="tagline"><a class="expand" href="#">[–]</a><a class="author '
            f'may-blank">{p.user()}</a> '
            f'<span class="score unvoted">{p.number()} points</span> <time class="live-timestamp">'
            f"{p.date()}</time></p>"
            '<form class="usertext"><div class="usertext-body may-blank-within md-container"><div class="md">'
            f"{body}</div></div>"
            f'</form><ul class="flat-list buttons"><li>permalink</li>{buttons}</ul></div><div class="child">'
            f'<div class="sitetable listing">{inner}</div></div></div>'
        )

    return (
        f'<div id="header"><div id="sr-header-area"><ul class="flat-list sr-bar hover">{p.menu()}</ul></div>'
        '</div><div class="side">'
        '<div class="spacer"><form id="search"><input></form></div><div class="titlebox"><h1>r/mill</h1><span '
        'class="subscribers">'
        f'{p.number()} readers</span><div class="usertext-body"><div class="md"><p>{p.sentence()}</p><ul>'
        f"{p.teasers()}</ul></div></div></div>"
        '</div><div class="content" role="main"><div class="sitetable linklisting"><div class="thing link">'
        '<div class="entry"><p class='
        f'"title"><a class="title" href="/x">{p.headline()}</a></p><p class="tagline">submitted by <a '
        f'class="author">{p.user()}</a></p>'
        f'<div class="expando"><div class="usertext-body"><div class="md">{p.post()}</div></div></div><ul '
        'class="flat-list buttons"><li>'
        f'<a>{p.word("share")}</a></li></ul></div></div></div><div class="commentarea"><div '
        'class="panestack-title"><span class="title">'
        f'all comments</span></div><div class="menuarea">sorted by: best</div><div class="sitetable nestedlisting">'
        f'{p.several(3, 6, comment)}</div></div></div><div class="footer-parent"><div class="footer rounded">'
        f"<ul>{p.menu()}</ul></div></div>"
    )


@template("comments")
def hacker_news(p: Composed) -> str:
    """Hacker News: tables in tables."""

    def comment() -> str:
        return (
            '<tr class="athing comtr"><td><table border="0"><tr><td class="ind" indent="0"><img src="s.gif" '
            'width="40"></td>'
            '<td valign="top" class="votelinks"><center><a href="v"><div class="votearrow"></div></a></center>'
            '</td><td class="default">'
            f'<div style="margin-top:2px"><span class="comhead"><a class="hnuser">{p.user()}</a> <span '
            f'class="age"><a>{p.date()}</a></span>'
            ' <span class="navs">| <a class="clicky">parent</a> | <a class="clicky">next</a> <a class="togg '
            'clicky">[–]</a></span></span>'
            f'</div><br><div class="comment"><div class="commtext c00">{p.post("{}", "<p>")}</div><div '
            'class="reply"><p><font size="1">'
            f"<u><a>reply</a></u></font></p></div></div></td></tr></table></td></tr>"
        )

    return (
        '<center><table id="hnmain" border="0" width="85%" bgcolor="#f6f6ef"><tr><td bgcolor="#ff6600"><table>'
        "<tr><td><span "
        f'class="pagetop"><b class="hnname"><a href="news">News</a></b> {p.menu("{} | ")}</span></td></tr>'
        "</table></td></tr><tr><td>"
        '<table class="fatitem"><tr class="athing submission"><td class="title"><span class="titleline"><a '
        f'href="x">{p.headline()}</a>'
        f'</span></td></tr><tr><td class="subtext"><span class="score">{p.number()} points</span> by <a '
        f'class="hnuser">{p.user()}</a> | '
        f'<a>hide</a> | <a>{p.number()} comments</a></td></tr><tr><td><div class="toptext">'
        f"{p.post('{}', '<p>')}</div></td></tr></table>"
        f'<br><br><table class="comment-tree">{p.several(4, 10, comment)}</table></td></tr><tr><td><center>'
        '<span class="yclinks">'
        f"{p.menu('{} | ')}</span><br><form>Search: <input></form></center></td></tr></table></center>"
    )


@template("forum")
def xenforo(p: Composed) -> str:
    """XenForo 2."""

    def post() -> str:
        signature = f'<aside class="message-signature"><div class="bbWrapper">{p.sentence()}</div></aside>'
        return (
            '<article class="message message--post js-post"><div class="message-inner"><div '
            'class="message-cell message-cell--user">'
            '<section class="message-user"><div class="message-userDetails"><h4 class="message-name"><a '
            f'class="username">{p.user()}</a>'
            f'</h4><h5 class="userTitle message-userTitle">{p.word("about")}</h5></div><div '
            'class="message-userExtras"><dl class="pairs '
            f'pairs--justified"><dt>{p.word("posts")}</dt><dd>{p.number()}</dd></dl></div></section></div><div '
            'class="message-cell '
            'message-cell--main"><div class="message-main js-quickEditTarget"><header '
            'class="message-attribution"><ul class='
            f'"message-attribution-main"><li class="u-concealed"><a><time>{p.date()}</time></a></li></ul><ul class='
            f'"message-attribution-opposite"><li><a>{p.aside("#" + p.number(40))}</a></li></ul></header><div '
            'class="message-content '
            'js-messageContent"><div class="message-userContent lbContainer"><article class="message-body '
            'js-selectToQuote"><div class='
            f'"bbWrapper">{p.post("{}", "<br /><br />")}</div></article></div>'
            f"{signature * p.draw.randrange(2)}</div><footer class="
            '"message-footer"><div class="message-actionBar actionBar"><a class="actionBar-action">'
            f"{p.word('report')}</a><a class="
            f'"actionBar-action">{p.word("reply")}</a></div></footer></div></div></div></article>'
        )

    similar = p.teasers('<div class="structItem"><div class="structItem-title">{}</div></div>')
    return (
        '<div class="p-pageWrapper"><header class="p-header"><div class="p-header-logo"><a>Kontor</a></div>'
        '</header><nav class="p-nav">'
        f'<ul class="p-nav-list">{p.menu()}</ul></nav><div class="p-body"><div class="p-body-inner"><ul '
        'class="p-breadcrumbs">'
        f'{p.menu()}</ul><div class="p-body-header"><h1 class="p-title-value">{p.headline()}</h1><div '
        'class="p-description"><ul class='
        f'"listInline"><li>{p.user()}</li><li>{p.date()}</li></ul></div></div><div class="p-body-main"><div '
        'class="p-body-content"><div '
        'class="block block--messages"><div class="block-outer"><nav class="pageNavWrapper"><a>1</a> <a>2</a> '
        f"<a>{p.word('next')}</a>"
        '</nav></div><div class="block-container lbContainer"><div class="block-body '
        f'js-replyNewMessageContainer">{p.several(3, 8, post)}'
        '</div></div></div><div class="block"><div class="block-container"><h3 class="block-header">'
        f"{p.word('related')}</h3><div class="
        f'"block-body">{similar}</div></div></div><div class="blockMessage">{p.word("share")}: <a>Facebook</a> '
        "<a>Reddit</a></div></div>"
        f'</div></div></div><footer class="p-footer"><ul class="p-footer-linkList">{p.menu()}</ul>'
        f"{p.foot()}</footer></div>" + p.cookies("notice notice--cookie")
    )


@template("forum")
def mybb(p: Composed) -> str:
    """MyBB 1.8."""

    def post() -> str:
        return (
            '<div class="post" id="post_1"><div class="post_author"><div class="author_information"><strong>'
            '<span class="largetext"><a>'
            f'{p.user()}</a></span></strong><br><span class="smalltext">{p.word("about")}</span></div><div '
            'class="author_statistics">'
            f'{p.word("posts")}: {p.number()}<br>Threads: {p.number(99)}</div></div><div class="post_content">'
            '<div class="post_head">'
            f'<div class="float_right"><strong><a>{p.aside("#" + p.number(40))}</a></strong></div><span '
            f'class="post_date">{p.date()}</span>'
            f'</div><div class="post_body scaleimages" id="pid_1">{p.post("{}", "<br><br>")}</div><div '
            'class="post_meta"></div></div><div '
            'class="post_controls"><div class="postbit_buttons"><a class="postbit_find"><span>'
            f"{p.word('search')}</span></a><a class="
            f'"postbit_quote"><span>{p.word("reply")}</span></a></div></div></div>'
        )

    return (
        '<div id="container"><div id="header"><div id="logo"><div class="wrapper"><a>Lumen</a><ul class="menu '
        f'top_links">{p.menu()}</ul>'
        '</div></div><div id="panel"><div class="upper"><span class="welcome">Hello There, Guest! '
        f"{p.word('login')}</span></div></div></div>"
        f'<div id="content"><div class="wrapper"><div class="navigation">{p.menu("{} › ")}</div><div '
        'class="pagination">(3): <a>1</a> '
        f'<a>2</a></div><table class="tborder tfixed"><tr><td class="thead"><div><strong>{p.headline()}</strong>'
        "</div></td></tr><tr><td "
        f'id="posts_container"><div id="posts">{p.several(3, 9, post)}</div></td></tr><tr><td class="tfoot">'
        f"<strong>« <a>{p.word('next')}"
        f'</a> | <a>{p.word("previous")}</a> »</strong></td></tr></table><table class="tborder"><tr><td '
        f'class="thead">{p.word("related")}'
        f'</td></tr>{p.teasers("<tr><td class=trow1>{}</td></tr>")}</table></div></div><div id="footer"><ul '
        'class="menu bottom_links">'
        f'{p.menu()}</ul><div id="copyright">Powered By MyBB, © 2002-2025 MyBB Group.</div></div></div>'
    )
