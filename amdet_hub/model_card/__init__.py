"""A report on a model card: rendered as a section, spliced into the card, pushed as a pull request, and verified later.

* `render`: the files that a pull request with a scan in it contains. * `section`: the section itself.
* `edit`: the bytes of a card around the section. * `verify`: whether a section belongs to the present weights.
* `publish`: reads and writes the Hub.
"""
