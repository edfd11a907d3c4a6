"""The page's own style, on top of Gradio's theme: boxes, banner, plot. Colours are chosen for both modes with a contrast of 4.5 or more."""

CSS = """
.gradio-container { max-width: 1040px !important; margin: 0 auto !important; }
.gradio-container :focus-visible { outline: 3px solid #2f6fde !important; outline-offset: 2px; }
:root { --good: #1a6b3c; --good-bg: #e9f6ee; --bad: #a3142a; --bad-bg: #fdecee; --odd: #7a5200; --odd-bg: #fff5dd; --calm: #2b4a7a; --calm-bg: #eef3fb; --edge: #cbd2dc; --soft: #4d5663; }
.dark { --good: #7fdca4; --good-bg: #10291b; --bad: #ff9aa8; --bad-bg: #33131a; --odd: #f3cd77; --odd-bg: #2e2410; --calm: #a9c6fb; --calm-bg: #16202f; --edge: #3a4453; --soft: #aeb8c6; }
.panel { color: var(--body-text-color); font-size: 1rem; line-height: 1.5; overflow-wrap: anywhere; }
.panel h2 { font-size: 1.5rem; font-weight: 700; margin: 0 0 .3rem; }
.panel h3 { font-size: 1.1rem; font-weight: 650; margin: 1.1rem 0 .4rem; }
.panel p { margin: .35rem 0; } .panel ul { margin: .35rem 0 .35rem 1.2rem; list-style: disc; }
.panel code { background: var(--background-fill-secondary); border: 1px solid var(--edge); border-radius: 4px; padding: 0 .3em; font-size: .9em; }
.panel .quiet { color: var(--soft); font-size: .92rem; }
.panel .note { border: 1px solid var(--edge); border-left: 5px solid var(--calm); border-radius: 8px; background: var(--calm-bg); padding: .8rem 1rem; margin: .3rem 0; }
.panel .note .title { font-weight: 700; font-size: 1.08rem; margin-top: 0; color: var(--calm); }
.panel .note.plain { background: transparent; } .panel .note.plain .title { color: inherit; }
.panel .note.error, .panel .note.found { border-left-color: var(--bad); background: var(--bad-bg); }
.panel .note.error .title, .panel .note.found .title { color: var(--bad); }
.panel .note.unsure { border-left-color: var(--odd); background: var(--odd-bg); } .panel .note.unsure .title { color: var(--odd); }
.panel .banner { display: flex; gap: 1rem; border-radius: 12px; padding: 1.1rem 1.2rem; margin: .4rem 0 1rem; border: 2px solid; }
.panel .banner .sign { flex: none; width: 3rem; height: 3rem; border-radius: 50%; border: 3px solid; display: grid; place-items: center; font-size: 1.6rem; font-weight: 800; margin: 0; }
.panel .banner.found { background: var(--bad-bg); border-color: var(--bad); } .panel .banner.found h2, .panel .banner.found .sign { color: var(--bad); }
.panel .banner.clean { background: var(--good-bg); border-color: var(--good); } .panel .banner.clean h2, .panel .banner.clean .sign { color: var(--good); }
.panel .banner.unsure { background: var(--odd-bg); border-color: var(--odd); } .panel .banner.unsure h2, .panel .banner.unsure .sign { color: var(--odd); }
.panel .trigger { font-size: 1.5rem; font-weight: 700; font-family: monospace; border: 1px solid var(--edge); border-radius: 6px; padding: .05rem .6rem; background: var(--background-fill-primary); }
.panel .facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .5rem 1.2rem; margin: .4rem 0; }
.panel .facts dt { color: var(--soft); font-size: .85rem; } .panel .facts dd { margin: 0; }
.panel .earlier { border-top: 1px solid var(--edge); padding-top: .6rem; margin-top: .8rem; }
.panel .wide { overflow-x: auto; margin: .8rem 0; } .panel table { border-collapse: collapse; width: 100%; min-width: 34rem; overflow-wrap: normal; }
.panel caption { text-align: left; font-weight: 650; padding: .3rem 0; }
.panel th, .panel td { border: 0 !important; border-bottom: 1px solid var(--edge) !important; text-align: left; vertical-align: top; padding: .4rem .6rem; }
.panel th { color: var(--soft); font-weight: 600; font-size: .9rem; } .panel td:first-child { min-width: 8rem; }
.panel progress { appearance: none; width: 100%; height: .8rem; border: 1px solid var(--edge); border-radius: 6px; overflow: hidden; background: var(--background-fill-primary); }
.panel progress::-webkit-progress-bar { background: transparent; } .panel progress::-webkit-progress-value { background: #2f6fde; } .panel progress::-moz-progress-bar { background: #2f6fde; }
.panel details { border: 1px solid var(--edge); border-radius: 8px; padding: .6rem 1rem; margin: 1rem 0; } .panel summary { cursor: pointer; font-weight: 650; }
.panel .plot { margin: 1rem 0; } .panel .plot svg { width: 100%; height: auto; } .panel figcaption { color: var(--soft); font-size: .9rem; }
.panel .bar { fill: #7d8ca3; } .panel .dot { fill: var(--bad); } .panel .lead { stroke: var(--soft); stroke-width: .7; stroke-dasharray: 2 3; }
.panel .axis { stroke: var(--soft); } .panel .tick { fill: var(--soft); font-size: 12px; } .panel .name { fill: var(--body-text-color); font: 600 13px monospace; }
.panel .heat { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; } .panel .heat text { fill: var(--body-text-color); font: 11px monospace; }
@media (max-width: 640px) { .panel .banner { flex-direction: column; gap: .5rem; padding: .9rem; } .panel .plot svg { min-width: 30rem; } .panel .plot { overflow-x: auto; } }
.panel .diff { font: .85rem/1.45 monospace; white-space: pre; margin: 0; }
.panel .note.clean { border-left-color: var(--good); background: var(--good-bg); } .panel .note.clean .title { color: var(--good); }
"""
