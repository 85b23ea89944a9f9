"""`python3 -m overcloud_agent`: the command line, from a checkout as well as installed."""

from overcloud_agent import cli

if __name__ == "__main__":
    cli.main()
