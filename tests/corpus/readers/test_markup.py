"""reStructuredText and LaTeX become Markdown; whatever is written, reading ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.corpus.readers.latex import to_markdown
from gristmill.corpus.readers.rst import Converter

RST = """
.. _mill:

====
Mill
====

See :ref:`the river <river>` or :class:`~a.b.River`, ``code`` and `words <http://a.test>`_ of |who|. *Fine* **words**.

.. |who| replace:: Anna

Parts
=====

* one
* two, which
  goes on

Details
-------

.. note:: Take care.
   It is deep.

.. code-block:: python
   :linenos:

   if a:
       b()

.. toctree::
   :maxdepth: 2

   other

.. function:: grind(corn)

   Grind it::

      $ grind *

   :param corn: what to grind

.. a comment
   of two lines

>>> 1 + 1
2

+---+---+
| a | b |
+---+---+

.. [1] A footnote.
"""
RST_AS_MARKDOWN = """# Mill

See the river or River, code and words of Anna. Fine words.

## Parts

- one
- two, which
  goes on

### Details

Take care.
It is deep.

```
if a:
    b()
```

grind(corn)

Grind it:

```
$ grind *
```

param corn: what to grind

```
>>> 1 + 1
2
```

+---+---+
| a | b |
+---+---+

[1] A footnote.
"""
LATEX = r"""\documentclass[a4paper]{article} % a comment
\usepackage{x}\newcommand{\foo}[1]{bar}
\title{The \emph{old} mill}
\begin{document}
\maketitle
\section{Rivers}\label{sec:r}
The {\bf na\"{\i}ve} mill---see~\cite{a}, it costs 5\,\% or \$3 --- ``really''.% gone
 Next to caf\'e \ss{} with $x^2$ and \verb|a_b{|.
\[ E = mc^2 \label{e} \]
\begin{itemize}
\item one\footnote{Or two.}
\item[x] \href{http://a.test}{link}
\end{itemize}
\begin{verbatim}
if {a} % kept
\end{verbatim}
\begin{tabular}{ll} a & b \\ \hline c & d \end{tabular}
\begin{figure}\includegraphics[width=3cm]{a.png}\caption{A boat.}\end{figure}
\unknown{kept} \subsection*{More}
\begin{thebibliography}{9}\bibitem{a} gone\end{thebibliography}
\end{document}
nothing"""


def test_rst() -> None:
    assert Converter().convert(RST) == RST_AS_MARKDOWN


def test_latex() -> None:
    title, text = to_markdown(LATEX)
    assert title == "The old mill"
    for part in (
        "## Rivers\n",
        "The naïve mill—see , it costs 5\u202f% or $3 — “really”.",
        "Next to café ß with $x^2$ and a_b{.",
        "$$E = mc^2$$",
        "- one (Or two.)",
        "- x link",
        "```\nif {a} % kept\n```",
        "a | b\nc | d",
        "A boat.",
        "kept",
        "### More",
    ):
        assert part in text, part
    for gone in ("comment", "usepackage", "bar", "sec:r", "gone", "a.png", "nothing", "http", "3cm", "\\"):
        assert gone not in text, gone


@pytest.mark.parametrize("source", ["\\section{", "\\begin{verbatim}", "{" * 5000, "\\footnote{" * 300, "$"])
def test_latex_that_is_cut_off_ends(source: str) -> None:
    assert isinstance(to_markdown(source)[1], str)


def test_a_line_end_with_an_option_is_no_formula() -> None:
    source = "one\\\\[2pt] two costs 3$ a day\n\nand \\] or $4, \\$5 and \\[x\\]"
    assert to_markdown(source)[1] == "one\ntwo costs 3$ a day\n\nand ] or $4, $5 and\n\n$$x$$\n"


@pytest.mark.parametrize("part", ["\\[", "\\(", "$a ", "\\begin{equation}", "\\begin{verbatim}", "$$ "])
def test_time_does_not_grow_with_the_square(part: str) -> None:
    """A minute and more, if each of these were looked for to the end of the text."""
    assert to_markdown(part * 100_000)[1]


@given(st.text("\\{}[]$%~&abc'\"`-\n \ue0000begindt", max_size=120))
def test_any_latex_ends(source: str) -> None:
    assert isinstance(to_markdown(source)[1], str)


@given(st.text(".:_`*|\\=-~+ \n\tab<>[]1>", max_size=160))
def test_any_rst_ends(source: str) -> None:
    assert isinstance(Converter().convert(source), str)
