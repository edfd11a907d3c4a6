"""What the Hub starts: the page of `amdet_hub.web`, with the settings of the environment."""

from amdet_hub.web.app import main

if __name__ == "__main__":
    main()
