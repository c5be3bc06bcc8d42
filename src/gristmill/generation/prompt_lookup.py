"""Prompt lookup decoding (A. Saxena 2023): what may follow a text is what followed its last tokens earlier in it.

Answers quote, conversations repeat names, JSON repeats keys. A step over a few tokens of one text costs little more
than over one, so such a draft is read along with the last token, and as much of it counts as is drawn anyway (Leviathan
et al. 2023, arXiv:2211.17192): to the bit, an answer is what it is without drafts.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST = 2  # tokens of a match
PATIENCE, MOST_NEEDED = 4, 8  # so many drafts in a row that were all wrong ask for a match longer by one, up to this


class PromptLookup:
    """What may follow one text. A draft is half as long as the match before it, the tokens by which the text ends as it
    did earlier: the longer that is, the more of a draft is right."""

    def __init__(self) -> None:
        self.ends: dict[tuple[int, int], int] = {}  # where two tokens stood last
        self.read = 0  # tokens of the text, the ends before which are known
        self.end = self.length = 0  # of the match: where it ends, earlier in the text
        self.refused = 0  # drafts in a row of which nothing was right

    def draft(self, tokens: Sequence[int], most: int) -> list[int]:
        """At most so many tokens. The text has two or more, and begins with that of the last call."""
        for end in range(max(LEAST, self.read), len(tokens)):
            self.ends[tokens[end - 2], tokens[end - 1]] = end
        new = len(tokens) - self.read
        if self.end and tokens[self.end : self.end + new] == tokens[self.read :]:  # it goes on as it did
            self.end, self.length = self.end + new, self.length + new
        else:
            self.end = self.ends.get((tokens[-2], tokens[-1]), 0)
            self.length = self.matched(tokens) if self.end else 0
        self.read = len(tokens)
        if self.length < min(LEAST + self.refused // PATIENCE, MOST_NEEDED):
            return []
        count = min(most, self.length // 2)
        part = list(tokens[self.end : self.end + count])
        return (part * count)[:count]  # what follows itself goes on in circles

    def matched(self, tokens: Sequence[int]) -> int:
        """How many tokens before the end are the last ones, as far as that counts."""
        length = LEAST
        while length < min(self.end, 2 * MOST_NEEDED) and tokens[self.end - length - 1] == tokens[-length - 1]:
            length += 1
        return length
