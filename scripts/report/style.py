"""The page's look: colours for light and dark as variables, and the rules that use them.

    text       ink, muted, link, warning, note
    surfaces   page, card, warning-card, note-card, h0 … h10 (heat, little to much)
    marks      s0 … s5: lines and bars, told apart by dash and shape too

Every text on every surface that bears it has a contrast of 4.5 or more, every line and bar 3 or more (WCAG 2.2,
1.4.3 and 1.4.11); tests compute them from this page.
"""

from __future__ import annotations

LIGHT = {
    "page": "#fbfbf9",
    "card": "#ffffff",
    "ink": "#1c2126",
    "muted": "#58616b",
    "rule": "#dcdfe2",
    "grid": "#e6e8ea",
    "link": "#1a5490",
    "warning": "#8a2a0b",
    "warning-card": "#fdf0e8",
    "warning-edge": "#c2541f",
    "note": "#2f4a63",
    "note-card": "#eef3f8",
    "note-edge": "#6c8aa8",
    "s0": "#1f5fa8",
    "s1": "#b4530a",
    "s2": "#2b7a3d",
    "s3": "#8a3fa0",
    "s4": "#a3273f",
    "s5": "#5a5f66",
}
DARK = {
    "page": "#14171a",
    "card": "#1b1f23",
    "ink": "#e7eaed",
    "muted": "#a3adb7",
    "rule": "#353c43",
    "grid": "#2b3137",
    "link": "#8fc1f5",
    "warning": "#ffb48a",
    "warning-card": "#35211a",
    "warning-edge": "#d9763f",
    "note": "#b4cfe8",
    "note-card": "#1f2a35",
    "note-edge": "#6f8ea9",
    "s0": "#7db3f0",
    "s1": "#f0a35e",
    "s2": "#7fcf90",
    "s3": "#d09be3",
    "s4": "#f08a9b",
    "s5": "#b5bcc4",
}
HEAT = {"light": ("#ffffff", "#7fb0e0"), "dark": ("#1b1f23", "#2c5f96")}
STEPS = 10
DASHES = ("none", "7 4", "2 3", "10 3 2 3", "5 2", "1 4")
SERIES = len(DASHES)

RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,nav,main,footer{max-width:72rem;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}
.skip{position:absolute;left:-100vw}
.skip:focus{left:1rem;top:.5rem;background:var(--card);padding:.4rem .8rem}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
h1{font-size:1.75rem;line-height:1.2;margin:.2rem 0 .6rem;text-wrap:balance}
h2{font-size:1.3rem;line-height:1.3;margin:0 0 .4rem}
h3{font-size:1.05rem;margin:1.6rem 0 .4rem}
h4,h5{font-size:1rem;font-weight:600;margin:0 0 .3rem}
h1,h2,h3,h4,h5,p,li,dd,figcaption,summary{overflow-wrap:anywhere}
td,th[scope=col]{white-space:nowrap}
p{margin:.4rem 0 .8rem;max-width:44rem}
.kicker,.intro,figcaption small,td small,.muted,footer{color:var(--muted)}
.kicker{margin:0;font-size:.9rem}
.lead{font-size:1.12rem}
section{margin:2.2rem 0;padding-top:1.4rem;border-top:1px solid var(--rule)}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:1rem 0 0;padding:0;font-size:.95rem}
.marks{list-style:none;margin:.6rem 0;padding:0;max-width:52rem}
.marks li{margin:.35rem 0;padding:.45rem .7rem;border-left:4px solid var(--note-edge);background:var(--note-card);
 color:var(--note)}
.marks li.warning{border-left-color:var(--warning-edge);background:var(--warning-card);color:var(--warning)}
.mark{display:inline-block;font-size:.8rem;line-height:1.35;padding:.05rem .45rem;margin:.1rem .3rem .1rem 0;
 border:1px solid var(--note-edge);border-radius:1rem;background:var(--note-card);color:var(--note);
 font-weight:500}
.mark.warning{border:2px solid var(--warning-edge);background:var(--warning-card);color:var(--warning);
 font-weight:700}
ul.differences{list-style:disc;max-width:52rem;padding:.6rem 1rem .6rem 1.6rem;margin:.6rem 0;font-size:.95rem;
 border-left:4px solid var(--warning-edge);background:var(--warning-card);color:var(--warning)}
.differences li{margin:.3rem 0}
header details{margin:.35rem 0}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.95rem}
caption{text-align:left;color:var(--muted);font-size:.9rem;padding:0 0 .4rem}
.scroll td.long{min-width:13rem}
.scroll caption{position:sticky;left:0;max-width:min(44rem,calc(100vw - 2rem))}
th,td{padding:.4rem .8rem .4rem 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600}
th[scope=row],.words{text-align:left}
th[scope=row]{min-width:7rem;max-width:18rem;overflow-wrap:break-word}
th[scope=row]{font-weight:500}
.scroll th[scope=row]{position:sticky;left:0;background:var(--page)}
td.long{text-align:left;max-width:36rem;white-space:normal;overflow-wrap:anywhere}
td small,th small{display:block;font-size:.8rem;font-weight:400}
.heat td{padding:.45rem .8rem;min-width:5rem;text-align:center;border:1px solid var(--rule);color:var(--ink)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1.2rem;align-items:start}
.plots>figure{max-width:29rem}
figure{margin:.6rem 0;min-width:0}
figcaption{font-weight:600;margin:0 0 .3rem}
svg{display:block;width:100%;height:auto}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--ink)}
svg .tick{fill:var(--muted)}
svg .grid{stroke:var(--grid)}
svg .axis{stroke:var(--muted)}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}
.key{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:.3rem 0;padding:0;font-size:.9rem}
.key svg{display:inline-block;width:38px;height:14px;vertical-align:-2px;margin-right:.4rem}
details{margin:.3rem 0;font-size:.92rem}
summary{cursor:pointer;color:var(--link);padding:.15rem 0}
.queries{list-style:none;margin:0;padding:0;display:grid;gap:1rem;
 grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr))}
.queries>li{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.9rem;min-width:0}
.answers{list-style:none;display:grid;grid-template-columns:repeat(auto-fill,minmax(7.2rem,1fr));gap:.6rem;
 margin:.3rem 0 .6rem;padding:0}
.answers.wide{grid-template-columns:minmax(0,26rem)}
.wide .score{display:inline;margin-left:.6rem}
.answers figure{margin:0}
.answers figcaption{font-weight:400;font-size:.8rem;line-height:1.35;margin:.2rem 0 0;color:var(--muted)}
.answers .right{color:var(--ink);font-weight:700}
.answer{margin:0;font-size:.85rem}
.clip{overflow-wrap:anywhere}
.score{display:block;font-variant-numeric:tabular-nums}
.queries .kicker{font-size:.8rem;margin:.2rem 0}
.queries h4+p,.queries h5+p{margin:0 0 .3rem;font-size:.9rem}
.hit{outline:3px solid var(--s2);outline-offset:1px;border-radius:3px}
.shots{display:flex;gap:3px}
.shots>*{flex:1 1 0;min-width:0}
.shots img,.blank{width:100%;aspect-ratio:16/10;object-fit:cover;display:block;border-radius:3px}
.blank{display:flex;align-items:center;justify-content:center;text-align:center;font-size:.72rem;line-height:1.25;
 padding:.3rem;border:1px dashed var(--muted);color:var(--muted);background:var(--page);overflow:hidden}
footer{padding-top:1rem;padding-bottom:3rem;font-size:.9rem}
@media print{
 body{font-size:11pt}
 nav,.skip{display:none}
 .scroll{overflow:visible}
 figure,.queries>li,tr,.heat,.marks li{break-inside:avoid}
 h2,h3,h4,h5,.intro,.kicker,caption{break-after:avoid}
}
"""


def css() -> str:
    """The whole style sheet: light, dark where the reader prefers it, and light again on paper."""
    light, dark = _variables(LIGHT, "light"), _variables(DARK, "dark")
    series = "".join(
        f".s{n}{{stroke:var(--s{n});stroke-dasharray:{dash}}}.f{n}{{fill:var(--s{n})}}"
        for n, dash in enumerate(DASHES)
    )
    heat = "".join(f".heat .h{step}{{background:var(--h{step})}}" for step in range(STEPS + 1))
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{{light}}}}}{RULES}{series}\n{heat}"
    )


def _variables(colours: dict[str, str], theme: str) -> str:
    low, high = HEAT[theme]
    steps = {f"h{step}": _between(low, high, step / STEPS) for step in range(STEPS + 1)}
    return ";".join(f"--{name}:{colour}" for name, colour in (colours | steps).items())


def _between(low: str, high: str, share: float) -> str:
    """A colour on the way from one to another, in sRGB."""
    ends = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (low, high)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*ends))
