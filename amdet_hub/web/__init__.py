"""The Space: a web page in front of `amdet_hub.scanner` and `amdet_hub.report`.

`amdet-hub space` runs it here, `amdet-hub space deploy` on the Hub.

* `app`: starts everything and serves it. * `settings`: limits, keys and switches, from the environment. * `service`:
  what a visitor can ask for.
* `intake`: what a visitor typed -> a target, or a refusal. * `words`: errors as sentences. * `jobs`: the bounded queue
  and its one worker.
* `store`: finished results by what was scanned. * `pages`: layout and events. * `panels`, `markup`: results as HTML,
  everything escaped.
* `figures`: plots of a report. * `tryit`: a prompt tried on what was scanned; `close_up` and `heat` show the answer,
  as HTML and as plots.
* `takeaway`: files and snippets. * `board`: recent public scans, kept in a Hub dataset.
* `webhook`: scans on push. * `deploy`: the Space's own files, uploaded. * `demo`: the demonstration's Hub.

Nothing here knows detectors, tensors or the Hub's client, except `board` and `deploy`, which write datasets and
Spaces.
"""
