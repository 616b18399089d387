"""Draw the state machine of runs for docs/reference/lifecycle.md: the diagram and the table of moves.

Both come from `mainspring._core.transitions.MOVES`. What is not in that table is where to put things in the
picture: that is said here, and a move that has no place in it is an error.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from mainspring._core.transitions import MOVES, Move
from mainspring.states import TERMINAL_STATES, StateType

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
DIAGRAM = REFERENCE / "lifecycle.svg"
PAGE = REFERENCE / "lifecycle.md"
BEGIN, END = "<!-- moves: written by tools/lifecycle.py -->", "<!-- end of moves -->"

WIDTH, HEIGHT = 920, 500
BOX = (176, 62)
CENTRES = {
    StateType.PENDING: (140, 130),
    StateType.SCHEDULED: (140, 275),
    StateType.RUNNING: (450, 200),
    StateType.PAUSED: (140, 420),
    StateType.CANCELLING: (450, 420),
    StateType.COMPLETED: (795, 105),
    StateType.FAILED: (795, 215),
    StateType.CRASHED: (795, 325),
    StateType.CANCELLED: (795, 435),
}

# A move that leads from every state of a group to the same state is drawn once, from the frame around the group.
GROUPS = {
    "not over": ((15, 30, 555, 450), frozenset(StateType) - TERMINAL_STATES),
    "waiting": ((35, 75, 210, 255), frozenset({StateType.PENDING, StateType.SCHEDULED})),
    "final": ((685, 30, 220, 450), TERMINAL_STATES),
}

# For each arrow, by source and target: its path, and where the text begins.
ROUTES = {
    ("waiting", "RUNNING"): ("M245,150 C295,150 320,180 360,186", (268, 142)),
    ("waiting", "PENDING"): ("M140,75 L140,97", (150, 90)),
    ("waiting", "FAILED"): ("M245,312 C420,350 600,290 705,234", (602, 264)),
    ("SCHEDULED", "RUNNING"): ("M228,262 C275,262 310,220 360,210", (268, 232)),
    ("RUNNING", "SCHEDULED"): ("M410,231 C390,282 300,290 230,287", (300, 303)),
    ("RUNNING", "RUNNING"): ("M420,169 C400,110 475,110 455,167", (392, 118)),
    ("RUNNING", "COMPLETED"): ("M538,190 C590,180 640,120 705,108", (580, 112)),
    ("RUNNING", "FAILED"): ("M538,205 C590,210 640,214 705,215", (582, 202)),
    ("PAUSED", "RUNNING"): ("M228,415 C330,400 440,330 450,233", (238, 426)),
    ("RUNNING", "PAUSED"): ("M435,231 C420,310 330,375 228,405", (330, 352)),
    ("PAUSED", "SCHEDULED"): ("M115,389 L115,308", (52, 352)),
    ("PAUSED", "FAILED"): ("M228,440 C430,500 640,400 725,247", (300, 472)),
    ("not over", "CRASHED"): ("M570,335 L705,335", (590, 328)),
    ("not over", "CANCELLED"): ("M570,445 L705,445", (590, 439)),
    ("waiting", "CANCELLING"): ("M205,330 C225,372 300,378 372,388", (252, 368)),
    ("RUNNING", "CANCELLING"): ("M490,231 L490,387", (496, 375)),
    ("PAUSED", "CANCELLING"): ("M228,432 L360,432", (300, 446)),
    ("CANCELLING", "COMPLETED"): ("M538,410 C670,395 640,170 725,138", (642, 270)),
    ("CRASHED", "SCHEDULED"): ("M705,345 C560,400 330,360 230,300", (440, 378)),
    ("CRASHED", "FAILED"): ("M795,294 L795,248", (802, 274)),
    ("CRASHED", "CANCELLED"): ("M795,356 L795,402", (802, 382)),
    ("COMPLETED", "COMPLETED"): ("M775,74 C760,40 830,40 815,72", (765, 44)),
    ("final", "RUNNING"): ("M685,60 C620,40 500,80 478,167", (590, 48)),
}

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2933 }
.type { font-weight: 600; text-anchor: middle }
.name { font-size: 11px; fill: #52606d; text-anchor: middle }
.move { font-size: 11px; fill: #334e68 }
.group { font-size: 12px; fill: #829ab1 }
rect { fill: #ffffff; stroke: #829ab1 }
.paper { stroke: none }
.frame { fill: none; stroke-dasharray: 4 4 }
.final { fill: #f0f4f8; stroke: #334e68 }
path { fill: none; stroke: #334e68; stroke-width: 1.3; marker-end: url(#tip) }
marker path { fill: #334e68; stroke: none; marker-end: none }
"""


def arrows() -> dict[tuple[str, str], list[Move]]:
    """The moves to draw, by where their arrow begins and ends."""
    # as a dict, which keeps its order: the same table gives the same file
    left = {(kind, move, target): None for kind, moves in MOVES.items() for move, target in moves.items()}
    found: dict[tuple[str, str], list[Move]] = {}
    for name, (_, kinds) in GROUPS.items():
        for _, move, target in list(left):
            shared = {(kind, move, target) for kind in kinds}
            if shared <= left.keys():
                found.setdefault((name, target[0].value), []).append(move)
                for each in shared:
                    del left[each]
    for kind, move, target in left:
        found.setdefault((kind.value, target[0].value), []).append(move)
    return found


def names(kind: StateType) -> list[str]:
    """The names that states of a type have, in the order of the moves that give them."""
    reached = {target[1]: None for moves in MOVES.values() for target in moves.values() if target[0] is kind}
    own = kind.value.capitalize()
    return list(reached) if own in reached else [own, *reached]


def diagram() -> str:
    """The diagram as SVG."""
    drawn = arrows()
    if drawn.keys() != ROUTES.keys():
        raise SystemExit(f"ROUTES does not fit MOVES: {sorted(drawn.keys() ^ ROUTES.keys())}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>The states of a run and the moves between them</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
        ' orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        *boxes(),
    ]
    for route, moves in drawn.items():
        path, (x, y) = ROUTES[route]
        text = escape(", ".join(move.name for move in moves))
        parts += [f'<path d="{path}"/>', f'<text class="move" x="{x}" y="{y}">{text}</text>']
    return "\n".join([*parts, "</svg>\n"])


def boxes() -> Iterator[str]:
    """The frames of the groups and the boxes of the types."""
    for name, ((x, y, width, height), _) in GROUPS.items():
        yield f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
        yield f'<text class="group" x="{x + 10}" y="{y + 17}">{name}</text>'
    width, height = BOX
    for kind, (x, y) in CENTRES.items():
        style = ' class="final"' if kind in TERMINAL_STATES else ""
        yield (
            f'<rect{style} x="{x - width // 2}" y="{y - height // 2}" width="{width}" height="{height}" rx="6"/>'
        )
        yield f'<text class="type" x="{x}" y="{y - 6}">{kind.value}</text>'
        yield f'<text class="name" x="{x}" y="{y + 15}">{", ".join(names(kind))}</text>'


def table() -> str:
    """Every move as a row of a Markdown table."""
    rows = ["| from | move | because | to | named |", "|---|---|---|---|---|"]
    rows += [
        f"| {kind.value} | {move.name} | {move.value} | {target.value} | `{name}` |"
        for kind, moves in MOVES.items()
        for move, (target, name) in moves.items()
    ]
    return "\n".join(rows)


def page() -> str:
    """The page, with the table of moves brought up to date."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE} has no place for the moves: {BEGIN} ... {END}")
    return f"{before}{begin}\n\n{table()}\n\n{end}{after}"


if __name__ == "__main__":
    DIAGRAM.write_text(diagram(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
