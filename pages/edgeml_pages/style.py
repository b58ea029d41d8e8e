"""The style sheet of every page. Light or dark as the reader's system is set; readable on a phone and on paper."""

__all__ = ["STYLE"]

# Colours have at least 4.5:1 against the ground as text and 3:1 as marks (WCAG 2.2, 1.4.3 and 1.4.11).
STYLE = """
:root {
  --ground: #fff; --ink: #1b1e21; --muted: #5b6167; --line: #d8dcdf; --soft: #f3f5f6;
  --own: #bf5b04; --model: #2468c8; --good: #17784a; --bad: #bc2a2a; --unsure: #8a6100;
  --third: #7d4bb3; --fifth: #b0255f; --pale: #8c9196;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181b; --ink: #e5e8ea; --muted: #9ca4ab; --line: #363c42; --soft: #1f2327;
    --own: #e59a50; --model: #74abf2; --good: #62c794; --bad: #f28b8b; --unsure: #dcb45a;
    --third: #c39be8; --fifth: #f08bb4; --pale: #666d73;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p, ul { max-width: 46rem; margin: .5rem 0; }
ul { padding-inline-start: 1.25rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.muted, caption, dd, text { color: var(--muted); fill: var(--muted); }
.good-word { color: var(--good); font-weight: 600; }
.bad-word { color: var(--bad); font-weight: 600; }
.unsure-word { color: var(--unsure); font-weight: 600; }
.headline { font-size: 1.15rem; max-width: 46rem; margin: .75rem 0; padding: .6rem .9rem; background: var(--soft);
  border-inline-start: .3rem solid var(--muted); overflow-wrap: anywhere; }
.headline.good-side { border-color: var(--good); }
.headline.bad-side { border-color: var(--bad); }
.headline.unsure-side { border-color: var(--unsure); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; max-width: none; }
a { color: var(--model); }
.wide { overflow-x: auto; margin: .75rem 0; }
.wide:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--model); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: start; padding-bottom: .35rem; }
th, td { padding: .3rem .6rem; text-align: start; vertical-align: middle; border-bottom: 1px solid var(--line); }
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; position: sticky; inset-inline-start: 0; background: var(--ground); min-width: 6rem; }
th:first-child { padding-inline-start: 0; }
.figure { text-align: end; }
td.figure { white-space: nowrap; }
.tag { font-size: .75rem; color: var(--muted); border: 1px solid var(--line); border-radius: .7rem;
  padding: 0 .4rem; margin-inline-start: .3rem; white-space: nowrap; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .9rem; color: var(--muted); }
svg.stroke { display: inline-block; vertical-align: .1rem; }
.key { display: inline-block; width: .8rem; height: .8rem; margin-inline-end: .4rem; vertical-align: -.05rem; }
.key.own { background: var(--own); }
.key.model { background: var(--model); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem 2rem; }
figure { margin: .75rem 0; min-width: 0; max-width: 30rem; }
figcaption { font-size: .9rem; color: var(--muted); margin-bottom: .25rem; overflow-wrap: anywhere; }
.key.faint { background: var(--muted); opacity: .55; }
svg { display: block; overflow: visible; }
svg.bars, svg.distribution { width: 100%; min-width: clamp(5rem, 12vw, 12rem); }
svg.bars { height: 1.2rem; }
.narrow svg.bars { min-width: 4rem; }
svg.distribution { height: 2.6rem; }
svg.scatter, svg.plot { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg.scatter { max-width: 28rem; }
svg.gauge { width: 100%; min-width: clamp(5rem, 14vw, 12rem); height: 1.2rem; }
.axis, .grid { stroke: var(--line); fill: none; stroke-width: 1px; vector-effect: non-scaling-stroke; }
.own { fill: var(--own); }
.model, .range { fill: var(--model); }
.faint { fill: var(--muted); opacity: .55; }
.shape { fill: var(--model); opacity: .35; }
.limit { stroke: var(--bad); stroke-width: 1.5px; stroke-dasharray: 5 4; fill: none; }
.good { fill: var(--model); stroke: var(--ground); stroke-width: 1.5px; }
.bad { fill: var(--ground); stroke: var(--model); stroke-width: 2px; }
.line { fill: none; stroke-width: 1.75px; stroke-linejoin: round; }
.line.s1, .whisker.s1 { stroke: var(--model); }
.line.s2, .whisker.s2 { stroke: var(--own); stroke-dasharray: 7 2; }
.line.s3, .whisker.s3 { stroke: var(--third); stroke-dasharray: 2 2; }
.line.s4, .whisker.s4 { stroke: var(--good); stroke-dasharray: 8 2 2 2; }
.line.s5, .whisker.s5 { stroke: var(--fifth); stroke-dasharray: 4 2; }
.line.s6, .whisker.s6 { stroke: var(--muted); stroke-dasharray: 1 2; }
.whisker { fill: none; stroke: var(--model); stroke-width: 1.5px; stroke-dasharray: none; opacity: .75; }
.mark { stroke: var(--ink); stroke-width: 1.25px; fill: none; vector-effect: non-scaling-stroke; }
text.strong { fill: var(--ink); }
.track { fill: var(--soft); }
.span { fill: var(--model); opacity: .4; }
.span.over { fill: var(--bad); }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.5px; }
.k1 { fill: var(--own); background: var(--own); }
.k2 { fill: var(--model); background: var(--model); }
.k3 { fill: var(--third); background: var(--third); }
.k4 { fill: var(--good); background: var(--good); }
.k5 { fill: var(--muted); background: var(--muted); }
.k6 { fill: var(--ink); background: var(--ink); }
.k7 { fill: var(--pale); background: var(--pale); }
svg.stack { width: 100%; height: .85rem; }
svg.stack rect { stroke: var(--ground); stroke-width: .5px; }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: .5rem 2rem; }
.pairs figure { max-width: 46rem; }
.stacked { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: .1rem .6rem; margin: .6rem 0;
  font-size: .85rem; }
.stacked svg, .told { grid-column: 1 / -1; }
.told { color: var(--muted); overflow-wrap: anywhere; }
.amount { text-align: end; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pick { display: grid; grid-template-columns: clamp(9rem, 40%, 15rem) minmax(0, 1fr) 4rem; gap: 0 .6rem;
  align-items: center; position: relative; padding: .05rem .25rem; font-size: .8rem; cursor: pointer; }
.pick input { position: absolute; width: 1px; height: 1px; margin: 0; opacity: 0; }
.pick .name { display: flex; gap: .3rem; white-space: nowrap; }
.pick .name span { flex: none; max-width: 100%; overflow: hidden; text-overflow: ellipsis; }
.pick .name .tail { flex: 0 1 auto; min-width: 0; direction: rtl; text-align: left; }
.whole { display: block; text-align: start; white-space: nowrap; }
.pick .told { display: none; }
.pick input:checked ~ .told, .pick input:focus-visible ~ .told { display: block; }
.pick:has(input:checked) { background: var(--soft); }
.pick:has(input:focus-visible) { outline: 2px solid var(--model); }
summary { cursor: pointer; padding: .3rem 0; color: var(--model); }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; max-width: 46rem; }
@media (max-width: 40rem) {
  tbody th code { overflow-wrap: break-word; }
  main { padding: 1rem .75rem 3rem; }
  th, td { padding: .3rem .4rem; }
  tbody th { min-width: 5.75rem; max-width: 40vw; }
}
@media print { .wide { overflow: visible; } tbody th { position: static; } }
"""
