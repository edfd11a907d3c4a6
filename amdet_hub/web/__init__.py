"""The Gradio app: a web page in front of `amdet_hub.scanner` and `amdet_hub.report`.

`amdet-hub space` runs it here, `amdet-hub space deploy` on the Hub.

* `app`: starts everything and serves it. `settings`: limits, keys and switches, from the environment.
* `service`: looks up, scans, inspects prompts, whatever the way in. `job_queue`: the bounded queue and its one worker.
* `visitor`: the text, name and token of a visitor. `error_messages`: errors as sentences.
* `pages`, `try_prompt`, `pull_requests`: layout and events. `api`: the named endpoints. `webhook`: scans on push.
* `panels`, `prompt_view`: answers as HTML, everything escaped, from the pieces of `markup`.
* `report_plots`, `live_plots`, `heat_maps`: plots, from the shapes of `svg`.
* `downloads`: files and snippets. `board`: recent public scans, stored in a Hub dataset.
* `zerogpu`: scans on a borrowed GPU. `deploy`: uploads the Space. `demo`, `make_examples`: the demonstration's Hub.

Nothing here knows detectors, tensors or the Hub's client, except `board` and `deploy`, which write datasets and
Spaces.
"""
