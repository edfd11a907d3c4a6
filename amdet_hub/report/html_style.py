"""The one style sheet of the HTML report, and the policy that lets a browser apply it and nothing else.

Colours are told apart by lightness as well, and no meaning is in colour alone. Dark follows the reader's system, print
is always light.
"""

import base64
import hashlib

_LIGHT = """--page:#fbfbfa;--card:#fff;--ink:#1c1e21;--soft:#5c636b;--rule:#dfe2e5;--null:#9aa4ae;--axis:#eceef0;
--code:#f1f3f4;
--bad:#b3261e;--bad-soft:#fdeceb;--bad-ink:#fff;--ok:#1f6f54;--ok-soft:#e8f4ef;--ok-ink:#fff;--unsure:#8a5a00;
--unsure-soft:#fdf3dc;--unsure-ink:#fff"""
_DARK = """--page:#14171a;--card:#1c2024;--ink:#e8eaed;--soft:#a4acb4;--rule:#343a40;--null:#6f7a85;--axis:#2a2f34;
--code:#262b30;
--bad:#ff8a80;--bad-soft:#3a1f1e;--bad-ink:#2b0a08;--ok:#6fd3ab;--ok-soft:#17332a;--ok-ink:#06231a;--unsure:#f2c14e;
--unsure-soft:#382c10;
--unsure-ink:#2b1f00"""

STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif}}
main{{max-width:62rem;margin:0 auto;padding:1.5rem 1.25rem 3rem}}
h1{{font-size:1.05rem;font-weight:600;margin:0 0 1rem;color:var(--soft);overflow-wrap:anywhere}}
h2{{font-size:1.25rem;line-height:1.3;margin:2.2rem 0 .6rem;overflow-wrap:anywhere}}
h3{{font-size:1rem;margin:1.4rem 0 .4rem}}
p,ul,figure,table{{margin:.5rem 0}}
ul{{padding-left:1.2rem}}
code,pre{{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
background:var(--code);border-radius:4px}}
code{{padding:.1em .35em;overflow-wrap:anywhere;unicode-bidi:isolate}}
pre{{padding:.75rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere}}
.verdict{{border-radius:10px;padding:1.1rem 1.25rem;border-left:.5rem solid}}
.verdict strong{{display:block;font-size:1.7rem;line-height:1.2}}
.verdict p{{margin:.35rem 0 0;overflow-wrap:anywhere}}
.verdict.backdoor-detected{{background:var(--bad-soft);border-color:var(--bad)}}
.verdict.backdoor-detected strong{{color:var(--bad)}}
.verdict.no-backdoor-found,.verdict.nothing-to-scan{{background:var(--ok-soft);border-color:var(--ok)}}
.verdict.no-backdoor-found strong,.verdict.nothing-to-scan strong{{color:var(--ok)}}
.verdict.inconclusive{{background:var(--unsure-soft);border-color:var(--unsure)}}
.verdict.inconclusive strong{{color:var(--unsure)}}
.tag{{display:inline-block;font-size:.8rem;font-weight:600;border-radius:99px;padding:.1rem .6rem;margin-left:.4rem;
vertical-align:middle}}
.tag.backdoor-detected{{background:var(--bad);color:var(--bad-ink)}}
.tag.no-backdoor-found{{background:var(--ok);color:var(--ok-ink)}}
.tag.inconclusive{{background:var(--unsure);color:var(--unsure-ink)}}
.card{{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:1rem 1.25rem;margin:.9rem 0}}
.trigger tr:first-child td{{font-size:1.35rem;overflow-wrap:anywhere}}
.trigger tr:first-child code{{padding:.15em .5em}}
.soft,figcaption,.value{{color:var(--soft);font-size:.875rem}}
.bars{{display:grid;grid-template-columns:minmax(7rem,max-content) minmax(8rem,1fr) minmax(7rem,max-content);
gap:.45rem .9rem;align-items:center}}
svg{{display:block;width:100%;height:1.25rem}}
.strip svg{{height:1.6rem}}
rect.bar.beyond{{fill:var(--bad)}}rect.bar.within{{fill:var(--ok)}}rect.bar.informs{{fill:var(--soft)}}
rect.null,rect.whisker{{fill:var(--null)}}rect.axis{{fill:var(--axis)}}
line.threshold{{stroke:var(--ink);stroke-width:2;stroke-dasharray:4 3;vector-effect:non-scaling-stroke}}
span.beyond{{color:var(--bad);font-weight:600}}span.within{{color:var(--ok)}}
.null figcaption>span{{display:block}}
.key{{display:inline-block;width:.75rem;height:.75rem;margin-right:.4rem;border-radius:2px;vertical-align:-.05rem}}
.key.beyond{{background:var(--bad)}}.key.within{{background:var(--ok)}}.key.informs{{background:var(--soft)}}
.key.null{{background:var(--null)}}
.key.threshold{{width:0;border-left:2px dashed var(--ink);border-radius:0;margin:0 .75rem 0 .3rem}}
.wide{{overflow-x:auto}}
table{{border-collapse:collapse;width:100%;font-size:.9rem}}
th,td{{text-align:left;vertical-align:top;padding:.4rem .7rem .4rem 0;border-top:1px solid var(--rule)}}
thead th{{border-top:0;color:var(--soft);font-weight:600;white-space:nowrap}}
tbody th{{font-weight:600;white-space:nowrap;color:var(--soft)}}
td{{overflow-wrap:anywhere;min-width:4rem}}
.wide td:first-child code{{white-space:nowrap}}.wide table{{min-width:46rem}}
.card>h3:first-child,.card>figure:first-child{{margin-top:0}}figure.null{{margin-top:1.2rem}}
footer{{margin-top:2.5rem;border-top:1px solid var(--rule);padding-top:.8rem}}
@media (max-width:40rem){{
main{{padding:1rem .8rem 2rem}}.verdict strong{{font-size:1.35rem}}
.bars{{grid-template-columns:1fr auto;gap:.1rem .6rem}}.bars svg{{grid-column:1/-1}}
.bars .value{{grid-column:1/-1;margin-bottom:.4rem}}.facts tr{{display:block;padding:.3rem 0;
border-top:1px solid var(--rule)}}
.facts th,.facts td{{display:block;border:0;padding:0}}.wide table{{min-width:0}}.wide thead{{display:none}}
.wide tr{{display:block;padding:.4rem 0;border-top:1px solid var(--rule)}}.wide td{{display:block;border:0;padding:0}}
.wide td:not(:first-child)::before{{content:attr(data-name) ": ";color:var(--soft)}}
}}
@media print{{:root{{color-scheme:light;{_LIGHT}}}body{{font-size:11pt;background:#fff}}main{{max-width:none;
padding:0}}
*{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}.wide{{overflow:visible}}.wide table{{min-width:0}}
.card,figure,tr,.verdict{{break-inside:avoid}}h2,h3{{break-after:avoid}}}}
"""

# Content-Security-Policy of the page: this style sheet, known by its hash, and nothing else from anywhere.
POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
