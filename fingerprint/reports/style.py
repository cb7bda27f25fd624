"""The look of the page: light and dark, phone, screen and paper; colours in one place."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1d2125; --soft: #5a6470; --line: #d9dee3; --card: #f4f6f8;
  --accent: #0072b2; --yes: #00795a; --no: #b04a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e6e9ec; --soft: #a3adb8; --line: #353c44; --card: #1e2328;
    --accent: #6fc1ee; --yes: #4fcfa5; --no: #f2a065;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.25rem clamp(1rem, 4vw, 2.5rem) 4rem; max-width: 70rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
.title { margin: 0; color: var(--soft); font-weight: 600; }
h1 {
  margin: .4rem 0 1.4rem; font-size: clamp(1.2rem, 1rem + 1vw, 1.55rem); line-height: 1.38;
  font-weight: 600; text-wrap: pretty;
}
h2 {
  margin: 2.6rem 0 .8rem; padding-top: .9rem; border-top: 1px solid var(--line); font-size: 1.3rem;
  line-height: 1.3;
}
h3 { margin: 1.2rem 0 .3rem; font-size: 1rem; }
p, ul { margin: .5rem 0; max-width: 46rem; }
ul { padding-left: 1.3rem; }
li { margin: .3rem 0; }
ul.yes li::marker { content: "✓  "; color: var(--yes); font-weight: 700; }
ul.no li::marker { content: "✗  "; color: var(--no); font-weight: 700; }
ul.warning li::marker { content: "!  "; color: var(--no); font-weight: 700; }
a { color: var(--accent); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin-top: 1.2rem; font-size: .92rem; }
.muted { color: var(--soft); font-size: .92rem; }
p + .numbers { margin-top: .9rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .7rem; }
.number {
  display: flex; flex-direction: column; padding: .7rem .85rem; border: 1px solid var(--line);
  border-radius: .5rem; background: var(--card);
}
.number .label {
  font-size: .85rem; line-height: 1.3; color: var(--soft); margin-bottom: auto;
  padding-bottom: .35rem;
}
.number .value {
  font-size: 1.55rem; line-height: 1.2; font-weight: 650; white-space: nowrap;
  font-variant-numeric: tabular-nums;
}
.number .interval { font-variant-numeric: tabular-nums; }
.number .behind { font-size: .85rem; color: var(--soft); }
.weak, .weak .value { color: var(--soft); font-weight: 400; }
.number.weak { border-style: dashed; background: none; }
.number.yes { border-left: .3rem solid var(--yes); }
.number.no { border-left: .3rem solid var(--no); }
.number.yes .value { color: var(--yes); }
.number.no .value { color: var(--no); }
.scroll { overflow-x: auto; margin: 1rem 0; }
table {
  border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal;
}
.caption { margin: 1.2rem 0 0; color: var(--soft); font-size: .93rem; }
.caption + .scroll { margin-top: .2rem; }
.short { white-space: nowrap; }
th, td { padding: .45rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; border-bottom-width: 2px; }
tbody th {
  font-weight: 600; position: sticky; left: 0; background: var(--paper); min-width: 7.5rem;
  max-width: 13rem;
}
td .sub, th .sub { display: block; font-size: .9em; color: var(--soft); white-space: nowrap; }
.facts { width: 100%; overflow-wrap: anywhere; }
.facts th { width: 14rem; min-width: 6rem; position: static; }
.figures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
  gap: 1.4rem; align-items: start;
}
figure { margin: 0; min-width: 0; max-width: 34rem; }
figure img {
  display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .5rem;
}
figcaption { margin-top: .5rem; font-size: .92rem; color: var(--soft); }
figcaption b { color: var(--ink); }
@media (min-width: 58rem) {
  .figures > figure:only-child {
    display: grid; grid-template-columns: 34rem 1fr; gap: 1.4rem; max-width: none; grid-column: 1 / -1;
  }
}
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre {
  overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); font-size: .85rem; line-height: 1.45;
}
@media (max-width: 36rem) {
  .numbers { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .number .value { font-size: 1.3rem; }
  tbody th { max-width: 8.5rem; }
  th, td { padding: .4rem .55rem; }
}
@media (prefers-color-scheme: dark) { figure img { filter: brightness(.9); } }
@media print {
  :root {
    --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --card: #fff; --accent: #000;
    --yes: #000; --no: #000;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: .2rem .35rem; }
  tbody th { position: static; }
  td .sub { white-space: normal; }
  .figures { grid-template-columns: 1fr 1fr; }
  h2, h3 { break-after: avoid; }
  figure, tr, .number { break-inside: avoid; }
  figure img { filter: none; }
  pre { white-space: pre-wrap; }
}
"""
