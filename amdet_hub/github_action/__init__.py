"""The GitHub Action, scans aside: the checkpoints that a push changed, and how a runner learns of the result.

* `job`: the inputs of `action.yml` and the event that started the job, from the environment a runner gives.
* `git`: what changed, read with git. `lfs`: from a Git LFS pointer to the file.
* `targets`: from changed files to what is scanned. `deciding_files`: whose word counts about how.
* `runner`: outputs, job summary and annotations, in which no text of a repository is a command.
* `comment`: one comment on a pull request, kept up to date.

`python -P -m amdet_hub.github_action` is the Action's first step. It runs on the runner's own Python before anything
is installed, so that a push without checkpoints costs seconds. So this room imports the standard library, and of ours
`errors` and `files` alone. The rest is `amdet-hub action`. Names of files and branches, and all
that an event says, are hostile text.
"""
