"""`python -m deploy` is the `tickcast` command, for processes that the supervisor starts."""

from deploy.cli import main

if __name__ == "__main__":
    main()
