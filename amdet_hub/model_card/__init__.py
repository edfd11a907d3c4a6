"""A report on a model card: rendered as a section, spliced in, pushed as a pull request, and verified later.

* `render`: the section, and the files of a pull request that holds it.
* `edit`: the bytes of a card around the section.
* `verify`: whether a section belongs to the present weights.
* `publish`: reads and writes the Hub.
"""
