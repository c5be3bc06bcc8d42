"""Texts that several tests read."""

from __future__ import annotations

STORY = (
    "On the first morning the miller walked to the river and spoke with a girl who had lost her boat. She asked him "
    "to help. They searched under willows, behind old barns, and along every muddy path between two villages. By noon "
    "nothing had turned up. Then a heron lifted from the reeds, and there lay the missing craft, half full of rain! "
    "Nobody knew how it came so far. The miller laughed, took off his coat, and began to bail with his hat while "
    "children gathered on the bridge above. Later that week people still told the tale at market, adding storms, "
    "thieves and one talking fish. Who could blame them? It is good to have stories that grow."
)
