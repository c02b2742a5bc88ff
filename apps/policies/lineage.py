"""Drawing the lineage of checkpoints: parents left of children, no two at one place. Numbers only, no HTML."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from apps.policies.models import Checkpoint

NODE_WIDTH, NODE_HEIGHT = 240, 80
GAP_X, GAP_Y = 108, 16
PAD = 8
NAME_CHARS = 20


@dataclass(frozen=True, slots=True)
class Node:
    checkpoint: Checkpoint
    x: int
    y: int
    name: str  # cut to the box
    size: str


@dataclass(frozen=True, slots=True)
class Edge:
    path: str  # of an SVG <path>
    label: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Drawing:
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int
    node_width: int = NODE_WIDTH
    node_height: int = NODE_HEIGHT


def short_count(n: int | None) -> str:
    """Write a number of parameters in short: 1_130_000 -> "1.1 M"."""
    if n is None:
        return "–"
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            value = n / size
            return f"{value:.1f}\u202f{unit}" if value < 100 else f"{value:.0f}\u202f{unit}"
    return str(n)


def draw_lineage(checkpoints: Sequence[Checkpoint]) -> Drawing:
    """Place checkpoints in columns by their distance from a root; a parent is level with its first child.

    A checkpoint whose parent is not among them is a root.
    """
    ids = {checkpoint.pk for checkpoint in checkpoints}
    children: dict[int | None, list[Checkpoint]] = defaultdict(list)
    for checkpoint in checkpoints:
        children[checkpoint.parent_id if checkpoint.parent_id in ids else None].append(checkpoint)
    places: dict[int, tuple[int, int]] = {}
    row = 0
    stack = [(root, 0) for root in reversed(children[None])]
    while stack:  # depth first, without recursion: lineages of a hundred rounds are deep
        checkpoint, column = stack.pop()
        places[checkpoint.pk] = (column, row)
        below = children[checkpoint.pk]
        stack += [(child, column + 1) for child in reversed(below)]
        if not below:
            row += 1
    nodes = tuple(_node(checkpoint, *places[checkpoint.pk]) for checkpoint in checkpoints)
    by_id = {node.checkpoint.pk: node for node in nodes}
    edges = tuple(
        _edge(by_id[node.checkpoint.parent_id], node)
        for node in nodes
        if node.checkpoint.parent_id is not None and node.checkpoint.parent_id in by_id
    )
    return Drawing(
        nodes=nodes,
        edges=edges,
        width=max((node.x for node in nodes), default=0) + NODE_WIDTH + PAD,
        height=max((node.y for node in nodes), default=0) + NODE_HEIGHT + PAD,
    )


def _node(checkpoint: Checkpoint, column: int, row: int) -> Node:
    name = checkpoint.name
    if len(name) > NAME_CHARS:  # what tells a loop's checkpoints apart stands at the end
        name = f"{name[:8]}…{name[9 - NAME_CHARS :]}"
    return Node(
        checkpoint=checkpoint,
        x=PAD + column * (NODE_WIDTH + GAP_X),
        y=PAD + row * (NODE_HEIGHT + GAP_Y),
        name=name,
        size=short_count(checkpoint.n_parameters),
    )


def _edge(parent: Node, child: Node) -> Edge:
    x1, y1 = parent.x + NODE_WIDTH, parent.y + NODE_HEIGHT // 2
    x2, y2 = child.x, child.y + NODE_HEIGHT // 2
    turn = x1 + 14
    if y1 == y2:
        path = f"M{x1} {y1}H{x2}"
    else:
        path = f"M{x1} {y1}H{turn - 8}Q{turn} {y1} {turn} {y1 + 8}V{y2 - 8}Q{turn} {y2} {turn + 8} {y2}H{x2}"
    return Edge(path=path, label=child.checkpoint.recipe[:15], x=(turn + x2) // 2, y=y2 - 6)
